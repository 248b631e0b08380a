"""Draws the validation losses of several runs against steps and against minutes.

python -m experiments.compare_runs --runs=runs/adam,runs/soap --output=compared.png
"""

import sys

from cae_jax.evaluation.figures import drawing, runs
from experiments import cli
from experiments.program_flags import Args, Flags


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  flags.paths("runs", None, "Workdirs of runs, with commas.", required=True)
  flags.path("output", None, "The picture to write.", required=True)


def main(args: Args) -> None:
  """Runs the program."""
  figure = runs.compare({path.name: path / "metrics.jsonl" for path in args.runs})
  drawing.save(figure, args.output)


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
