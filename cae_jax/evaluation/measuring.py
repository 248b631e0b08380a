"""Measures any codec on one image, from the bytes of real files."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cae_jax.evaluation import perceptual, samples
from cae_jax.evaluation.codecs.base import CodecError, ImageCodec, Unsupported
from cae_jax.evaluation.perceptual import PerceptualMetric
from cae_jax.evaluation.records import OK, Record, Setting
from cae_jax.images import metrics

TOO_SMALL = "size not met: the file at the best quality is still smaller than the target"
TOO_LARGE = "size not met: the smallest file is larger than the target"


class Match(NamedTuple):
  """The file closest to a size from below.

  Attributes:
    setting, data: of the largest file not above the target (or the smallest there is).
    status: "ok", or why the size was not met.
    next_data: the file at the next better setting, which is too large; None if there is none.
  """

  setting: Setting
  data: bytes
  status: str
  next_data: bytes | None = None


def evaluate_image(
  codec: ImageCodec,
  setting: Setting,
  name: str,
  x: np.ndarray,
  more: Sequence[PerceptualMetric] = (),
) -> Record:
  """Encodes one image, decodes the file, and measures both.

  Args:
    codec, setting: what to run.
    name: of the image.
    x: the image, of a kind that the codec takes (`ImageCodec`).
    more: further metrics to measure.
  Returns:
    The record; if the codec raised `CodecError`, one without figures whose status says so.
  """
  try:
    started = time.perf_counter()
    data = codec.encode(x, setting)
    encode_s = time.perf_counter() - started
    return measure(codec, setting, name, x, data, encode_s, more)
  except CodecError as error:
    kind = "not taken" if isinstance(error, Unsupported) else "failed"
    status = f"{kind}: {error}"
    bound = _bound(codec, setting)
    return Record(
      codec.name, setting, name, version=codec.version, error_bound=bound, status=status
    )


def measure(
  codec: ImageCodec,
  setting: Setting,
  name: str,
  x: np.ndarray,
  data: bytes,
  encode_s: float | None = None,
  more: Sequence[PerceptualMetric] = (),
) -> Record:
  """Decodes a file that is already there and measures it; arguments as in `evaluate_image`.

  Raises:
    CodecError: the file cannot be decoded, not to the image's shape and type, or with a larger
      error than the setting allows.
  """
  started = time.perf_counter()
  decoded = codec.decode(data)
  decode_s = time.perf_counter() - started
  bound = _bound(codec, setting)
  x_hat, max_error = _checked(decoded, x, bound, f"{codec.name} decoded {name}")
  height, width = x.shape[:2]
  bits = samples.depth(x)
  split = metrics.mse_split(np.atleast_3d(x), np.atleast_3d(x_hat))
  is_rgb = x.shape[2:] == (3,)
  record = Record(
    codec=codec.name,
    setting=setting,
    image=name,
    width=width,
    height=height,
    size_bytes=len(data),
    rate_bpp=8 * len(data) / (height * width),
    psnr_db=metrics.psnr_from_mse(split.mse, 2**bits - 1),
    psnr_y_db=metrics.psnr_y_db(x, x_hat, 2**bits - 1) if is_rgb else None,
    mse=split.mse,
    mse_variance=split.variance,
    mse_bias_squared=split.bias_squared,
    ms_ssim=_ms_ssim(x, x_hat, max_error),
    encode_s=encode_s,
    decode_s=decode_s,
    version=codec.version,
    channels=samples.channels(x),
    bits=bits,
    bpsp=8 * len(data) / x.size,
    max_error=max_error,
    error_bound=bound,
    digest=samples.digest(x),
  )
  figures: dict[str, Any] = perceptual.measure(more, x, x_hat)
  return dataclasses.replace(record, **figures)


def _checked(
  decoded: np.ndarray, x: np.ndarray, bound: int | None, what: str
) -> tuple[np.ndarray, int]:
  """The decoded image as one of the kind of `x`, and its largest error.

  Raises:
    CodecError: another shape or type, or an error beyond the bound; begins with `what`.
  """
  x_hat = decoded if bound is None else samples.of_kind(decoded, x)
  if x_hat.shape != x.shape or x_hat.dtype != x.dtype:
    raise CodecError(f"{what} to {x_hat.dtype} {x_hat.shape}, expected {x.dtype} {x.shape}")
  max_error = samples.largest_error(x, x_hat)
  if bound is not None and max_error > bound:
    raise CodecError(f"{what} with an error of {max_error}, allowed {bound}")
  return x_hat, max_error


def _bound(codec: ImageCodec, setting: Setting) -> int | None:
  return int(setting) if codec.keeps_bound else None


def match_size(codec: ImageCodec, x_uint8: np.ndarray, target_bytes: int) -> Match:
  """Finds a codec's largest file that is not above a size, by bisection over its settings.

  Args:
    codec: its `search` must run from the smallest file to the largest.
    x_uint8: uint8 [H, W, 3].
    target_bytes: the size to meet from below.
  Returns:
    `Match`; its status tells when even the smallest file is larger, or the largest smaller.
  Raises:
    CodecError: the codec failed.
  """
  settings = codec.search
  best = codec.encode(x_uint8, settings[-1])
  if len(best) <= target_bytes:
    return Match(settings[-1], best, OK if len(best) == target_bytes else TOO_SMALL)
  low, high, above = 0, len(settings) - 1, best
  best = codec.encode(x_uint8, settings[low])
  if len(best) > target_bytes:
    return Match(settings[low], best, TOO_LARGE)
  # Invariant: the file of settings[low] fits, that of settings[high] does not.
  while high - low > 1:
    middle = (low + high) // 2
    data = codec.encode(x_uint8, settings[middle])
    if len(data) <= target_bytes:
      low, best = middle, data
    else:
      high, above = middle, data
  return Match(settings[low], best, OK, above)


def match_image(
  codec: ImageCodec,
  name: str,
  x_uint8: np.ndarray,
  target: Record,
  more: Sequence[PerceptualMetric] = (),
) -> Record:
  """Measures a codec at the size of another codec's file of the same image.

  Args:
    codec: the one to match.
    name, x_uint8: the image.
    target: the other codec's record.
    more: further metrics to measure.
  """
  try:
    match = match_size(codec, x_uint8, target.size_bytes or 0)
    # Encoded once more for its time; the search only counts bytes.
    record = evaluate_image(codec, match.setting, name, x_uint8, more)
    status = match.status if record.ok else record.status
    at_target = _psnr_at_target(codec, x_uint8, match, record, target.size_bytes)
  except CodecError as error:
    record = Record(codec.name, None, name, version=codec.version)
    status, at_target = f"failed: {error}", None
  return dataclasses.replace(
    record,
    status=status,
    matched_to=target.codec,
    matched_setting=target.setting,
    target_bytes=target.size_bytes,
    psnr_db_at_target=at_target,
  )


def _psnr_at_target(codec, x_uint8, match: Match, record: Record, target_bytes) -> float | None:
  """See `Record.psnr_db_at_target`; None where the target lies outside the codec's files."""
  if match.status != OK or record.psnr_db is None or math.isinf(record.psnr_db):
    return None
  if match.next_data is None or len(match.data) == target_bytes:
    return record.psnr_db
  next_psnr_db = metrics.psnr_db(x_uint8, codec.decode(match.next_data))
  if math.isinf(next_psnr_db):
    return None
  low, high = len(match.data), len(match.next_data)
  share = math.log(target_bytes / low) / math.log(high / low)
  return record.psnr_db + share * (next_psnr_db - record.psnr_db)


def _ms_ssim(x: np.ndarray, x_hat: np.ndarray, max_error: int) -> float | None:
  is_rgb8 = x.dtype == np.uint8 and x.shape[2:] == (3,)
  if not is_rgb8 or min(x.shape[:2]) < metrics.MS_SSIM_MIN_SIDE:
    return None
  if not max_error:
    return 1.0
  return float(metrics.ms_ssim(x, x_hat))
