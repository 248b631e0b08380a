"""The codec that meets a target: lossy, near-lossless, or lossless where it asks for that."""

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np

from cae_jax.codec.drawn import drawn_layer
from cae_jax.codec.info import TUNES
from cae_jax.codec.kinds import as_array, kind_of
from cae_jax.codec.lossless.colours import are_few, fewer
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded
from cae_jax.codec.lossless.plain import may_be_smaller, seems_drawn
from cae_jax.codec.near_lossless import NearLosslessFiles
from cae_jax.codec.targets import (
  DEFAULT_QUALITY,
  MAX_SSIMULACRA2,
  OutOfReach,
  checked_effort,
  checked_error,
  checked_target,
  one_target,
)
from cae_jax.coding.varint import BytesLike
from cae_jax.errors import UsageError

if TYPE_CHECKING:
  from cae_jax.codec.encoding import Encoded
  from cae_jax.codec.image import Codec

_HIGHEST = {"psnr": math.inf, "ssimulacra2": MAX_SSIMULACRA2}  # met without a loss alone
_psnr_db = operator.attrgetter("psnr_db")
# Files this much smaller than asked for leave room for a closer codec.
_ROOM = 0.97
_FINE_QUALITY = 140  # beyond it near-lossless files may be smaller, see docs/decisions/059
# Of a drawing, and of a layer of one, at the default quality; half of it where that is higher by so
# much.
_DRAWN_ERROR, _LAYER_ERROR, _HALVING = 16, 24, 50
# A file with a layer may be larger than one without if it is closer: by so many dB for twice the
# bytes, and no more than a quarter.
_DOUBLING_DB, _MOST_LARGER = 6, 1.25
_EXACT = 1.1  # how many times as large an exact file of a drawing may be


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
  the near-lossless one, and where they hardly reach it by the best of them all; an infinite PSNR, a
  score of 100, or a size that allows it, by the lossless one. Drawings and screenshots are
  lossless, too, where that takes no more bytes, or near-lossless, with fewer colours, where that is
  smaller than a lossy file and closer to the image. What is drawn on a page with photographs
  becomes a layer over a lossy picture where that file is smaller, or larger by less than it is
  closer.

  Args:
    image: as of `Codec.compress`; of 16 bits with another target than a quality only.
    lossy, lossless: make the codecs when they are needed; a further lossy one where those before it
      cannot meet what is asked for, or leave room in a size.
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
  targets: dict[str, Any] = {
    "quality": quality,
    "bpp": bpp,
    "psnr": psnr,
    "ssimulacra2": ssimulacra2,
    "size_bytes": size_bytes,
  }
  name, value = target_of(
    exact=exact, near_lossless=near_lossless, tune=tune, effort=effort, **targets
  )
  given = {key: target for key, target in targets.items() if target is not None}
  make_files = functools.partial(
    NearLosslessFiles,
    image,
    lossless,
    keep_hidden_colour=keep_hidden_colour,
    metadata=metadata,
    bits=bits,
  )
  if name == "near_lossless":
    return make_files().encode(value)
  image = as_array(image)
  target = _Target(name, value, _limit_bytes(name, value, image))
  if image.dtype == np.uint16 and name != "quality":
    return _near_lossless_file(make_files(), target)
  kind_of(image)  # raises an error for arrays that are no images of 8 bits

  def lossy_files(layer: np.ndarray | None = None) -> "list[Encoded | LosslessEncoded]":
    asked = given if layer is None else {**given, "layer": layer}
    encode = lambda codec: codec.encode(image, effort=effort, metadata=metadata, **asked)
    return _lossy_files(lossy, encode, target)

  return _best_file(np.atleast_3d(image), target, lossy_files, make_files)


