"""Padding images to sizes that a network takes."""

import numpy as np


def pad_to_multiple(x: np.ndarray, multiple: int) -> np.ndarray:
  """Repeats the last row and column until both sides are multiples of `multiple`.

  Args:
    x: [H, W, ...], H and W at least 1.
  Returns:
    [H', W', ...], H' and W' the next multiples; crop with x[:H, :W] to come back.
  """
  height, width = x.shape[:2]
  bottom, right = -height % multiple, -width % multiple
  return np.pad(x, ((0, bottom), (0, right), *((0, 0),) * (x.ndim - 2)), mode="edge")
