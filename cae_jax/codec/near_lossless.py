"""The near-lossless file of an image that meets a target, by a search over the largest error."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from cae_jax.codec.kinds import as_array, peak_of, visible_ssimulacra2
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded, opacity_section
from cae_jax.codec.targets import too_small
from cae_jax.coding.varint import BytesLike

_START_AT_SCORE = 255  # a search for a score begins at this part of white
_MOST_BELS = 30  # here errors are 0
_CLOSE = 32  # an error is searched for to this part of it
_DRAWN, _CLOSE_IF_DRAWN = 16, 4  # of drawings: where to begin, and the same


class NearLosslessFiles:
  """The files of an image by their largest error, from 0, which is lossless, to a quarter of white.

  Args:
    image: of any kind; looked at when a file is asked for.
    codec: makes the codec when it is needed.
    keep_hidden_colour, metadata: as of `LosslessCodec.compress`.
    bits: of a sample of uint16, for PSNRs and scores; 16 if not given.
    drawn: only what suits drawings is tried.
  """

  def __init__(
    self,
    image: Any,
    codec: Callable[[], LosslessCodec],
    *,
    keep_hidden_colour: bool,
    metadata: Mapping[str, BytesLike] | None,
    bits: int | None,
    drawn: bool = False,
  ):
    self._image = image
    self._codec = codec
    self._keep_hidden_colour = keep_hidden_colour
    self._metadata = metadata
    self._bits = bits
    self._drawn = drawn
    self._made: dict[int, LosslessEncoded] = {}

  def encode(self, largest_error: int) -> LosslessEncoded:
    """Returns the file whose samples are off by at most so much, made once."""
    if largest_error not in self._made:
      self._made[largest_error] = self._codec().encode(
        self._image,
        near_lossless=largest_error,
        keep_hidden_colour=self._keep_hidden_colour,
        metadata=self._metadata,
        bits=self._bits,
        drawn=self._drawn,
        opacity=self._opacity,
      )
    return self._made[largest_error]

  def may_be_smaller(self, size_bytes: int, psnr_db: float) -> bool:
    """Says whether a file somewhat below a PSNR has fewer bytes; if not, no closer one has."""
    return len(self.encode(self._coarser_than(psnr_db)).data) < size_bytes

  def of_psnr(self, target_db: float) -> LosslessEncoded:
    """Returns the smallest file of at least a PSNR."""
    start = _error_of(target_db, self._peak)
    return self._smallest(start, _width_at(start), lambda file: file.psnr_db < target_db)

  def of_ssimulacra2(self, score: float) -> LosslessEncoded:
    """Returns the smallest file of at least an SSIMULACRA 2 score."""

    def is_coarse(file: LosslessEncoded) -> bool:
      decoded = self._codec().decompress(file.data, max_pixels=file.pixels)
      return visible_ssimulacra2(as_array(self._image), decoded, self._peak) < score

    start = max(1, self._peak // _START_AT_SCORE)
    return self._smallest(start, start, is_coarse)

  def closest(self, limit_bytes: float, least_db: float = 0) -> LosslessEncoded:
    """Returns the file of the smallest error that has at most so many bytes.

    Args:
      limit_bytes: the most bytes.
      least_db: PSNR of a file at hand; coarser ones are not looked for.
    Raises:
      OutOfReach: none is as small.
    """
    exact, image = self.encode(0), as_array(self._image)
    if len(exact.data) <= limit_bytes:
      return exact
    most = self._coarser_than(least_db)
    bits = min(8 * (len(exact.data) - limit_bytes) / image.size, 8 * image.itemsize)
    start = min(max(1, round((2**bits - 1) / 2)), most)
    is_small = lambda file: len(file.data) <= limit_bytes
    larger, found = self._search(start, _width_at(start), most, is_small)
    if found is None:
      assert larger is not None
      how = f"with errors of at most {larger.largest_error}"
      raise too_small(limit_bytes, larger.pixels, len(larger.data), how)
    return found

  def _coarser_than(self, psnr_db: float) -> int:
    """An error of files below a PSNR; of drawings, most of whose samples stay, the largest."""
    if self._drawn:
      return self.largest_error
    return min(self.largest_error, _error_of(psnr_db, self._peak) + 1)

  @property
  def _peak(self) -> int:
    return peak_of(as_array(self._image).dtype, self._bits)

  @property
  def largest_error(self) -> int:
    """A quarter of white."""
    return self._peak // 4

  @functools.cached_property
  def _opacity(self) -> bytes | None:
    return opacity_section(self._image)

  def _smallest(
    self, start: int, width: int, is_coarse: Callable[[LosslessEncoded], bool]
  ) -> LosslessEncoded:
    """The file of the largest error that is not too coarse."""
    most = self.largest_error
    found, _ = self._search(min(start, most), width, most, is_coarse)
    assert found is not None, "the image itself is never too coarse"
    return found

  def _search(
    self, start: int, width: int, most: int, is_coarse: Callable[[LosslessEncoded], bool]
  ) -> tuple[LosslessEncoded | None, LosslessEncoded | None]:
    """The largest error that is not coarse, and the smallest that is, to some hundredths.

    From `start` in growing steps until there is one of both, then by halves. Of drawings from where
    most have what is asked for, in large steps.

    Args:
      start: where to begin.
      width: of the first step from there.
      most: errors are 0 to this.
      is_coarse: holds from some error on.
    """
    fine, coarse = None, None
    low, high, error = -1, most + 1, start
    close = _CLOSE
    if self._drawn:
      error = width = min(_DRAWN, most)
      close = _CLOSE_IF_DRAWN
    while high - low > max(1, low // close):
      found = self.encode(error)
      if is_coarse(found):
        coarse, high = found, error
      else:
        fine, low = found, error
      if fine is None:
        error, width = max(0, high - width), 2 * width
      elif coarse is None:
        error, width = min(most, low + width), 2 * width
      else:
        error = (low + high) // 2
    return fine, coarse


def _width_at(error: int) -> int:
  """The first step of a search from an error that is a good guess."""
  return max(1, error // 16)


def _error_of(psnr_db: float, peak: int) -> int:
  """The largest error of files of about a PSNR; errors are about uniform."""
  mse = peak**2 / 10.0 ** min(psnr_db / 10, _MOST_BELS)
  return int((math.sqrt(12 * mse + 1) - 1) / 2)
