"""Differences to predictions from neighbours, as PNG's filters make them, by whole arrays.

Samples are unsigned, and differences modulo their range. What lies outside of the image is 0.
"""

import numpy as np

from cae_jax.images.png import paeth

# How all rows are predicted; or each as a list of one byte a row says, of the first four.
NONE, LEFT, UP, PAETH, BY_ROW = range(5)
MAX_SIDES = 1 << 15  # height plus width of images with PAETH or BY_ROW: steps of the decoder
_LONG = 64  # samples of a diagonal that take as long by an array as one by one
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
  """Undoes `predict`; for PAETH and BY_ROW by diagonals, where they are long enough for arrays.

  Args:
    differences: uint8 or uint16 [H, W, C].
    kind: NONE to BY_ROW.
    rows: for BY_ROW, uint8 [H], each NONE to PAETH.
  """
  if kind == NONE:
    return differences
  if kind in (LEFT, UP):
    return np.cumsum(differences, axis=1 if kind == LEFT else 0, dtype=differences.dtype)
  height, width, _ = differences.shape
  if differences.size < _LONG * (height + width):
    rows = rows if kind == BY_ROW else np.full(height, kind)
    return _restore_by_samples(differences, rows)
  return _restore_by_diagonals(differences, rows if kind == BY_ROW else None)


def _differences(x: np.ndarray, kind: int) -> np.ndarray:
  if kind == NONE:
    return x
  if kind in (LEFT, UP):
    return np.diff(x, axis=1 if kind == LEFT else 0, prepend=x.dtype.type(0))
  wide: np.ndarray = np.pad(x, ((1, 0), (1, 0), (0, 0))).astype(_WIDE[x.dtype])
  return x - paeth(wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1]).astype(x.dtype)


def _restore_by_samples(differences: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """One sample after the other, row by row, each row by its kind."""
  channels = differences.shape[2]
  top = int(np.iinfo(differences.dtype).max)
  x = np.empty_like(differences)
  above = [0] * (channels + differences[0].size)  # with the pixel left of the image
  for kind, of_row, given in zip(rows.tolist(), x, differences):
    here = [0] * channels  # grows behind what `zip` reads of it
    for left, up, corner, difference in zip(here, above[channels:], above, given.ravel().tolist()):
      nearest = _nearest(left, up, corner) if kind == PAETH else (0, left, up)[kind]
      here.append((difference + nearest) & top)
    of_row[...] = np.reshape(here[channels:], of_row.shape)
    above = here
  return x


def _nearest(left: int, up: int, corner: int) -> int:
  """As `paeth`, of one sample."""
  from_left, from_up = abs(up - corner), abs(left - corner)
  from_corner = abs(left + up - 2 * corner)
  if from_left <= from_up and from_left <= from_corner:
    return left
  return up if from_up <= from_corner else corner


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