def target_of(
  *,
  exact: bool = False,
  near_lossless: SupportsIndex | None = None,
  tune: str | None = None,
  effort: SupportsIndex = 0,
  **targets: Any,
) -> tuple[str, Any]:
  """Checks what is asked of `encode`, whatever the image; returns the target's name and value.

  A lossless file is one without an error, whichever way it was asked for.

  Raises:
    UsageError: more than one target, one that makes no sense, or options that do not go with it.
  """
  asked = {**targets, "lossless": exact or None, "near_lossless": near_lossless}
  given = one_target(asked) or {"quality": DEFAULT_QUALITY}
  if tune is not None and tune not in TUNES:
    raise UsageError(f"tune {tune!r}: expected {' or '.join(TUNES)}")
  effort = checked_effort(effort)
  [(name, value)] = given.items()
  if name in _HIGHEST and np.ndim(value) == 0 and value == _HIGHEST[name]:
    name = "lossless"
  if name not in ("lossless", "near_lossless"):
    return name, checked_target(name, value)
  if effort:
    raise UsageError(f"{name} has one effort only; leave effort out")
  if tune is not None:
    raise UsageError(f"{name} leaves nothing to be tuned; leave tune out")
  return "near_lossless", checked_error(value) if name == "near_lossless" else 0


def _best_file(
  x: np.ndarray,
  target: "_Target",
  lossy_files: "Callable[..., list[Encoded | LosslessEncoded]]",
  make_files: Callable[..., NearLosslessFiles],
) -> "Encoded | LosslessEncoded":
  """Makes what files may meet a target: the closest that a size allows, else the smallest.

  Args:
    x: uint8 [H, W, C].
    target: not a lossless file.
    lossy_files: makes files for the target, of the image or of what is not in a layer of it.
    make_files: makes near-lossless files.
  """
  is_drawn, files = seems_drawn(x), make_files()
  if is_drawn and target.limit is not None and (exact_file := _exact_file(files, x, target.limit)):
    return exact_file
  try:
    found = lossy_files()
  except OutOfReach as failure:
    if not is_drawn or target.limit is None:
      raise
    return _drawing_within(make_files(drawn=True), target.limit, failure)
  if not found:
    found.append(_near_lossless_file(files, target))
  else:
    lossy = found[-1]
    layered = _layered_files(x, lossy, lossy_files)
    if target.name != "quality":
      found += layered
    elif layered and _is_worth_it(layered[-1], lossy):
      found = layered
    settled = target.name == "quality" or _is_settled(lossy, target.limit)
    size_bytes = min(len(file.data) for file in found)
    if not settled or (is_drawn and _may_be_redrawn(x, files, target, size_bytes)):
      # What networks make near-lossless is no better than a lossy codec where this can meet it.
      files = make_files(drawn=True) if settled else files
      with contextlib.suppress(OutOfReach):
        found.append(_closer_file(files, target, max(found, key=_psnr_db)))
  if target.limit is not None:
    return max(found, key=_psnr_db)
  smallest = min(found, key=lambda file: len(file.data))
  if math.isinf(smallest.psnr_db) or not is_drawn:
    return smallest
  worth = _EXACT if isinstance(smallest, LosslessEncoded) else 1
  return _exact_file(files, x, worth * len(smallest.data)) or smallest


class _Target(NamedTuple):
  """What a file is to meet, and the most bytes that allows, if it is a size."""

  name: str
  value: float
  limit: float | None


def _limit_bytes(name: str, value: float, image: np.ndarray) -> float | None:
  """The most bytes that a target allows, if it is a size."""
  if name == "bpp":
    return value * math.prod(image.shape[:2]) / 8
  return value if name == "size_bytes" else None


def _lossy_files(
  lossy: "Sequence[Callable[[], Codec]]", encode: "Callable[[Codec], Encoded]", target: _Target
) -> "list[Encoded | LosslessEncoded]":
  """The files of codecs that can meet a target, up to the first that no other may better.

  Raises:
    OutOfReach: none makes as small a file as is asked for.
  """
  found: list[Encoded | LosslessEncoded] = []
  failures: list[OutOfReach] = []
  for make in lossy:
    try:
      found.append(encode(make()))
    except OutOfReach as error:
      failures.append(error)
      continue
    if target.limit is None or _is_settled(found[-1], target.limit):
      break
  if failures and not found and target.limit is not None:
    raise _of_smallest(failures)
  return found


