"""The codec that meets a target: lossy, near-lossless, or lossless where it asks for that."""

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

import numpy as np

from cae_jax.codec.kinds import as_array, peak_of, visible_ssimulacra2
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded
from cae_jax.codec.lossless.plain import estimate_plain
from cae_jax.codec.targets import (
  DEFAULT_QUALITY,
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

_HIGHEST = {"psnr": math.inf, "ssimulacra2": MAX_SSIMULACRA2}  # met without a loss alone
_SIZES = "bpp", "size_bytes"
_psnr_db = operator.attrgetter("psnr_db")
# Files this much smaller than asked for leave room for a closer codec.
_ROOM = 0.97
_ROWS_APART, _MANY = 8, 0.25  # of drawings
_MOST_BELS = 30  # here errors are 0
_CLOSE = 32  # an error is searched for to this part of it


def encode(
  image: Any,
  lossy: "Sequence[Callable[[], Codec]]",
  lossless: Callable[[], LosslessCodec],
  *,
  exact: bool = False,
  near_lossless: SupportsIndex | None = None,
  quality: SupportsFloat | None = None,
  bpp: SupportsFloat | None = None,
  psnr: SupportsFloat | None = None,
  ssimulacra2: SupportsFloat | None = None,
  size_bytes: SupportsFloat | None = None,
  tune: str | None = None,
  effort: SupportsIndex = 0,
  keep_hidden_colour: bool = False,
  metadata: Mapping[str, BytesLike] | None = None,
  bits: int | None = None,
) -> "Encoded | LosslessEncoded":
  """Compresses an image by the codec that meets what is asked for.

  A PSNR or score above what the lossy codecs reach, or a size above what they can use, is met by
  the near-lossless one; an infinite PSNR, a score of 100, or a size that allows it, by the lossless
  one. Drawings and screenshots are lossless, too, where that takes no more bytes.

  Args:
    image: as of `Codec.compress`; of 16 bits with another target than a quality only.
    lossy, lossless: make the codecs when they are needed; a further lossy one where those before it
      cannot meet what is asked for.
    exact: lossless.
    near_lossless: how much samples may change.
    quality, bpp, psnr, ssimulacra2, size_bytes: as of `Codec.compress`.
    tune: what the lossy codec was asked to be tuned for, if anything was said.
    effort: of the lossy codec.
    keep_hidden_colour: see `LosslessCodec.compress`.
    metadata: kept in the file by name.
    bits: of a sample of uint16, for PSNRs and scores; 16 if not given.
  Raises:
    UsageError: more than one target, or one that cannot be met.
  """
  asked: dict[str, Any] = {
    "quality": quality,
    "bpp": bpp,
    "psnr": psnr,
    "ssimulacra2": ssimulacra2,
    "size_bytes": size_bytes,
    "lossless": exact or None,
    "near_lossless": near_lossless,
  }
  given = one_target(asked)
  effort = checked_effort(effort)

  def near(largest_error: Any) -> LosslessEncoded:
    return lossless().encode(
      image,
      near_lossless=largest_error,
      keep_hidden_colour=keep_hidden_colour,
      metadata=metadata,
      bits=bits,
    )

  [(name, value)] = given.items() or {"quality": DEFAULT_QUALITY}.items()
  if name in _HIGHEST and np.ndim(value) == 0 and value == _HIGHEST[name]:
    name = "lossless"
  if name in ("lossless", "near_lossless"):
    if effort:
      raise UsageError(f"{name} has one effort only; leave effort out")
    if tune is not None:
      raise UsageError(f"{name} leaves nothing to be tuned; leave tune out")
    return near(value if name == "near_lossless" else 0)
  image = as_array(image)
  target = checked_target(name, value)
  closest = functools.partial(_closest, near, lossless, image, bits, name, target)
  if image.dtype == np.uint16 and name != "quality":
    return closest()
  limit = _limit_bytes(name, target, image) if name in _SIZES else None
  encoded = _lossy_file(lossy, limit, image, effort=effort, metadata=metadata, **given)
  if encoded is None:
    encoded = closest()
  elif _has_room(encoded, limit):
    with contextlib.suppress(OutOfReach):
      encoded = max(encoded, closest(encoded.psnr_db), key=_psnr_db)
  return _exact_if_drawn(encoded, near, image, limit or len(encoded.data))


def _closest(
  near: Callable[[int], LosslessEncoded],
  lossless: Callable[[], LosslessCodec],
  image: np.ndarray,
  bits: int | None,
  name: str,
  target: float,
  least_db: float = 0,
) -> LosslessEncoded:
  """The near-lossless file that meets a target: the smallest, or of most bytes the closest.

  Args:
    near: encodes the image with an error.
    lossless: makes the codec.
    image: of any kind.
    bits: as of `encode`.
    name, target: what is asked for; no quality.
    least_db: PSNR of a file at hand; coarser ones are not looked for.
  Raises:
    OutOfReach: no such file is as small.
  """
  peak = peak_of(image.dtype, bits)

  def score_of(found: LosslessEncoded) -> float:
    decoded = lossless().decompress(found.data, max_pixels=found.pixels)
    return visible_ssimulacra2(image, decoded, peak)

  most = min(peak // 4, _error_of(least_db, peak) + 1)
  if name in _SIZES:
    return _of_most_bytes(near, _limit_bytes(name, target, image), image, most)
  if name == "psnr":
    return _finest(near, _error_of(target, peak), most, lambda found: found.psnr_db < target)
  return _finest(near, 1, most, lambda found: score_of(found) < target)


def _lossy_file(
  lossy: "Sequence[Callable[[], Codec]]", limit: float | None, image: np.ndarray, **asked: Any
) -> Any:
  """The file of the first codec that meets what is asked for; None if none does.

  Where it leaves room in a size, the closer one of it and the next codec's.
  """
  files: list[Encoded] = []
  for make in lossy:
    with contextlib.suppress(OutOfReach):
      files.append(make().encode(image, **asked))
      if not _has_room(files[-1], limit):
        break
  return max(files, key=_psnr_db, default=None)


def _exact_if_drawn(
  encoded: Any, near: Callable[[int], LosslessEncoded], image: np.ndarray, enough: float
) -> Any:
  """The lossless file of a drawing if it has no more bytes than are enough, else `encoded`."""
  if not _seems_drawn(image) or estimate_plain(np.atleast_3d(image)) >= enough:
    return encoded
  exact = encoded if math.isinf(encoded.psnr_db) else near(0)
  return exact if len(exact.data) <= enough else encoded


def _seems_drawn(image: np.ndarray) -> bool:
  """Says whether many pixels equal their left neighbours, by some of the rows."""
  rows = np.atleast_3d(image)[::_ROWS_APART]
  same = (rows[:, 1:] == rows[:, :-1]).all(axis=-1)
  return same.size > 0 and same.mean() > _MANY


def _has_room(encoded: Any, limit: float | None) -> bool:
  """Says whether a lossy file is its codec's best, and a closer one could be as small as asked."""
  return limit is not None and encoded.is_best and len(encoded.data) < _ROOM * limit


def _limit_bytes(name: str, target: float, image: np.ndarray) -> float:
  return target if name == "size_bytes" else target * math.prod(image.shape[:2]) / 8


def _finest(
  near: Callable[[int], LosslessEncoded],
  start: int,
  most: int,
  is_coarse: Callable[[LosslessEncoded], bool],
) -> LosslessEncoded:
  """The smallest near-lossless file that is not too coarse; arguments as of `_search`."""
  found, _ = _search(near, min(start, most), most, is_coarse)
  assert found is not None, "the image itself is never too coarse"
  return found


def _of_most_bytes(
  near: Callable[[int], LosslessEncoded], limit: float, image: np.ndarray, most: int
) -> LosslessEncoded:
  """The closest near-lossless file of at most so many bytes.

  Raises:
    OutOfReach: none with errors of at most `most` is as small.
  """
  exact = near(0)
  if len(exact.data) <= limit:
    return exact
  bits = min(8 * (len(exact.data) - limit) / image.size, 8 * image.itemsize)
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
