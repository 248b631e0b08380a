"""Colours of pixels that nobody sees: whatever takes the fewest bytes."""

import numpy as np

_FLAT_BLOCK = 16  # pixels
_SMOOTH_BLOCK = 2  # pixels; with 1 files are 0.5 % smaller, for four times the memory


def flat(colours: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
  """Gives pixels that are not seen the mean of the others of their block: best without a loss.

  Args:
    colours: uint8 or uint16 [H, W, C].
    is_seen: bool [H, W].
  """
  seen = is_seen[..., None]
  if seen.all():
    return colours
  sums = block_sums(np.where(seen, colours, 0), _FLAT_BLOCK, np.int64)
  counts = block_sums(seen, _FLAT_BLOCK, np.int64)
  everywhere = sums.sum(axis=(0, 1)) // max(int(counts.sum()), 1)
  means = np.where(counts > 0, sums // np.maximum(counts, 1), everywhere)
  return np.where(seen, colours, _spread(means.astype(colours.dtype), seen, _FLAT_BLOCK))


def smooth(colours: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
  """Gives pixels that are not seen colours between those of the others: best for transforms.

  Args:
    colours: uint8 [H, W, C].
    is_seen: bool [H, W].
  """
  seen = is_seen[..., None]
  if seen.all():
    return colours
  sums = block_sums(np.where(seen, colours, 0), _SMOOTH_BLOCK)
  means = np.rint(_filled(sums, block_sums(seen, _SMOOTH_BLOCK))).astype(colours.dtype)
  return np.where(seen, colours, _spread(means, seen, _SMOOTH_BLOCK))


def block_sums(x: np.ndarray, side: int, dtype: type = np.float32) -> np.ndarray:
  """Adds up squares of pixels [H, W, ...], fewer at the right and the bottom."""
  for axis in (0, 1):
    x = np.add.reduceat(x, np.arange(0, x.shape[axis], side), axis=axis, dtype=dtype)
  return x


def _spread(blocks: np.ndarray, like: np.ndarray, side: int) -> np.ndarray:
  """Each block's value at all its pixels, in an image as large as another one."""
  rows, columns = (np.arange(length) // side for length in like.shape[:2])
  return blocks[rows][:, columns]


def _filled(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Means of blocks of pixels; of those without any, of blocks of blocks, smoothly.

  "Pull-push" of Gortler et al. 1996, "The Lumigraph".

  Args:
    sums: float32 [h, w, C], of the pixels that count.
    counts: float32 [h, w, 1], of these.
  """
  means, known = sums / np.maximum(counts, 1), counts > 0
  if known.all() or known.size == 1:
    return means
  coarse = _filled(block_sums(means, 2), block_sums(known, 2))
  height, width = known.shape[:2]
  return np.where(known, means, _doubled(_doubled(coarse, 0), 1)[:height, :width])


def _doubled(x: np.ndarray, axis: int) -> np.ndarray:
  """Twice as many values along an axis, on lines between those that there are."""
  x = np.moveaxis(x, axis, 0)
  near = np.concatenate([x[:1], x, x[-1:]])
  pairs = np.stack([0.75 * x + 0.25 * near[:-2], 0.75 * x + 0.25 * near[2:]], axis=1)
  return np.moveaxis(pairs.reshape(-1, *x.shape[1:]), 0, axis)