def _drawing_within(
  files: NearLosslessFiles, limit_bytes: float, failure: OutOfReach
) -> LosslessEncoded:
  """The closest file of a drawing that lossy codecs have failed to make as small.

  Raises:
    OutOfReach: this has, too.
  """
  try:
    return files.closest(limit_bytes)
  except OutOfReach as error:
    raise _of_smallest([failure, error]) from None


def _of_smallest(failures: Sequence[OutOfReach]) -> OutOfReach:
  """The failure that knows the smallest file."""
  return min(failures, key=lambda failure: failure.size_bytes or math.inf)


def _near_lossless_file(
  files: NearLosslessFiles, target: _Target, least_db: float = 0
) -> LosslessEncoded:
  """The near-lossless file that meets a target other than a quality.

  Args:
    files: of the image.
    target: of the file.
    least_db: where a size is asked for, coarser files are of no use.
  Raises:
    OutOfReach: none is as small.
  """
  if target.limit is not None:
    return files.closest(target.limit, least_db)
  return (files.of_psnr if target.name == "psnr" else files.of_ssimulacra2)(target.value)


def _closer_file(files: NearLosslessFiles, target: _Target, lossy: Any) -> LosslessEncoded:
  """The near-lossless file that meets a target; raises OutOfReach if a lossy one is better."""
  if target.name == "quality":  # that of a drawing
    file = files.encode(_error_at(target.value))
    if file.psnr_db >= lossy.psnr_db:
      return file
  elif target.limit is not None or files.may_be_smaller(len(lossy.data), lossy.psnr_db):
    return _near_lossless_file(files, target, lossy.psnr_db)
  raise OutOfReach(f"{target.name} {target.value:g} cannot be met in {len(lossy.data)} bytes")


def _layered_files(
  x: np.ndarray,
  lossy: Any,
  lossy_files: "Callable[[np.ndarray], list[Encoded | LosslessEncoded]]",
) -> "list[Encoded | LosslessEncoded]":
  """Makes files of an image [H, W, C] with a drawn layer, as exact as suits the lossy file."""
  error = None if lossy.quality is None else _error_at(lossy.quality, _LAYER_ERROR)
  layer = None if error is None else drawn_layer(x, error)
  if layer is not None:
    with contextlib.suppress(OutOfReach):
      return lossy_files(layer)
  return []


def _is_worth_it(closer: Any, file: Any) -> bool:
  """Says whether a file is closer than another by as much as it is larger."""
  gain_db = closer.psnr_db - file.psnr_db
  return len(closer.data) <= min(2 ** (gain_db / _DOUBLING_DB), _MOST_LARGER) * len(file.data)


def _may_be_redrawn(
  x: np.ndarray, files: NearLosslessFiles, target: _Target, size_bytes: int
) -> bool:
  """Says whether a drawing [H, W, C] of fewer colours might take fewer bytes."""
  of_quality = target.name == "quality"
  largest_error = _error_at(target.value) if of_quality else files.largest_error
  return are_few(x) and may_be_smaller(fewer(x, largest_error), size_bytes)


def _error_at(quality: float, default: int = _DRAWN_ERROR) -> int:
  """The error that suits a quality, by that of the default one."""
  return round(default * 2 ** ((DEFAULT_QUALITY - quality) / _HALVING))


def _exact_file(files: NearLosslessFiles, x: np.ndarray, enough: float) -> LosslessEncoded | None:
  """The lossless file of a drawing [H, W, C] if it has no more bytes than are enough."""
  if not may_be_smaller(x, enough):
    return None
  exact = files.encode(0)
  return exact if len(exact.data) <= enough else None


def _is_settled(encoded: Any, limit: float | None) -> bool:
  """Says whether no other codec is likely to make a better file than this lossy one.

  Another one may where this is at its end: in steps much finer than it was trained with, or where
  its best file leaves room in a size.
  """
  has_room = limit is not None and encoded.is_best and len(encoded.data) < _ROOM * limit
  return not has_room and (encoded.quality or 0) <= _FINE_QUALITY
