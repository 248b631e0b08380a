"""The order in which samples become known: levels from coarse to fine, of three phases each.

The pixels of a level at even rows and columns are the next coarser level, which is known first. The
others follow in three phases, each of which sees all of the former ones: odd rows and columns, even
rows and odd columns, odd rows and even columns.

A level is kept as four planes of half its resolution, so that neighbours of a phase are slices:

    C H C H       plane 0: C    (0, 0)   known
    V D V D       plane 1: D    (1, 1)   first phase
    C H C H       plane 2: H    (0, 1)   second phase
    V D V D       plane 3: V    (1, 0)   third phase
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

# Of RGB, in which channels are coded: green says most of the others.
CHANNEL_ORDER = (1, 0, 2)
# Rows and columns by which a neighbour may be away in a plane.
MARGIN = 3
PARITIES = ((0, 0), (1, 1), (0, 1), (1, 0))
# A level whose sides are no longer is not split further.
COARSEST = 4


@dataclasses.dataclass(frozen=True)
class Phase:
  """A plane that becomes known in one go, but for its channels.

  Attributes:
    plane: its number, 1 to 3; those before are known.
    neighbours: (plane, rows, columns) of known pixels around, in planes; the closest first.
  """

  plane: int
  neighbours: tuple[tuple[int, int, int], ...]


def _neighbours(plane: int, count: int) -> tuple[tuple[int, int, int], ...]:
  """The `count` closest known pixels; of equally close ones those above and left come first."""
  row, column = PARITIES[plane]
  found = []
  reach = 2 * MARGIN - 1
  for known, (r, c) in enumerate(PARITIES[:plane]):
    for i in range(-MARGIN, MARGIN + 1):
      for j in range(-MARGIN, MARGIN + 1):
        dy, dx = 2 * i + r - row, 2 * j + c - column
        if max(abs(dy), abs(dx)) <= reach:
          found.append((dy * dy + dx * dx, dy, dx, (known, i, j)))
  return tuple(place for *_, place in sorted(found)[:count])


PHASES = tuple(Phase(plane, _neighbours(plane, n)) for plane, n in ((1, 24), (2, 32), (3, 40)))


def plane_shape(shape: tuple[int, int], plane: int) -> tuple[int, int]:
  """Returns rows and columns of a plane of a level of some height and width; may be 0."""
  row, column = PARITIES[plane]
  return (shape[0] - row + 1) // 2, (shape[1] - column + 1) // 2


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
  """Heights and widths of the levels that are split, the finest first."""
  shapes = []
  while max(shape) > COARSEST:
    shapes.append(shape)
    shape = plane_shape(shape, 0)
  return shapes


class Planes:
  """The four planes of a level, with margins of repeated borders.

  Attributes:
    shape: height and width of the level.
    values: float32 [4, C, ceil(H / 2) + 2 MARGIN, ceil(W / 2) + 2 MARGIN]; zero where unknown.
  """

  def __init__(self, shape: tuple[int, int], channels: int):
    self.shape = shape
    height, width = plane_shape(shape, 0)
    self.values = np.zeros((4, channels, height + 2 * MARGIN, width + 2 * MARGIN), np.float32)

  def write(self, plane: int, x: np.ndarray) -> None:
    """Makes a plane known: x [C, h, w] of `plane_shape`."""
    if not x[0].size:  # of one row or column: no such pixels; anything known will do
      x = self.read(0)
    full = self.values.shape[2:]
    margins = [(MARGIN, length - size - MARGIN) for length, size in zip(full, x.shape[1:])]
    self.values[plane] = np.pad(x, ((0, 0), *margins), mode="edge")

  def read(self, plane: int) -> np.ndarray:
    """Reads a plane without its margins: [C, h, w]."""
    height, width = plane_shape(self.shape, plane)
    return self.values[plane, :, MARGIN : MARGIN + height, MARGIN : MARGIN + width]

  def around(self, neighbour: tuple[int, int, int], rows: slice, width: int) -> np.ndarray:
    """Reads a neighbour of each pixel of some rows of a phase: [C, rows, width]."""
    plane, i, j = neighbour
    first = MARGIN + i
    columns = slice(MARGIN + j, MARGIN + j + width)
    return self.values[plane, :, first + rows.start : first + rows.stop, columns]


def split(x: np.ndarray) -> Planes:
  """Splits [C, H, W] into its planes."""
  planes = Planes(x.shape[1:], x.shape[0])
  for plane, (row, column) in enumerate(PARITIES):
    planes.write(plane, x[:, row::2, column::2].astype(np.float32))
  return planes


def join(planes: Planes) -> np.ndarray:
  """Inverts `split`: float32 [C, H, W]."""
  x = np.empty((planes.values.shape[1], *planes.shape), np.float32)
  for plane, (row, column) in enumerate(PARITIES):
    x[:, row::2, column::2] = planes.read(plane)
  return x


def row_chunks(shape: tuple[int, int], most: int) -> Iterator[slice]:
  """Yields rows of a plane in parts of about `most` pixels, small enough for the caches."""
  height, width = shape
  if height and width:
    step = max(1, most // width)
    for start in range(0, height, step):
      yield slice(start, min(start + step, height))
