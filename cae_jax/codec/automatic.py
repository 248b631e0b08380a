"""The codec that meets a target: lossy, near-lossless, or lossless where it asks for that."""

import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

import numpy as np

from cae_jax.codec.kinds import as_array, visible_ssimulacra2
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded
from cae_jax.codec.targets import (
  MAX_SSIMULACRA2,
  OutOfReach,
  checked_effort,
  checked_target,
  one_target,
)
from cae_jax.coding.varint import BytesLike
from cae_jax.errors import UsageError

if TYPE_CHECKING:
  from cae_jax.codec.encoding import Encoded
  from cae_jax.codec.image import Codec

# Files this much smaller than asked for leave room for a closer codec.
_ROOM = 0.97
_MOST_BELS = 30  # here errors are 0
_CLOSE = 32  # an error is searched for to this part of it


def encode(
  image: Any,
  lossy: "Callable[[], Codec]",
  lossless: Callable[[], LosslessCodec],
  *,
  exact: bool = False,
  near_lossless: SupportsIndex | None = None,
  tune: str | None = None,
  effort: SupportsIndex = 0,
  keep_hidden_colour: bool = False,
  metadata: Mapping[str, BytesLike] | None = None,
  **targets: SupportsFloat | None,
) -> "Encoded | LosslessEncoded":
  """Compresses an image by the codec that meets what is asked for.

  A PSNR or score above what the lossy codec reaches, or a size above what it can use, is met by
  the near-lossless one; an infinite PSNR, a score of 100, or a size that allows it, by the lossless
  one.

  Args:
    image: as of `Codec.compress`; of 16 bits with another target than a quality only.
    lossy, lossless: make the codecs when they are needed.
    exact: lossless.
    near_lossless: how much samples may change.
    tune: what the lossy codec was asked to be tuned for, if anything was said.
    effort: of the lossy codec.
    keep_hidden_colour: see `LosslessCodec.compress`.
    metadata: kept in the file by name.
    **targets: quality, bpp, psnr, ssimulacra2 or size_bytes, one of them at most.
  Raises:
    UsageError: more than one target, or one that cannot be met.
  """
  given = one_target({**targets, "lossless": exact or None, "near_lossless": near_lossless})
  effort = checked_effort(effort)

  def near(largest_error: SupportsIndex) -> LosslessEncoded:
    return lossless().encode(
      image,
      near_lossless=largest_error,
      keep_hidden_colour=keep_hidden_colour,
      metadata=metadata,
    )

  def score_of(found: LosslessEncoded) -> float:
    return visible_ssimulacra2(image, lossless().decompress(found.data, max_pixels=found.pixels))

  name, value = next(iter(given.items()), ("quality", 0))
  if (name, value) in (("psnr", math.inf), ("ssimulacra2", MAX_SSIMULACRA2)):
    name = "lossless"
  if name in ("lossless", "near_lossless"):
    if effort:
      raise UsageError(f"{name} has one effort only; leave effort out")
    if tune is not None:
      raise UsageError(f"{name} leaves nothing to be tuned; leave tune out")
    return near(value if name == "near_lossless" else 0)
  image = as_array(image)
  closest = functools.partial(_nearest, near, score_of, name)
  if image.dtype == np.uint16 and name != "quality":
    return closest(checked_target(name, value), image)
  try:
    encoded = lossy().encode(image, effort=effort, metadata=metadata, **given)
  except OutOfReach:
    return closest(checked_target(name, value), image)
  if name in ("bpp", "size_bytes") and encoded.is_best:
    target = checked_target(name, value)
    if len(encoded.data) < _ROOM * _limit_bytes(name, target, image):
      with contextlib.suppress(OutOfReach):
        closer = closest(target, image, encoded.psnr_db)
        return closer if closer.psnr_db > encoded.psnr_db else encoded
  return encoded


def _limit_bytes(name: str, target: float, image: np.ndarray) -> float:
  return target if name == "size_bytes" else target * math.prod(image.shape[:2]) / 8


def _nearest(
  near: Callable[[int], LosslessEncoded],
  score_of: Callable[[LosslessEncoded], float],
  name: str,
  target: float,
  image: np.ndarray,
  least_db: float = 0,
) -> LosslessEncoded:
  """Of the near-lossless files of at least a PSNR the smallest, or of at most a size the closest.

  An SSIMULACRA2 score is met as a PSNR is.

  Raises:
    OutOfReach: none of about `least_db` or more is as small.
  """
  peak = np.iinfo(image.dtype).max
  most = min(peak // 4, _error_of(least_db, peak) + 1)
  if name == "psnr":
    start = min(_error_of(target, peak), most)
    found, _ = _search(near, start, most, lambda found: found.psnr_db < target)
    assert found is not None, "no error has any PSNR"
    return found
  if name == "ssimulacra2":
    found, _ = _search(near, min(1, most), most, lambda found: score_of(found) < target)
    assert found is not None, "no error has the highest score"
    return found
  limit = _limit_bytes(name, target, image)
  exact = near(0)
  if len(exact.data) <= limit:
    return exact
  bits = 8 * (len(exact.data) - limit) / image.size
  start = min(max(1, round((2**bits - 1) / 2)), most)
  smallest, found = _search(near, start, most, lambda found: len(found.data) <= limit)
  if found is None:
    assert smallest is not None
    raise OutOfReach(
      f"{limit:.4g} bytes cannot be met: this image takes {len(smallest.data)} bytes with errors "
      f"of at most {smallest.largest_error}"
    )
  return found


def _error_of(psnr_db: float, peak: int) -> int:
  """The largest error of files of about a PSNR; errors are about uniform."""
  mse = peak**2 / 10.0 ** min(psnr_db / 10, _MOST_BELS)
  return int((math.sqrt(12 * mse + 1) - 1) / 2)


def _search(
  near: Callable[[int], LosslessEncoded],
  start: int,
  most: int,
  is_coarse: Callable[[LosslessEncoded], bool],
) -> tuple[LosslessEncoded | None, LosslessEncoded | None]:
  """The largest error that is not coarse, and the smallest that is, to some hundredths.

  Args:
    near: encodes with an error.
    start: where to begin.
    most: errors are 0 to this.
    is_coarse: holds from some error on.
  """
  fine, coarse = None, None
  low, high, error, width = -1, most + 1, start, max(1, start // 16)
  while high - low > max(1, low // _CLOSE):
    found = near(error)
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
