"""From a lossy file's container to the image, a region of it, a small picture, or what is left."""

import contextlib
from collections.abc import Callable, Sequence

import numpy as np

from cae_jax.codec import checked, windows
from cae_jax.codec.coders.base import LatentCoder
from cae_jax.codec.decoded import Damage, Decoded, read_plane
from cae_jax.codec.drawn import lay_over, lay_over_preview
from cae_jax.codec.info import info_of, unpack_rate
from cae_jax.codec.kinds import Planes, has_alpha, put_together
from cae_jax.codec.lossless.plain import decode_plain
from cae_jax.codec.lossless.samples import interleaved
from cae_jax.codec.lossless.sections import read_plain
from cae_jax.codec.regions import Region, area_of, common, overlap, relative, scaled, shape_of
from cae_jax.codec.small import PREVIEW, shrink
from cae_jax.codec.targets import MAX_QUALITY
from cae_jax.codec.threads import in_threads
from cae_jax.codec.tiles import Tile, coding_tiles
from cae_jax.coding.bitstream import Container, Header, symbol_checksum
from cae_jax.coding.errors import BitstreamError
from cae_jax.models.arrays import Map
from cae_jax.weights.look import Look

_OPAQUE = 255

# Symbols in the order of decoding, and latents [h, w, M] or, of the coarse ones, [h, w, C].
_Tile = tuple[list[np.ndarray], np.ndarray]


def decode_container(
  coder: LatentCoder,
  container: Container,
  region: Region | None = None,
  salvage: bool = False,
  look: Look | None = None,
  amount: float = 0.0,
) -> Decoded:
  """Decodes a file that this coder's weights have made.

  Args:
    coder: of these weights.
    container: of the file.
    region: of the image, see `regions.area_of`.
    salvage: fills what is damaged, and says what that is, instead of raising an error.
    look: of the weights.
    amount: of it, 0 to 1.
  Raises:
    BitstreamError: the sections are damaged, or not those of such an image.
    UsageError: the region is not within the image.
  """
  file = _LossyFile(coder, container)
  area = area_of(region, file.height, file.width)
  plan = windows.plan(coder, file.positions, area)
  y_hat, damage = file.latents(plan.seen, salvage)
  alpha = None
  if has_alpha(container.header.kind):
    alpha = read_plane(file.alpha, area, salvage, damage, "opaque")
    if alpha is None:
      alpha = np.full(shape_of(area), _OPAQUE, np.uint8)
  rgb = windows.synthesise_area(file.synthesis(look, amount), y_hat, file.rate_level, plan)
  if container.header.has_layer:
    layer = read_plane(file.layer, area, salvage, damage, "undrawn")
    if layer is not None:
      rgb = lay_over(rgb, layer)
  image = put_together(Planes(container.header.kind, rgb, alpha))
  return Decoded(image, container.metadata, info_of(container.outline), tuple(damage))


