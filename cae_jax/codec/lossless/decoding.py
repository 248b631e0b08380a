"""From a lossless file's container to the image, a region of it, a small picture, what is left."""

import math
from collections.abc import Sequence

import numpy as np

from cae_jax.codec import threads
from cae_jax.codec.decoded import Damage, Decoded, read_plane
from cae_jax.codec.info import info_of
from cae_jax.codec.kinds import has_alpha
from cae_jax.codec.lossless import samples, sections
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.tile import TileCoder
from cae_jax.codec.regions import Region, area_of, common, covering, overlap, relative, shape_of
from cae_jax.codec.small import PREVIEW, shrink
from cae_jax.codec.tiles import Tile, coding_tiles
from cae_jax.coding.bitstream import Container
from cae_jax.coding.errors import BitstreamError
from cae_jax.models.arrays import Map
from cae_jax.models.lossless.passes import Precision
from cae_jax.models.lossless.phases import level_shapes

_PART = 1 << 13  # pixels of a tile that are worth a thread: one part of its largest phases
# Previews are means of every fourth pixel: every eighth one alone would flicker.
_PREVIEW_LEVEL = 2


def shared_threads(tiles: Sequence[Tile]) -> tuple[int, int]:
  """Returns numbers of threads across tiles, and within each: one of them is 1."""
  if len(tiles) >= threads.workers():
    return len(tiles), 1
  return 1, -(-math.prod(shape_of(tiles[0])) // _PART)


class LosslessFile:
  """A container with what its header says, and decoding of its tiles.

  Raises:
    BitstreamError: the sections are not those of such an image.
  """

  def __init__(self, coder: TileCoder, container: Container):
    header = container.header
    self._coder, self._container = coder, container
    self._kind, self._dtype = header.kind, header.kind.dtype
    self._layout = layout = Layout.unpack(header.parameters)
    self._channels = samples.coded_channels(header, layout)
    self._precision = Precision(layout.largest, layout.step)
    if header.is_finer or header.has_layer:
      raise BitstreamError("header", 0, f"no lossless file is of version {header.version}")
    self._shape = header.height, header.width
    self._tiles = [(slice(0, header.height), slice(0, header.width))]
    if not layout.whole:
      self._tiles = coding_tiles(*self._shape, 1)
    others = has_alpha(header.kind) + layout.counted
    found = len(container.sections) - others
    if found != len(self._tiles):
      raise BitstreamError(
        "sections",
        0,
        f"{max(found, 0)} of colours; an image of this size has {len(self._tiles)}",
      )
    self._sections = container.sections[layout.counted :][:found]
    if header.version == 1 and sections.joint_checksum(self._sections) != header.symbol_checksum:
      raise BitstreamError("sections", 0, "they do not match their checksum")

  def decode(self, region: Region | None, salvage: bool) -> Decoded:
    """Decodes a region of the image, or all of it; see `LosslessCodec.decode`."""
    area = area_of(region, *self._shape)
    colours, damage = self._colours(area, 0, salvage)
    alpha = None
    if has_alpha(self._kind):
      alpha = read_plane(self._alpha, area, salvage, damage, "opaque")
      if alpha is None:
        alpha = np.full(shape_of(area), np.iinfo(self._dtype).max, self._dtype)
    image = samples.put_together(self._kind, colours, alpha, self._layout)
    container = self._container
    return Decoded(image, container.metadata, info_of(container.outline), tuple(damage))

  def preview(self) -> np.ndarray:
    """Makes a picture of an eighth of the size; see `LosslessCodec.preview`."""
    colours, _ = self._colours(area_of(None, *self._shape), _PREVIEW_LEVEL, salvage=False)
    step = 1 << _PREVIEW_LEVEL
    alpha = self._alpha()[::step, ::step] if has_alpha(self._kind) else None
    return shrink(samples.put_together(self._kind, colours, alpha, self._layout), PREVIEW // step)

  def _alpha(self) -> np.ndarray:
    return sections.read_plain(self._container.sections[-1], (1, *self._shape), self._dtype)[0]

  def _colours(self, area: Tile, finest: int, salvage: bool) -> tuple[np.ndarray, list[Damage]]:
    """[C, h, w] of every 2^finest-th pixel of an area, and what was damaged."""
    occurring = None
    if self._layout.counted:
      shape = 1, 1, np.iinfo(self._dtype).max + 1
      occurring = sections.read_plain(self._container.sections[0], shape, np.uint8)[0, 0]
    numbers = [number for number, tile in enumerate(self._tiles) if overlap(tile, area)]
    across, within = shared_threads([self._tiles[number] for number in numbers])
    step = 1 << finest
    wanted = covering(area, step)
    x: np.ndarray | None = None
    damage, lost = [], []

    def decode(number: int) -> np.ndarray | None:
      try:
        return self._tile(number, finest, within_map)
      except BitstreamError:
        if not salvage:
          raise
        return None

    with threads.threads(within) as within_map, threads.threads(across) as across_map:
      for number, part in zip(numbers, across_map(decode, numbers)):
        whole = covering(self._tiles[number], step)
        tile = common(whole, wanted)
        inside = (slice(None), *relative(tile, wanted))
        if part is None:
          lost.append(inside)
          damage.append(Damage.of(common(self._tiles[number], area), "lost"))
          continue
        if x is None:  # nothing of the image's size before a tile was right
          x = np.zeros((self._channels, *shape_of(wanted)), self._dtype)
        x[inside] = part[(slice(None), *relative(tile, whole))]
    if x is None:
      raise BitstreamError("sections", 0, "nothing is left of the image")
    if lost:
      _fill(x, lost)
    if occurring is not None:
      x = samples.uncounted(x, occurring, self._layout)
    return x, damage

  def _tile(self, number: int, finest: int, in_parallel: Map) -> np.ndarray:
    """Every 2^finest-th pixel of a tile, [C, h, w]; its checksum is that of all pixels."""
    section, shape = self._sections[number], shape_of(self._tiles[number])
    step = 1 << finest
    if sections.is_of_model(section):
      if self._layout.whole:  # networks take hundreds of bytes a pixel, of a tile at a time
        raise BitstreamError("tile", 0, "networks code no image whole")
      x: np.ndarray = self._coder.decode(
        sections.code_of(section), self._channels, shape, self._precision, in_parallel, finest
      ).astype(self._dtype)
      if not finest:
        sections.check(section, x)
      step = 1 << max(0, finest - len(level_shapes(shape)))
    else:
      x = sections.read_plain(section, (self._channels, *shape), self._dtype)
    if x.max() > self._layout.largest:
      raise BitstreamError(
        "tile", 0, f"a sample is {x.max()}, the largest is {self._layout.largest}"
      )
    return x[:, ::step, ::step]


def _fill(x: np.ndarray, lost: Sequence[tuple[slice, ...]]) -> None:
  """Gives lost tiles the mean of the others, in whole numbers."""
  known = np.ones(x.shape[1:], bool)
  for _, *tile in lost:
    known[tuple(tile)] = False
  x[:, ~known] = np.rint(x[:, known].mean(axis=1, keepdims=True))
