"""Draws the validation losses of several runs against steps and against minutes.

python -m experiments.compare_runs --runs=runs/adam,runs/soap --output=compared.png
"""

from pathlib import Path

from absl import flags

from cae_jax.evaluation.figures import drawing, runs
from experiments import cli

_RUNS = flags.DEFINE_list("runs", None, "Workdirs of runs, with commas.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The picture to write.", required=True)


def main(_):
  """Runs the program with the parsed flags."""
  workdirs = [Path(run) for run in _RUNS.value]
  figure = runs.compare({path.name: path / "metrics.jsonl" for path in workdirs})
  drawing.save(figure, _OUTPUT.value)


if __name__ == "__main__":
  cli.run(main)
