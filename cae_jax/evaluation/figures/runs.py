"""Several training runs in one picture: loss against steps, and against seconds of training."""

import itertools
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from cae_jax.errors import UsageError
from cae_jax.evaluation.figures import drawing
from cae_jax.metrics_file import read_metrics

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
_DASHES = ("-", "--", ":", "-.")


class LossCurve(NamedTuple):
  """The losses of one split of a run.

  Attributes:
    steps: int [N].
    seconds: float64 [N], of training alone: validation and compiling do not count.
    losses: float64 [N].
  """

  steps: np.ndarray
  seconds: np.ndarray
  losses: np.ndarray


def loss_curve(lines: Sequence[Mapping], split: str) -> LossCurve:
  """Returns the curve of a split ("train" or "valid") in the lines of a metrics.jsonl."""
  train = [line for line in lines if line["split"] == "train"]
  steps = np.array([0, *(line["step"] for line in train)])
  speeds = np.array([line["steps_per_s"] for line in train])
  seconds = np.concatenate([[0.0], np.cumsum(np.diff(steps) / speeds)])
  chosen = [line for line in lines if line["split"] == split]
  at = np.array([line["step"] for line in chosen], int)
  losses = np.array([line["loss"] for line in chosen], float)
  return LossCurve(at, np.interp(at, steps, seconds), losses)


def compare(runs: Mapping[str, str | PathLike]) -> Figure:
  """Draws the validation losses of runs against steps and against minutes of training.

  Args:
    runs: metrics.jsonl of each run, by the name to show.
  Raises:
    UsageError: a run has no validation yet.
  """
  figure = drawing.figure(12.0, 4.6)
  panels = figure.subplots(1, 2, sharey=True)
  highest, lowest = 0.0, math.inf
  styles = itertools.cycle(itertools.product(_DASHES, _COLOURS))
  for (dash, colour), (name, metrics) in zip(styles, runs.items()):
    curve = loss_curve(read_metrics(metrics), "valid")
    if not curve.steps.size:
      raise UsageError(f"{metrics} has no validation yet; train for --validate_every steps first")
    for axes, xs in zip(panels, (curve.steps, curve.seconds / 60)):
      style = {"color": colour, "ls": dash, "marker": "o", "mec": "white", "ms": 7, "lw": 1.8}
      axes.plot(xs, curve.losses, label=name, **style)
    highest, lowest = max(highest, curve.losses.max()), min(lowest, curve.losses.min())
  panels[0].set(xlabel="step", ylabel="validation loss")
  panels[1].set(xlabel="minutes of training")
  for axes in panels:
    axes.grid(which="both", color="#EEEEEE")
    if highest > 3 * lowest:
      axes.set_yscale("log")
      drawing.plain_ticks(axes.yaxis)
  drawing.legend(figure, panels[0])
  return figure
