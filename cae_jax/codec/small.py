"""Small pictures: previews of an eighth of the size."""

import numpy as np

PREVIEW = 8  # pixels across and down that one of a preview stands for


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
  """Takes means of factor x factor samples, fewer at the right and the bottom.

  Args:
    image: uint8 or uint16 [H, W] or [H, W, C].
    factor: at most 256.
  Returns:
    [ceil(H / factor), ceil(W / factor), ...] of the same type, rounded.
  """
  means: np.ndarray = image
  for axis in (0, 1):
    starts = np.arange(0, image.shape[axis], factor)
    counts = np.diff([*starts, image.shape[axis]]).astype(np.float32)
    sums = np.add.reduceat(means, starts, axis=axis, dtype=np.float32)
    means = sums / counts.reshape(-1, *(1,) * (image.ndim - 1 - axis))
  return np.rint(means).astype(image.dtype)
