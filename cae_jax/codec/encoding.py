"""One image on its way into a file: analysed once, coded at as many rates as a target needs."""

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from cae_jax.codec import checked, hidden, windows
from cae_jax.codec.coders import masking
from cae_jax.codec.coders.base import Coded, LatentCoder
from cae_jax.codec.drawn import lay_over
from cae_jax.codec.info import TUNES, pack_rate
from cae_jax.codec.kinds import put_together, take_apart, visible_psnr_db, visible_ssimulacra2
from cae_jax.codec.lossless.samples import planes
from cae_jax.codec.lossless.sections import plain_section
from cae_jax.codec.rate_search import largest_within
from cae_jax.codec.targets import MAX_QUALITY, MAX_SSIMULACRA2, OutOfReach, too_small
from cae_jax.codec.threads import in_threads, threads, workers
from cae_jax.codec.tiles import Tile, coding_tiles
from cae_jax.coding.bitstream import Header, pack
from cae_jax.coding.metadata import check_metadata
from cae_jax.coding.varint import BytesLike
from cae_jax.models.arrays import Map

_SIZE_TOLERANCE = 0.01  # a file may be this much smaller than its target
_PSNR_TOLERANCE_DB = 0.02
_PSNR_CEILING_DB = 200.0  # stands for infinity in a search
_SSIMULACRA2_TOLERANCE = 0.2
# Bits of a pixel, by how many of its latents are not zero: nearly a power, on photographs.
_BITS, _POWER = 3.5, 1.18
_MOST_LATENTS = 2**20  # that are looked at to guess a size
_LEAST_SHARE = 0.1  # of latents in a file, for such guesses
_AROUND = 128  # rate levels, for the slope of such guesses
# From the lowest to the highest rate level of a photograph, for the first steps of a search.
_LOG_SIZE_RANGE = math.log(30)
_PSNR_RANGE_DB = 16.0
_LOG_LOSS_RANGE = 2.1
_LOG_LOSS_FIRST = -4.7  # at the lowest level
_LEAST_LOSS = 0.01  # points of SSIMULACRA2 below 100, in a search


