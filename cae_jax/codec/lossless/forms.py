"""Samples laid out as bytes for coders of bytes: predicted, turned, packed.

docs/format.md describes the bytes.
"""

from typing import NamedTuple

import numpy as np

from cae_jax.codec.lossless import filters
from cae_jax.coding.errors import BitstreamError

SECTION = "plain"  # as errors name it


class Form(NamedTuple):
  """A way to lay out samples.

  Attributes:
    filter: of `filters`, NONE to BY_ROW.
    by_columns: rows and columns change places.
    less_green: the second channel is taken off the first and the third.
    packing: log2 of the samples that share a byte, the first in the lowest bits; 0 unless the
      image is uint8 [H, W, 1].
    apart: of uint16, all high bytes come first, instead of each low byte and its high one.
  """

  filter: int = filters.NONE
  by_columns: bool = False
  less_green: bool = False
  packing: int = 0
  apart: bool = False

  def to_byte(self) -> int:
    """Packs the form into bits, lowest first: 3, 1, 1, 2, 1."""
    flags = self.by_columns << 3 | self.less_green << 4 | self.packing << 5 | self.apart << 7
    return self.filter | flags

  @classmethod
  def from_byte(cls, byte: int) -> "Form":
    """Undoes `to_byte`."""
    return cls(byte & 7, bool(byte & 8), bool(byte & 16), byte >> 5 & 3, bool(byte & 128))


AS_IS, LEFT = Form(), Form(filters.LEFT)


def check(form: Form, shape: tuple[int, int, int], dtype: np.dtype) -> None:
  """Raises BitstreamError if no encoder gives this form to such an image."""
  height, width, channels = shape
  fits = (
    form.filter <= filters.BY_ROW
    and (form.filter < filters.PAETH or height + width <= filters.MAX_SIDES)
    and (channels >= 3 or not form.less_green)
    and ((channels, dtype) == (1, np.uint8) or not form.packing)
    and (dtype == np.uint16 or not form.apart)
  )
  if not fits:
    raise BitstreamError(
      SECTION, 1, f"the form {form.to_byte()} does not fit {dtype} {list(shape)}"
    )


def byte_count(shape: tuple[int, int, int], dtype: np.dtype, form: Form) -> int:
  """Counts the bytes of `to_bytes`: of the samples and, after them, of the kinds of rows."""
  rows, columns = (shape[1], shape[0]) if form.by_columns else shape[:2]
  kinds = rows if form.filter == filters.BY_ROW else 0
  return rows * -(-columns // (1 << form.packing)) * shape[2] * dtype.itemsize + kinds


def to_bytes(x: np.ndarray, form: Form) -> bytes:
  """Lays out an image, uint8 or uint16 [H, W, C]."""
  if form.less_green:
    x = x.copy()
    x[..., :3:2] -= x[..., 1:2]
  if form.by_columns:
    x = x.swapaxes(0, 1)
  x, kinds = filters.predict(x, form.filter)
  if form.packing:
    x = _share_bytes(x, form.packing)
  if form.apart:
    x = np.stack([x >> 8, x & 255]).astype(np.uint8)
  return pack(x) + kinds.tobytes()


def from_bytes(data: bytes, shape: tuple[int, int, int], dtype: np.dtype, form: Form) -> np.ndarray:
  """Undoes `to_bytes` of an image [H, W, C]; it may be written to, unlike the bytes.

  Raises:
    BitstreamError: a row has none of the filters.
  """
  rows, columns = (shape[1], shape[0]) if form.by_columns else shape[:2]
  kinds = np.frombuffer(data, np.uint8)[len(data) - rows :] if form.filter == filters.BY_ROW else ()
  if len(kinds) and max(kinds) > filters.PAETH:
    raise BitstreamError(SECTION, 1, f"a row has filter {max(kinds)}")
  samples = memoryview(data)[: len(data) - len(kinds)]
  if form.apart:
    high, low = np.frombuffer(samples, np.uint8).reshape(2, rows, columns, -1)
    x = high.astype(np.uint16) << 8 | low
  else:
    x = unpack(samples, dtype).reshape(rows, -1, shape[2])
  if form.packing:
    x = _part_bytes(x, form.packing, columns)
  x = filters.restore(x, form.filter, np.asarray(kinds))
  if form.by_columns:
    x = x.swapaxes(0, 1)
  x = np.require(x, requirements=["C", "W"])
  if form.less_green:
    x[..., :3:2] += x[..., 1:2]
  return x


def _share_bytes(x: np.ndarray, packing: int) -> np.ndarray:
  """[H, W, 1] -> [H, ceil(W / 2^packing), 1]."""
  count = 1 << packing
  groups = np.pad(x[..., 0], ((0, 0), (0, -x.shape[1] % count))).reshape(len(x), -1, count)
  shifts = (np.arange(count) * (8 >> packing)).astype(np.uint8)
  return np.bitwise_or.reduce(groups << shifts, axis=2)[..., None]


def _part_bytes(x: np.ndarray, packing: int, columns: int) -> np.ndarray:
  """Undoes `_share_bytes`; [H, W, 1] with W = `columns`."""
  bits = 8 >> packing
  shifts = (np.arange(1 << packing) * bits).astype(np.uint8)
  return (x >> shifts & np.uint8((1 << bits) - 1)).reshape(len(x), -1)[:, :columns, None]


def pack(x: np.ndarray) -> bytes:
  """Returns the samples in C order, uint16 with the low byte first."""
  return x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes()


def unpack(data: bytes | memoryview, dtype: np.dtype) -> np.ndarray:
  """Undoes `pack`, flat."""
  return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
