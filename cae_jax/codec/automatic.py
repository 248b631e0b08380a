"""The codec that meets a target: lossy, near-lossless, or lossless where it asks for that."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

import numpy as np

from cae_jax.codec.kinds import as_array
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded
from cae_jax.codec.targets import OutOfReach, checked_effort, checked_target, one_target
from cae_jax.coding.bitstream import BytesLike
from cae_jax.errors import UsageError

if TYPE_CHECKING:
  from cae_jax.codec.encoding import Encoded
  from cae_jax.codec.image import Codec

_MOST_ERROR = 1 << 14
# Files this much smaller than asked for leave room for a closer codec.
_ROOM = 0.97
_TRIALS = 6


def encode(
  image: Any,
  lossy: "Callable[[], Codec]",
  lossless: Callable[[], LosslessCodec],
  *,
  exact: bool = False,
  near_lossless: SupportsIndex | None = None,
  effort: SupportsIndex = 0,
  keep_hidden_colour: bool = False,
  metadata: Mapping[str, BytesLike] | None = None,
  **targets: SupportsFloat | None,
) -> "Encoded | LosslessEncoded":
  """Compresses an image by the codec that meets what is asked for.

  A PSNR above what the lossy codec reaches, or a size above what it can use, is met by the
  near-lossless one; an infinite PSNR, or a size that allows it, by the lossless one.

  Args:
    image: as of `Codec.compress`; of 16 bits with a size, a PSNR, near_lossless or lossless only.
    lossy, lossless: make the codecs when they are needed.
    exact: lossless.
    near_lossless: how much samples may change.
    effort: of the lossy codec.
    keep_hidden_colour: see `LosslessCodec.compress`.
    metadata: kept in the file by name.
    **targets: quality, bpp, psnr or size_bytes, one of them at most.
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

  name, value = next(iter(given.items()), ("quality", 0))
  if name == "psnr" and value == math.inf:
    name = "lossless"
  if name in ("lossless", "near_lossless"):
    if effort:
      raise UsageError(f"{name} has one effort only; leave effort out")
    return near(value if name == "near_lossless" else 0)
  image = as_array(image)
  if image.dtype == np.uint16 and name != "quality":
    return _nearest(near, name, checked_target(name, value), image)
  try:
    encoded = lossy().encode(image, effort=effort, metadata=metadata, **given)
  except OutOfReach:
    return _nearest(near, name, checked_target(name, value), image)
  if name in ("bpp", "size_bytes") and encoded.is_best:
    target = checked_target(name, value)
    if len(encoded.data) < _ROOM * _limit_bytes(name, target, image):
      with contextlib.suppress(OutOfReach):
        closer = _nearest(near, name, target, image)
        return closer if closer.psnr_db > encoded.psnr_db else encoded
  return encoded


def _limit_bytes(name: str, target: float, image: np.ndarray) -> float:
  return target if name == "size_bytes" else target * math.prod(image.shape[:2]) / 8


def _nearest(
  near: Callable[[int], LosslessEncoded], name: str, target: float, image: np.ndarray
) -> LosslessEncoded:
  """Of the near-lossless files of at least a PSNR the smallest, or of at most a size the closest.

  Raises:
    OutOfReach: no largest error that makes sense gives a file as small.
  """
  if name == "psnr":
    peak = np.iinfo(image.dtype).max
    # Errors are about uniform: their mean square is (step^2 - 1) / 12.
    step = math.sqrt(12 * peak**2 / 10 ** (target / 10) + 1)
    return _search(near, int((step - 1) / 2), lambda found: found.psnr_db >= target, up=True)
  limit = _limit_bytes(name, target, image)
  exact = near(0)
  if len(exact.data) <= limit:
    return exact
  bits = 8 * (len(exact.data) - limit) / image.size
  start = max(1, round((2**bits - 1) / 2))
  return _search(near, start, lambda found: len(found.data) <= limit, up=False)


def _search(
  near: Callable[[int], LosslessEncoded],
  start: int,
  meets: Callable[[LosslessEncoded], bool],
  up: bool,
) -> LosslessEncoded:
  """The largest error that meets what is asked for (`up`), or the smallest one."""
  tried: dict[int, LosslessEncoded] = {}

  def meets_at(error: int) -> bool:
    tried[error] = tried[error] if error in tried else near(error)
    return meets(tried[error])

  error = min(start, _MOST_ERROR)
  towards, away = (1, -1) if up else (-1, 1)
  while not meets_at(error):
    if len(tried) > _TRIALS or not 0 <= error + away <= _MOST_ERROR:
      raise OutOfReach("no file of the near-lossless codec is as small")
    error += away
  while len(tried) <= _TRIALS and error + towards >= 0 and meets_at(error + towards):
    error += towards
  return tried[error]