class Analysed:
  """An image as latents, ready to be coded at any rate level.

  Args:
    coder: the model.
    model_id, model_hash: for the header.
    image: uint8, see `kinds.take_apart`.
    metadata: by name, see `check_metadata`.
    tune: what the weights are for; for the eye, errors count by what hides them.
    layer: of what is drawn, see `drawn.drawn_layer`; the model codes the rest alone.
  """

  def __init__(
    self,
    coder: LatentCoder,
    model_id: str,
    model_hash: bytes,
    image: np.ndarray,
    metadata: Mapping[str, BytesLike] | None = None,
    tune: str = TUNES[0],
    layer: np.ndarray | None = None,
  ):
    self.coder = coder
    self.planes = take_apart(image)
    self.layer = layer
    rgb = self.planes.rgb if layer is None else hidden.smooth(self.planes.rgb, layer[..., -1] == 0)
    self._rgb = rgb
    header = Header(model_id, model_hash, self.planes.kind, *rgb.shape[:2])
    self._header = dataclasses.replace(header, has_layer=layer is not None)
    self._tune = tune
    self._metadata = check_metadata(metadata)
    self.y = windows.analyse(coder, rgb)
    self._masks = masking.classes(rgb, coder.stride) if tune == "eye" else None
    alpha = self.planes.alpha
    over = [] if alpha is None else [alpha[None]]
    if layer is not None:
      over.append(planes(layer))
    with threads(workers()) as in_parallel:
      self._sections_over = [plain_section(x, in_parallel) for x in over]

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width in pixels."""
    return self._header.height, self._header.width

  @property
  def bytes_over(self) -> int:
    """Size of opacity and layer, at any rate."""
    return sum(map(len, self._sections_over))

  def encode(self, rate_level: int, effort: int = 0) -> "Encoded":
    """Encodes at a rate level; with effort 1, refined latents."""
    y, aim = self.y, None
    if effort:
      y, aim = windows.refine(self.coder, self._rgb, y, rate_level)

    def encode(tile: Tile, in_parallel: Map) -> Coded:
      own_aim, masks = (None if found is None else found[tile] for found in (aim, self._masks))
      return self.coder.encode(y[tile], rate_level, own_aim, masks, in_parallel)

    sections: list[bytes] = []
    y_hat = np.empty_like(y)
    tiles = coding_tiles(y.shape[0], y.shape[1], self.coder.stride)
    for number, (tile, coded) in enumerate(zip(tiles, in_threads(encode, tiles))):
      section = checked.seal(coded.section, coded.symbols, number, self.coder.coarse_parts)
      sections.append(section)
      y_hat[tile] = coded.y_hat
    parameters = pack_rate(rate_level, self._tune) if self.coder.rate_levels else b""
    is_finer = self.layer is None and rate_level > self.coder.rate_levels
    header = dataclasses.replace(self._header, parameters=parameters, is_finer=is_finer)
    data = pack(header, [*sections, *self._sections_over], self._metadata)
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

  def __repr__(self) -> str:
    words = f"{len(self.data)} bytes", f"{self.rate_bpp:.4f} bpp", self.how
    return f"<Encoded: {', '.join(filter(None, words))}>"

  @property
  def quality(self) -> float | None:
    """The rate level on the scale of 0 to 175; None where the model has one rate only."""
    levels = self._source.coder.rate_levels
    return MAX_QUALITY * self.rate_level / levels if levels else None

  @property
  def is_best(self) -> bool:
    """Whether the model has no higher quality."""
    return self.rate_level == self._source.coder.finest_level

  @property
  def is_finer(self) -> bool:
    """Whether steps are finer than the model was trained with."""
    return self.rate_level > self._source.coder.rate_levels

  @property
  def how(self) -> str:
    """What was done, in a few words; empty where the model has one rate only."""
    words = [] if self.quality is None else [f"quality {self.quality:.1f}"]
    return ", ".join([*words, *["drawn layer"] * (self._source.layer is not None)])

  @property
  def rate_bpp(self) -> float:
    """Bits of the whole file per pixel."""
    return 8 * len(self.data) / math.prod(self._source.shape)

  @functools.cached_property
  def psnr_db(self) -> float:
    """PSNR of the decoded 8-bit image; of its colours where any can be seen, if it has alpha."""
    return visible_psnr_db(self._source.planes, self._rgb)

  @functools.cached_property
  def ssimulacra2(self) -> float:
    """SSIMULACRA2 score of the decoded 8-bit image, see `kinds.visible_ssimulacra2`."""
    planes = self._source.planes
    image, image_hat = (put_together(planes._replace(rgb=rgb)) for rgb in (planes.rgb, self._rgb))
    return visible_ssimulacra2(image, image_hat)

  @functools.cached_property
  def _rgb(self) -> np.ndarray:
    """What a decoder makes of the colours, uint8 [H, W, 3]."""
    source = self._source
    rgb = windows.synthesise(source.coder, self._y_hat, self.rate_level, *source.shape)
    return rgb if source.layer is None else lay_over(rgb, source.layer)


def encode_quality(source: Analysed, quality: float, effort: int) -> Encoded:
  """Encodes at a quality from 0 to 175."""
  return source.encode(round(quality / MAX_QUALITY * source.coder.rate_levels), effort)


def encode_bpp(source: Analysed, bpp: float, effort: int) -> Encoded:
  """Encodes as `encode_bytes`, with a limit of bits per pixel."""
  return encode_bytes(source, bpp * math.prod(source.shape) / 8, effort)


def encode_bytes(source: Analysed, limit_bytes: float, effort: int) -> Encoded:
  """Finds the largest file of at most so many bytes, or one within 1 % of them.

  With any effort the search goes on from the level that meets the target without it.

  Raises:
    OutOfReach: even the smallest file is larger.
  """
  likely, slope = _likely_level(source, limit_bytes)

  def search(effort: int, start: int) -> Encoded | None:
    return largest_within(
      lambda level: source.encode(level, effort),
      lambda trial: math.log(len(trial.data)),
      math.log(max(limit_bytes, 1)),
      tolerance=-math.log(1 - _SIZE_TOLERANCE),
      levels=source.coder.finest_level,
      slope=slope,
      start=start,
    )

  found = search(0, likely)
  if effort:
    found = search(effort, found.rate_level if found else 0)
  if found is None:
    size_bytes = len(source.encode(0).data)
    raise too_small(limit_bytes, math.prod(source.shape), size_bytes, "at the lowest quality")
  return found


def _likely_level(source: Analysed, limit_bytes: float) -> tuple[int, float]:
  """Guesses the rate level of a file of so many bytes, and how their logarithm rises per level.

  Bits go by the number of latents that do not round to zero, whatever the rate (He and Mitra 2001,
  "A unified rate-distortion analysis framework for transform coding", rate as a function of rho).
  """
  coder = source.coder
  positions = source.y.reshape(-1, coder.channels)
  some = np.abs(positions[:: -(-positions.size // _MOST_LATENTS)])

  def log_bpp(level: int) -> float:
    count = int(np.count_nonzero(some * coder.steps(level)[0] > 0.5))
    return math.log(_BITS) + _POWER * math.log(max(count, 1) / len(some) / coder.stride**2)

  last = source.coder.finest_level
  latent_bytes = limit_bytes - source.bytes_over
  wanted = math.log(max(8 * latent_bytes, 1.0) / math.prod(source.shape))
  likely = bisect.bisect_left(range(last), wanted, key=log_bpp)
  low, high = max(likely - _AROUND, 0), min(likely + _AROUND, last)
  share = min(max(latent_bytes / max(limit_bytes, 1), _LEAST_SHARE), 1)  # of a file that rises
  slope = share * (log_bpp(high) - log_bpp(low)) / (high - low)
  return likely, max(slope, _LOG_SIZE_RANGE / coder.rate_levels / 4)


def encode_psnr(source: Analysed, psnr_db: float, effort: int) -> Encoded:
  """Finds the smallest file that decodes to at least this PSNR, or one nearly as small.

  With any effort the search goes on from the level that meets the target without it.

  Raises:
    OutOfReach: the highest quality does not reach it.
  """
  value_of = lambda trial: min(trial.psnr_db, _PSNR_CEILING_DB)
  least = min(psnr_db, _PSNR_CEILING_DB)
  found = _smallest(source, effort, value_of, least, _PSNR_TOLERANCE_DB, _PSNR_RANGE_DB)
  if found is None:
    best = source.encode(source.coder.finest_level, effort)
    raise OutOfReach(
      f"{psnr_db:g} dB cannot be met: this image has {best.psnr_db:.2f} dB at the highest quality"
    )
  return found


def encode_ssimulacra2(source: Analysed, score: float, effort: int) -> Encoded:
  """Finds the smallest file of at least this SSIMULACRA2 score, or one nearly as small.

  Raises:
    OutOfReach: the highest quality does not reach it.
    UsageError: the image is too small to have one.
  """

  def height(score: float) -> float:
    # So the curve over the rate levels is nearly straight, and few trials find the level.
    return -math.log(max(MAX_SSIMULACRA2 - score, _LEAST_LOSS))

  value_of = lambda trial: height(trial.ssimulacra2)
  tolerance = height(score + _SSIMULACRA2_TOLERANCE) - height(score)
  likely = (height(score) - _LOG_LOSS_FIRST) / _LOG_LOSS_RANGE
  found = _smallest(source, effort, value_of, height(score), tolerance, _LOG_LOSS_RANGE, likely)
  if found is None:
    best = source.encode(source.coder.finest_level, effort)
    raise OutOfReach(
      f"an SSIMULACRA2 score of {score:g} cannot be met: this image has {best.ssimulacra2:.2f} at "
      "the highest quality"
    )
  return found


def _smallest(
  source: Analysed,
  effort: int,
  value_of: Callable[[Encoded], float],
  least: float,
  tolerance: float,
  rise: float,
  likely: float = 0.5,
) -> Encoded | None:
  """Finds the smallest file of at least some value; None if the highest quality has less.

  Args:
    source, effort: of the file.
    value_of: of a trial, rising with the rate level.
    least: what the value must reach; the search ends within a tolerance above it.
    tolerance: of the value.
    rise: of the value from level 0 to `rate_levels`, for the first steps.
    likely: the first level to try, as a share of `rate_levels`.
  """
  coder, levels = source.coder, source.coder.finest_level

  def search(effort: int, start: int) -> Encoded | None:
    # The mirror image of the largest file within a limit.
    return largest_within(
      lambda level: source.encode(levels - level, effort),
      lambda trial: -value_of(trial),
      -least,
      tolerance=tolerance,
      levels=levels,
      slope=rise / coder.rate_levels,
      start=levels - start,
    )

  start = round(min(max(likely * coder.rate_levels, 0), levels))
  found = search(0, start)
  if effort:
    found = search(effort, found.rate_level if found else levels)
  return found
