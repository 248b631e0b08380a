"""Coding tiles: the parts of an image's latents that become sections of a file."""

TILE_SIDE = 1024  # pixels
_MAX_TILES = 1 << 11  # well below the sections that a container can have

Tile = tuple[slice, slice]


def coding_tiles(height: int, width: int, stride: int) -> list[Tile]:
  """Tiles over h x w latent positions, row by row, as docs/format.md defines them.

  Args:
    height, width: latent positions.
    stride: pixels that a position stands for.
  Returns:
    (rows, columns) of each tile; those at the right and bottom may be smaller.
  """
  side = TILE_SIDE // stride
  while -(-height // side) * -(-width // side) > _MAX_TILES:
    side *= 2  # only very long, narrow images
  return [(rows, columns) for rows in _parts(height, side) for columns in _parts(width, side)]


def _parts(length: int, side: int) -> list[slice]:
  return [slice(start, min(start + side, length)) for start in range(0, length, side)]