def preview_container(coder: LatentCoder, container: Container) -> np.ndarray:
  """Makes a picture of an eighth of the size, of the coarse latents if the model has such.

  Returns:
    uint8 [ceil(H / 8), ceil(W / 8), ...], of the image's kind.
  Raises:
    BitstreamError: as `decode_container`, as far as the sections are looked at.
  """
  if not coder.coarse_parts:
    return shrink(decode_container(coder, container).image, PREVIEW)
  file = _LossyFile(coder, container)
  alpha = None
  if has_alpha(container.header.kind):
    alpha = shrink(file.alpha(), PREVIEW)
  rgb = coder.preview(file.coarse_latents(), file.rate_level)
  rgb = rgb[: -(-file.height // PREVIEW), : -(-file.width // PREVIEW)]
  if container.header.has_layer:
    rgb = lay_over_preview(rgb, file.layer(), PREVIEW)
  return put_together(Planes(container.header.kind, rgb, alpha))


class _LossyFile:
  """A container with what its header says, and decoding of its tiles.

  Attributes:
    height, width: of the image.
    positions: height and width of its latents.
    rate_level: of the model.
  """

  def __init__(self, coder: LatentCoder, container: Container):
    header = container.header
    if header.kind.dtype != np.uint8:
      raise BitstreamError("header", 0, f"{header.kind.name}: lossy files have 8 bits a sample")
    self._coder, self._header, self._sections = coder, header, container.sections
    self.rate_level = _rate_level(coder, header)
    self.height, self.width = header.height, header.width
    self.positions = -(-self.height // coder.stride), -(-self.width // coder.stride)
    self._tiles = coding_tiles(*self.positions, coder.stride)
    expected = len(self._tiles) + has_alpha(header.kind) + header.has_layer
    if len(self._sections) != expected:
      found = len(self._sections)
      raise BitstreamError(
        "sections", 0, f"{found} sections; an image of this size and kind has {expected}"
      )

  def synthesis(self, look: Look | None, amount: float) -> LatentCoder:
    """Returns the coder that shows the latents with an amount of a look."""
    if look is None:
      return self._coder
    quality = MAX_QUALITY * self.rate_level / self._coder.rate_levels
    strength = look.strength(amount, quality)
    return self._coder.looking(look.difference, strength) if strength else self._coder

  def alpha(self) -> np.ndarray:
    """Decodes the opacity, uint8 [H, W]."""
    section, shape = self._sections[len(self._tiles)], (self.height, self.width)
    if self._header.version == 1:
      return decode_plain(section, (*shape, 1), np.uint8)[..., 0]
    return read_plain(section, (1, *shape), np.uint8)[0]

  def layer(self) -> np.ndarray:
    """Decodes what is drawn, uint8 [H, W, 2] or [H, W, 4]."""
    shape = self._header.kind.colours + 1, self.height, self.width
    return interleaved(read_plain(self._sections[-1], shape, np.uint8))

  def latents(self, seen: Tile, salvage: bool) -> tuple[np.ndarray, list[Damage]]:
    """Decodes the latents of some positions: y_hat [h, w, M], and what was damaged."""
    numbers = [number for number, tile in enumerate(self._tiles) if overlap(tile, seen)]
    y_hat: np.ndarray | None = None
    checksum, damage, lost = 0, [], []
    decode = self._salvaged if salvage else self._tile
    for number, found in zip(numbers, in_threads(decode, numbers)):
      tile = common(self._tiles[number], seen)
      inside = relative(tile, seen)
      if found is None:
        lost.append(inside)
        damage.append(self._damage(tile, "lost"))
        continue
      symbols, part = found
      checksum = symbol_checksum(symbols, checksum)
      if y_hat is None:  # nothing of the image's size before a tile has been decoded
        y_hat = np.zeros((*shape_of(seen), self._coder.channels), np.float32)
      y_hat[inside][..., : part.shape[-1]] = part[relative(tile, self._tiles[number])]
      if part.shape[-1] < self._coder.channels:
        damage.append(self._damage(tile, "blurred"))
    if y_hat is None:
      raise BitstreamError("sections", 0, "nothing is left of the image")
    whole = len(numbers) == len(self._tiles)
    if self._header.version == 1 and whole and checksum != self._header.symbol_checksum:
      raise BitstreamError("symbols", 0, checked.OTHER_SYMBOLS)
    if lost:
      _fill(y_hat, lost)
    return y_hat, damage

  def coarse_latents(self) -> np.ndarray:
    """Decodes the coarse latents of all positions: y_hat [h, w, C]."""
    y_hat = None
    for tile, (_, part) in zip(self._tiles, in_threads(self._coarse, range(len(self._tiles)))):
      if y_hat is None:
        y_hat = np.zeros((*self.positions, part.shape[-1]), np.float32)
      y_hat[tile] = part
    assert y_hat is not None
    return y_hat

  def _tile(self, number: int, in_parallel: Map) -> _Tile:
    """Symbols and latents of a tile."""
    return self._checked(self._coder.decode, number, in_parallel)

  def _coarse(self, number: int, in_parallel: Map) -> _Tile:
    """Symbols and coarse latents of a tile."""
    return self._checked(self._coder.decode_coarse, number, in_parallel)

  def _checked(self, decode: Callable[..., _Tile], number: int, in_parallel: Map) -> _Tile:
    section, shape = self._sections[number], shape_of(self._tiles[number])
    if self._header.version == 1:  # it has a checksum of all tiles' symbols
      return decode(section, shape, self.rate_level, in_parallel)
    symbols, y_hat = decode(checked.opened(section), shape, self.rate_level, in_parallel)
    checked.check(section, symbols, number, self._coder.coarse_parts)
    return symbols, y_hat

  def _salvaged(self, number: int, in_parallel: Map) -> _Tile | None:
    """All of a tile, or its coarse latents, or None."""
    ways = [self._tile, self._coarse] if self._coder.coarse_parts else [self._tile]
    for way in ways:
      with contextlib.suppress(BitstreamError):
        return way(number, in_parallel)
    return None

  def _damage(self, tile: Tile, what: str) -> Damage:
    image = slice(0, self.height), slice(0, self.width)
    return Damage.of(common(scaled(tile, self._coder.stride), image), what)


def _fill(y_hat: np.ndarray, lost: Sequence[Tile]) -> None:
  """Gives lost tiles the mean of the others, which makes their mean colour."""
  known = np.ones(y_hat.shape[:2], bool)
  for tile in lost:
    known[tile] = False
  y_hat[~known] = y_hat[known].mean(axis=0)


def _rate_level(coder: LatentCoder, header: Header) -> int:
  if not coder.rate_levels and not header.parameters and not header.is_finer:
    return 0
  rate = unpack_rate(header.parameters)
  first = coder.rate_levels + 1 if header.is_finer else 0
  has_finer = header.is_finer or header.has_layer
  levels = range(first, (coder.finest_level if has_finer else coder.rate_levels) + 1)
  if rate is None or rate[0] not in levels or not coder.rate_levels:
    raise BitstreamError(
      "header", 0, f"parameters {header.parameters.hex()!r} are no rate level of this model"
    )
  return rate[0]
