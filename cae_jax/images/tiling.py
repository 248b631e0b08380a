"""Images in parts: padding to sizes that a network takes, and overlapping windows."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
  """Part of an axis: start to stop is computed, inner_start to inner_stop kept of it."""

  start: int
  stop: int
  inner_start: int
  inner_stop: int


def pad_to_multiple(x: np.ndarray, multiple: int) -> np.ndarray:
  """Repeats the last row and column until both sides are multiples of `multiple`.

  Args:
    x: [H, W, ...], H and W at least 1.
  Returns:
    [H', W', ...], H' and W' the next multiples; crop with x[:H, :W] to come back.
  """
  height, width = x.shape[:2]
  return pad_to(x, -(-height // multiple) * multiple, -(-width // multiple) * multiple)


def pad_to(x: np.ndarray, height: int, width: int) -> np.ndarray:
  """Repeats the last row and column: [H, W, ...] -> [height, width, ...], neither smaller."""
  bottom, right = height - x.shape[0], width - x.shape[1]
  return np.pad(x, ((0, bottom), (0, right), *((0, 0),) * (x.ndim - 2)), mode="edge")


def split_axis(length: int, size: int, margin: int, align: int = 1) -> list[Window]:
  """Covers an axis with windows of one size.

  Windows at the ends touch them, and elsewhere what is kept of a window lies at least `margin`
  inside it: a map that looks no further than that, and pads at the ends of what it is given, gives
  in windows what it gives in one piece.

  Args:
    length: of the axis, a multiple of `align`.
    size: of the windows, a multiple of `align`; an axis that is not longer is one window.
    margin: kept between what is used of a window and its ends.
    align: windows begin at multiples of this.
  Returns:
    The windows in order; what they keep covers the axis without overlap.
  Raises:
    ValueError: nothing would be left between the margins.
  """
  if length <= size:
    return [Window(0, length, 0, length)]
  step = _step(size, margin, align)
  starts = [*range(0, length - size, step), length - size]
  # Neighbours overlap by two margins or more; the cut is in the middle.
  cuts = [(left + size + right) // 2 for left, right in itertools.pairwise(starts)]
  return [
    Window(start, start + size, *inner)
    for start, inner in zip(starts, zip([0, *cuts], [*cuts, length]))
  ]


def best_size(length: int, sizes: Sequence[int], margin: int, align: int = 1) -> int:
  """Returns the window size that covers an axis with the least work; of equal ones, the largest."""
  return min(sizes, key=lambda size: (size * _count(length, size, margin, align), -size))


def _count(length: int, size: int, margin: int, align: int) -> int:
  return 1 + -(-max(length - size, 0) // _step(size, margin, align))


def _step(size: int, margin: int, align: int) -> int:
  step = (size - 2 * margin) // align * align
  if step < 1:
    raise ValueError(f"a window of {size} has nothing left between margins of {margin}")
  return step
