"""Decoded pictures of one image: our codec's, and the others' at the size of its file."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from cae_jax.evaluation import measuring
from cae_jax.evaluation.codecs.base import CodecError, ImageCodec, Missing
from cae_jax.evaluation.records import OK, Record, Setting


@dataclasses.dataclass(frozen=True)
class Picture:
  """What a codec made of an image.

  Attributes:
    record: the figures of the file the picture was decoded from.
    x_hat: uint8 [H, W, 3]; None if the codec did not run, `record.status` then says why.
  """

  record: Record
  x_hat: np.ndarray | None

  @property
  def words(self) -> str:
    """Rate and PSNR, or why there is no picture."""
    if self.x_hat is None:
      return self.record.status
    return f"{self.record.rate_bpp:.2f} bpp, {self.record.psnr_db:.2f} dB"


def decoded(codec: ImageCodec, setting: Setting, name: str, x_uint8: np.ndarray) -> Picture:
  """Encodes an image, and decodes and measures the file.

  Args:
    codec, setting: what to run.
    name: of the image.
    x_uint8: uint8 [H, W, 3].
  """
  try:
    return of_file(codec, setting, name, x_uint8, codec.encode(x_uint8, setting))
  except CodecError as error:
    return _none(codec.name, name, f"failed: {error}")


def of_file(
  codec: ImageCodec, setting: Setting, name: str, x_uint8: np.ndarray, data: bytes
) -> Picture:
  """Decodes and measures a file that is there; the other arguments as in `decoded`.

  Raises:
    CodecError: it cannot be decoded.
  """
  record = measuring.measure(codec, setting, name, x_uint8, data)
  return Picture(record, codec.decode(data))


def at_size(
  codec: ImageCodec | Missing,
  name: str,
  x_uint8: np.ndarray,
  target_bytes: int,
  rows: Iterable[Record] = (),
  search: bool = False,
) -> Picture:
  """Makes the picture of a codec whose file is to have a size.

  Args:
    codec: may be a `Missing`.
    name, x_uint8: the image.
    target_bytes: the size, met from below.
    rows: records that may hold the codec's setting for this size, from an evaluation.
    search: whether to search for the setting where no record has it; "not measured" if not.
  """
  if isinstance(codec, Missing):
    return _none(codec.name, name, codec.status)
  goal = (codec.name, codec.version, name, target_bytes)
  found = ((r.setting, r.status) for r in rows if _goal(r) == goal and r.setting is not None)
  known = next(found, None)
  if known is not None:
    return _met(codec, *known, name, x_uint8)
  if not search:
    return _none(codec.name, name, "not measured")
  try:
    match = measuring.match_size(codec, x_uint8, target_bytes)
  except CodecError as error:
    return _none(codec.name, name, f"failed: {error}")
  return _met(codec, match.setting, match.status, name, x_uint8)


def at_own_size(
  ours: ImageCodec,
  setting: Setting,
  others: Sequence[ImageCodec | Missing],
  name: str,
  x_uint8: np.ndarray,
  rows: Sequence[Record] = (),
  search: bool = False,
) -> list[Picture]:
  """Makes our picture at a setting, and the others' at its file's size; arguments as in `at_size`.

  Raises:
    CodecError: our codec failed.
  """
  own = decoded(ours, setting, name, x_uint8)
  size_bytes = own.record.size_bytes
  if own.x_hat is None or size_bytes is None:
    raise CodecError(own.record.status)
  return [own, *(at_size(o, name, x_uint8, size_bytes, rows, search) for o in others)]


def _goal(record: Record) -> tuple:
  return record.codec, record.version, record.image, record.target_bytes


def _met(codec: ImageCodec, setting: Setting, status: str, name: str, x_uint8) -> Picture:
  """The picture at a setting for a size, with the word on whether the file meets it."""
  picture = decoded(codec, setting, name, x_uint8)
  status = status if picture.record.ok else picture.record.status
  return dataclasses.replace(picture, record=dataclasses.replace(picture.record, status=status))


def _none(codec: str, image: str, status: str) -> Picture:
  assert status != OK
  return Picture(Record(codec, None, image, status=status), None)
