"""Draws the validation losses of several runs against steps and against minutes.

    python -m experiments.compare_runs --runs=runs/adam,runs/soap --output=compared.png

Losses compare only between runs that minimise the same. Of runs with another --lmbda or
--distortion draw what they have in common: --figure=rate_bpp, or any other figure of the validation
lines of their metrics.jsonl.
"""

import collections
import sys
from collections.abc import Sequence
from pathlib import Path

from cae_jax.evaluation.figures import drawing, runs
from experiments import cli
from experiments.program_flags import Args, Flags


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  flags.paths("runs", None, "Workdirs of runs, with commas.", required=True)
  flags.path("output", None, "The picture to write.", required=True)
  flags.string("figure", "loss", "What to draw of the validation, such as rate_bpp or psnr_db.")


def main(args: Args) -> None:
  """Runs the program."""
  metrics = {name: path / "metrics.jsonl" for name, path in _named(args.runs).items()}
  drawing.save(runs.compare(metrics, args.figure), args.output)


def _named(folders: Sequence[Path]) -> dict[str, Path]:
  """The folders by their names, or by their paths where several have one name."""
  counts = collections.Counter(folder.name for folder in folders)
  return {f.name if f.name and counts[f.name] == 1 else str(f): f for f in folders}


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
