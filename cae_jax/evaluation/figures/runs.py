"""Several training runs in one picture: a figure against steps, and against time of training."""

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
# By the end of a figure's name, which says its unit.
_UNITS = {"db": "dB", "bpp": "bits per pixel", "bpsp": "bits per sub-pixel"}


class RunCurve(NamedTuple):
  """A figure of one split of a run.

  Attributes:
    steps: int [N].
    seconds: float64 [N], of training alone: validation and compiling do not count.
    values: float64 [N].
  """

  steps: np.ndarray
  seconds: np.ndarray
  values: np.ndarray


def run_curve(lines: Sequence[Mapping], split: str, figure: str = "loss") -> RunCurve:
  """Returns the curve of a figure in the lines of a metrics.jsonl.

  Args:
    lines: of `read_metrics`.
    split: "train" or "valid".
    figure: its name in the lines; those that lack it are passed over.
  """
  train = [line for line in lines if line["split"] == "train"]
  steps = np.array([0, *(line["step"] for line in train)])
  seconds = np.concatenate([[0.0], np.cumsum(np.diff(steps) / _speeds(train))])
  chosen = [line for line in lines if line["split"] == split and line.get(figure) is not None]
  at = np.array([line["step"] for line in chosen], int)
  values = np.array([line[figure] for line in chosen], float)
  return RunCurve(at, np.interp(at, steps, seconds), values)


def _speeds(train: Sequence[Mapping]) -> np.ndarray:
  """Steps a second of lines; where compiling left none to be timed, those of the next line."""
  speeds: list[float] = []
  following = next((x["steps_per_s"] for x in reversed(train) if "steps_per_s" in x), math.nan)
  for line in reversed(train):
    following = line.get("steps_per_s", following)
    speeds.append(following)
  return np.array(speeds[::-1])


def compare(runs: Mapping[str, str | PathLike], figure: str = "loss") -> Figure:
  """Draws what validation found in runs against steps and against minutes of training.

  Args:
    runs: metrics.jsonl of each run, by the name to show.
    figure: the name of what to draw, as in their lines. Losses compare only if all runs minimised
      the same.
  Raises:
    UsageError: a run has no validation yet, or no such figure in it.
  """
  picture = drawing.figure(12.0, 4.6)
  panels = picture.subplots(1, 2, sharey=True)
  highest, lowest = 0.0, math.inf
  styles = itertools.cycle(itertools.product(_DASHES, _COLOURS))
  for (dash, colour), (name, metrics) in zip(styles, runs.items()):
    lines = read_metrics(metrics)
    _check_validated(metrics, lines, figure)
    curve = run_curve(lines, "valid", figure)
    for axes, xs in zip(panels, (curve.steps, curve.seconds / 60)):
      style = {"color": colour, "ls": dash, "marker": "o", "mec": "white", "ms": 7, "lw": 1.8}
      axes.plot(xs, curve.values, label=name, **style)
    highest, lowest = max(highest, curve.values.max()), min(lowest, curve.values.min())
  panels[0].set(xlabel="step", ylabel=f"validation {_with_unit(figure)}")
  panels[1].set(xlabel="minutes of training")
  for axes in panels:
    axes.grid(which="both", color="#EEEEEE")
    if figure == "loss" and highest > 3 * lowest:
      axes.set_yscale("log")
      drawing.plain_ticks(axes.yaxis)
  drawing.legend(picture, panels[:1])
  return picture


def _check_validated(metrics: str | PathLike, lines: Sequence[Mapping], figure: str) -> None:
  valid = [line for line in lines if line["split"] == "valid"]
  known = {name for line in valid for name, value in line.items() if value is not None}
  known -= {"step", "split"}
  if not known:
    raise UsageError(f"{metrics} has no validation yet; train for --validate_every steps first")
  if figure not in known:
    raise UsageError(
      f"{metrics} has no validation figure {figure!r}; choose one of {', '.join(sorted(known))}"
    )


def _with_unit(figure: str) -> str:
  """The name of a figure, and the unit that it ends with; "@0.5" says at which trade-off."""
  unit = _UNITS.get(figure.partition("@")[0].rpartition("_")[2])
  return f"{figure} ({unit})" if unit else figure
