"""One image on its way into a file: analysed once, coded at as many rates as a target needs."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np

from cae_jax.codec import checked, windows
from cae_jax.codec.coders.base import Coded, LatentCoder
from cae_jax.codec.info import pack_rate
from cae_jax.codec.kinds import take_apart, visible_psnr_db
from cae_jax.codec.lossless.sections import plain_section
from cae_jax.codec.rate_search import largest_within
from cae_jax.codec.targets import EFFORT_STEPS, MAX_QUALITY, OutOfReach
from cae_jax.codec.threads import in_threads
from cae_jax.codec.tiles import Tile, coding_tiles
from cae_jax.coding.bitstream import Header, pack
from cae_jax.coding.metadata import check_metadata
from cae_jax.coding.varint import BytesLike
from cae_jax.errors import UsageError

_SIZE_TOLERANCE = 0.01  # a file may be this much smaller than its target
_PSNR_TOLERANCE_DB = 0.02
_PSNR_CEILING_DB = 200.0  # stands for infinity in a search
# From the lowest to the highest rate level of a photograph, for the first steps of a search.
_LOG_SIZE_RANGE = math.log(30)
_PSNR_RANGE_DB = 16.0


class Analysed:
  """An image as latents, ready to be coded at any rate level.

  Args:
    coder: the model.
    model_id, model_hash: for the header.
    image: uint8, see `kinds.take_apart`.
    metadata: by name, see `check_metadata`.
  """

  def __init__(
    self,
    coder: LatentCoder,
    model_id: str,
    model_hash: bytes,
    image: np.ndarray,
    metadata: Mapping[str, BytesLike] | None = None,
  ):
    self.coder = coder
    self.planes = take_apart(image)
    self._header = Header(model_id, model_hash, self.planes.kind, *self.planes.rgb.shape[:2])
    self._metadata = check_metadata(metadata)
    self.y = windows.analyse(coder, self.planes.rgb)
    alpha = self.planes.alpha
    self._alpha_sections = [] if alpha is None else [plain_section(alpha[None])]

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width in pixels."""
    return self._header.height, self._header.width

  def encode(self, rate_level: int, effort: int = 0) -> "Encoded":
    """Encodes at a rate level; with any effort, refined latents."""
    y, aim, steps = self.y, None, EFFORT_STEPS[effort]
    if steps:
      y, aim = windows.refine(self.coder, self.planes.rgb, y, rate_level, steps)

    def encode(tile: Tile) -> Coded:
      return self.coder.encode(y[tile], rate_level, None if aim is None else aim[tile])

    sections: list[bytes] = []
    y_hat = np.empty_like(y)
    tiles = coding_tiles(y.shape[0], y.shape[1], self.coder.stride)
    for number, (tile, coded) in enumerate(zip(tiles, in_threads(encode, tiles))):
      section = checked.seal(coded.section, coded.symbols, number, self.coder.coarse_parts)
      sections.append(section)
      y_hat[tile] = coded.y_hat
    parameters = pack_rate(rate_level) if self.coder.rate_levels else b""
    header = dataclasses.replace(self._header, parameters=parameters)
    data = pack(header, [*sections, *self._alpha_sections], self._metadata)
    return Encoded(self, data, rate_level, y_hat)


class Encoded:
  """A file, and what its decoder will make of it.

  Attributes:
    data: the bytes of the file.
    rate_level: of the model; 0 where it has one rate only.
  """

  def __init__(self, source: Analysed, data: bytes, rate_level: int, y_hat: np.ndarray):
    self.data = data
    self.rate_level = rate_level
    self._source = source
    self._y_hat = y_hat

  @property
  def quality(self) -> float | None:
    """The rate level on the scale of 0 to 100; None where the model has one rate only."""
    levels = self._source.coder.rate_levels
    return MAX_QUALITY * self.rate_level / levels if levels else None

  @property
  def is_best(self) -> bool:
    """Whether the model has no higher quality."""
    return self.rate_level == self._source.coder.rate_levels

  @property
  def how(self) -> str:
    """What was done, in a few words; empty where the model has one rate only."""
    return "" if self.quality is None else f"quality {self.quality:.1f}"

  @property
  def rate_bpp(self) -> float:
    """Bits of the whole file per pixel."""
    return 8 * len(self.data) / math.prod(self._source.shape)

  @functools.cached_property
  def psnr_db(self) -> float:
    """PSNR of the decoded 8-bit image; of its colours where any can be seen, if it has alpha."""
    source = self._source
    rgb = windows.synthesise(source.coder, self._y_hat, self.rate_level, *source.shape)
    return visible_psnr_db(source.planes, rgb)


def encode_quality(source: Analysed, quality: float, effort: int = 0) -> Encoded:
  """Encodes at a quality from 0 to 100."""
  return source.encode(round(quality / MAX_QUALITY * source.coder.rate_levels), effort)


def encode_bpp(source: Analysed, bpp: float, effort: int = 0) -> Encoded:
  """Encodes as `encode_bytes`, with a limit of bits per pixel."""
  return encode_bytes(source, bpp * math.prod(source.shape) / 8, effort)


def encode_bytes(source: Analysed, limit_bytes: float, effort: int = 0) -> Encoded:
  """Finds the largest file of at most so many bytes, or one within 1 % of them.

  With any effort the search goes on from the level that meets the target without it.

  Raises:
    UsageError: even the smallest file is larger.
  """
  levels = source.coder.rate_levels

  def search(effort: int, start: int | None) -> Encoded | None:
    return largest_within(
      lambda level: source.encode(level, effort),
      lambda trial: math.log(len(trial.data)),
      math.log(max(limit_bytes, 1)),
      tolerance=-math.log(1 - _SIZE_TOLERANCE),
      levels=levels,
      slope=_LOG_SIZE_RANGE / levels,
      start=start,
    )

  found = search(0, None)
  if effort:
    found = search(effort, found.rate_level if found else 0)
  if found is None:
    smallest = source.encode(0)
    asked_bpp = 8 * limit_bytes / math.prod(source.shape)
    raise UsageError(
      f"{limit_bytes:.4g} bytes ({asked_bpp:.4g} bpp) cannot be met: this image takes "
      f"{len(smallest.data)} bytes ({smallest.rate_bpp:.4g} bpp) at the lowest quality"
    )
  return found


def encode_psnr(source: Analysed, psnr_db: float, effort: int = 0) -> Encoded:
  """Finds the smallest file that decodes to at least this PSNR, or one within 0.02 dB of it.

  With any effort the search goes on from the level that meets the target without it.

  Raises:
    OutOfReach: the highest quality does not reach it.
  """
  levels = source.coder.rate_levels

  def search(effort: int, start: int | None) -> Encoded | None:
    # The mirror image of the largest file within a limit.
    return largest_within(
      lambda level: source.encode(levels - level, effort),
      lambda trial: -min(trial.psnr_db, _PSNR_CEILING_DB),
      -psnr_db,
      tolerance=_PSNR_TOLERANCE_DB,
      levels=levels,
      slope=_PSNR_RANGE_DB / levels,
      start=start,
    )

  found = search(0, None)
  if effort:
    found = search(effort, levels - found.rate_level if found else 0)
  if found is None:
    best = source.encode(levels, effort)
    raise OutOfReach(
      f"{psnr_db:g} dB cannot be met: this image has {best.psnr_db:.2f} dB at the highest quality"
    )
  return found
