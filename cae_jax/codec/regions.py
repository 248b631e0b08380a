"""Regions of images: what is asked for, and which parts of a file it needs."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

from cae_jax.codec.tiles import Tile
from cae_jax.errors import UsageError

# Top, left, height and width in pixels.
Region = Sequence[SupportsIndex]


def area_of(region: Region | None, height: int, width: int) -> Tile:
  """Returns the rows and columns of a region of an image; all of them if it is None.

  Raises:
    UsageError: it is no region, or not within the image.
  """
  if region is None:
    return slice(0, height), slice(0, width)
  try:
    top, left, rows, columns = map(operator.index, region)
  except (TypeError, ValueError):
    raise UsageError(f"region {region!r}: expected (top, left, height, width) in pixels") from None
  if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
    raise UsageError(
      f"region {rows} x {columns} at ({top}, {left}): not within the image, which has {height} rows"
      f" and {width} columns"
    )
  return slice(top, top + rows), slice(left, left + columns)


def overlap(a: Tile, b: Tile) -> bool:
  """Says whether two areas have anything in common."""
  return all(x.start < y.stop and y.start < x.stop for x, y in zip(a, b))


def common(a: Tile, b: Tile) -> Tile:
  """Returns what two areas that overlap have in common."""
  rows, columns = (slice(max(x.start, y.start), min(x.stop, y.stop)) for x, y in zip(a, b))
  return rows, columns


def scaled(area: Tile, factor: int) -> Tile:
  """Returns the pixels of an area of positions that stand for so many of them across and down."""
  rows, columns = (slice(part.start * factor, part.stop * factor) for part in area)
  return rows, columns


def covering(area: Tile, factor: int) -> Tile:
  """Returns the positions that cover an area of pixels: what `scaled` gives holds the area."""
  rows, columns = (slice(part.start // factor, -(-part.stop // factor)) for part in area)
  return rows, columns


def relative(area: Tile, origin: Tile) -> Tile:
  """Returns an area as counted from the start of another one."""
  rows, columns = (slice(x.start - y.start, x.stop - y.start) for x, y in zip(area, origin))
  return rows, columns


def shape_of(area: Tile) -> tuple[int, int]:
  """Returns height and width of an area."""
  rows, columns = area
  return rows.stop - rows.start, columns.stop - columns.start
