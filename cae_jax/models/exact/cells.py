"""Which positions of a map a step codes, and what these see of their surroundings."""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from cae_jax.models.arrays import depth_to_space


class Cells(NamedTuple):
  """Positions (row + stride * i, column + stride * j) for each offset (row, column).

  Their neighbours are half a stride apart: the positions that such a grid is refined to.
  """

  stride: int
  offsets: tuple[tuple[int, int], ...]

  @property
  def spacing(self) -> int:
    """Of neighbours."""
    return max(self.stride // 2, 1)


EVERYWHERE = Cells(1, ((0, 0),))
# The positions of each step, by number of steps: everywhere; the colours of a checkerboard; the
# corners of 2x2 cells; these for a grid of half the resolution first, then for the whole.
_CORNERS = (0, 0), (1, 1), (0, 1), (1, 0)
PATTERNS = {
  1: (Cells(2, _CORNERS),),
  2: (Cells(2, _CORNERS[:2]), Cells(2, _CORNERS[2:])),
  4: tuple(Cells(2, (corner,)) for corner in _CORNERS),
  7: (
    *(Cells(4, ((2 * row, 2 * column),)) for row, column in _CORNERS),
    *(Cells(2, (corner,)) for corner in _CORNERS[1:]),
  ),
}


def patches(x: Any, size: int, cells: Cells) -> Any:
  """Gathers neighbourhoods of the cells' positions, with zeros outside of x.

  Args:
    x: [..., h, w, C]; h and w multiples of the stride.
    size: side of a neighbourhood, odd.
    cells: whose middles are wanted.
  Returns:
    [..., h, w, size * size * C] everywhere, else [..., n, h / stride, w / stride, size * size * C].
  """
  xp = x.__array_namespace__()
  *batch, height, width, channels = x.shape
  stride, radius = cells.stride, size // 2
  count, columns = height // stride, width // stride
  # Maps of one position of each cell, so that a neighbour is a shift by whole cells: slices with
  # strides are slow, and their gradients slower.
  x = x.reshape(*batch, count, stride, columns, stride, channels)
  border = -(-radius * cells.spacing // stride)
  margin = [(0, 0)] * len(batch) + [(border, border)] * 2 + [(0, 0)]
  map_of = functools.cache(lambda i, j: xp.pad(x[..., i, :, j, :], margin))

  def neighbour(row, column):
    (down, i), (right, j) = divmod(row, stride), divmod(column, stride)
    down, right = down + border, right + border
    return map_of(i, j)[..., down : down + count, right : right + columns, :]

  distances = [cells.spacing * n for n in range(-radius, radius + 1)]
  around = lambda row, column: xp.concatenate(
    [neighbour(row + i, column + j) for i in distances for j in distances], axis=-1
  )
  if cells is EVERYWHERE:
    return around(0, 0)
  return xp.stack([around(row, column) for row, column in cells.offsets], axis=-4)


def cells_mask(height: int, width: int, cells: Cells) -> np.ndarray:
  """Marks which positions of height x width are the cells': bool [height, width]."""
  mask = np.zeros((height, width), bool)
  for row, column in cells.offsets:
    mask[row :: cells.stride, column :: cells.stride] = True
  return mask


def at_cells(x: Any, cells: Cells) -> Any:
  """Takes the cells' positions: [B, h, w, C] -> [B, n, h / stride, w / stride, C]."""
  xp, stride = x.__array_namespace__(), cells.stride
  return xp.stack([x[:, row::stride, column::stride] for row, column in cells.offsets], axis=1)


def from_cells(x: Any, cells: Cells) -> Any:
  """Undoes `at_cells`, with zeros at all other positions."""
  xp = x.__array_namespace__()
  positions = dict(zip(cells.offsets, xp.moveaxis(x, 1, 0), strict=True))
  nothing = xp.zeros_like(x[:, 0])
  sides = range(cells.stride), range(cells.stride)
  corners = [positions.get(offset, nothing) for offset in itertools.product(*sides)]
  return depth_to_space(xp.concatenate(corners, axis=-1), cells.stride)
