"""Differences to predictions from neighbours, as PNG's filters make them, by whole arrays.

Samples are unsigned, and differences modulo their range. What lies outside of the image is 0.
"""

import numpy as np

from cae_jax.images.png import paeth

# How all rows are predicted; or each as a list of one byte a row says, of the first four.
NONE, LEFT, UP, PAETH, BY_ROW = range(5)
MAX_SIDES = 1 << 15  # height plus width of images with PAETH or BY_ROW: steps of the decoder
_WIDE: dict[np.dtype, type] = {np.dtype(np.uint8): np.int16, np.dtype(np.uint16): np.int32}


def predict(x: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
  """Takes predictions off the samples.

  Args:
    x: uint8 or uint16 [H, W, C].
    kind: NONE to BY_ROW, where each row has the kind whose differences are smallest.
  Returns:
    Differences, as `x`; and the rows' kinds, uint8 [H] for BY_ROW, else [0].
  """
  if kind != BY_ROW:
    return _differences(x, kind), np.empty(0, np.uint8)
  differences = [_differences(x, kind) for kind in (NONE, LEFT, UP, PAETH)]
  # The distance from 0 modulo the range.
  costs = [np.minimum(d, 0 - d).sum(axis=(1, 2), dtype=np.int64) for d in differences]
  kinds = np.argmin(costs, axis=0).astype(np.uint8)
  return np.choose(kinds[:, None, None], differences), kinds


def restore(differences: np.ndarray, kind: int, rows: np.ndarray) -> np.ndarray:
  """Undoes `predict`; for PAETH and BY_ROW in height + width - 1 steps.

  Args:
    differences: uint8 or uint16 [H, W, C].
    kind: NONE to BY_ROW.
    rows: for BY_ROW, uint8 [H], each NONE to PAETH.
  """
  if kind == NONE:
    return differences
  if kind in (LEFT, UP):
    return np.cumsum(differences, axis=1 if kind == LEFT else 0, dtype=differences.dtype)
  return _restore_by_diagonals(differences, rows if kind == BY_ROW else None)


def _differences(x: np.ndarray, kind: int) -> np.ndarray:
  if kind == NONE:
    return x
  if kind in (LEFT, UP):
    return np.diff(x, axis=1 if kind == LEFT else 0, prepend=x.dtype.type(0))
  wide: np.ndarray = np.pad(x, ((1, 0), (1, 0), (0, 0))).astype(_WIDE[x.dtype])
  return x - paeth(wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1]).astype(x.dtype)


def _restore_by_diagonals(differences: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
  """All samples of a diagonal, from the lower left to the upper right, know their neighbours."""
  height, width, channels = differences.shape
  top = np.iinfo(differences.dtype).max
  x = np.zeros((height + 1, width + 1, channels), _WIDE[differences.dtype])
  x[1:, 1:] = differences
  pixels = x.reshape(-1, channels)  # one row down and one column left are `width` pixels on
  for diagonal in range(height + width - 1):
    first, end = max(0, diagonal - width + 1), min(height, diagonal + 1)
    start = (first + 1) * (width + 1) + diagonal - first + 1
    here, left, up, corner = (
      pixels[start - back :: width][: end - first] for back in (0, 1, width + 1, width + 2)
    )
    prediction = paeth(left, up, corner)
    if rows is not None:
      kinds = rows[first:end, None]
      prediction = np.choose(kinds, (np.zeros_like(left), left, up, prediction))
    here += prediction
    here &= top
  return x[1:, 1:].astype(differences.dtype)
