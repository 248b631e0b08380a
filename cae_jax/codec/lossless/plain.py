"""Drawings and planes of opacity: colours counted, rows predicted, and a dictionary coder.

No model of photographs: LZMA2 or deflate of the samples, or of a table of colours and the numbers
that say which. docs/format.md describes the bytes.
"""

import itertools
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cae_jax.codec.lossless import colours, filters, forms
from cae_jax.codec.lossless.excerpts import excerpt
from cae_jax.codec.lossless.forms import Form
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import ByteReader, write_varint
from cae_jax.models.arrays import Map

DICTIONARY = 1 << 23  # bytes, of LZMA2
_CONSTANT, _LZMA_AS_IS, _LZMA_LEFT, _STORED, _LZMA, _DEFLATE, _COLOURS = range(7)

# What follows concerns the encoder alone.
_FINALISTS = 4  # forms that are tried on the whole image
_PRESET = 6  # of LZMA; for the one form that is left, the slow one
_SLOW_PRESET = 9 | lzma.PRESET_EXTREME
_LARGE = 1 << 23  # bytes; here only one form is tried, and without the slow preset
_SMALL = 1 << 18  # bytes; here probabilities of literals had better learn fast
_ROWS_APART, _MANY, _FEW = 8, 0.25, 64  # of drawings
_GUESSED, _SKETCHED = 4, 1.4  # how many times too large an estimate, a sketch of one may be


_FILTERED = [Form(kind) for kind in range(5)]
_BY_COLUMNS = Form(by_columns=True)


def encode_plain(x: np.ndarray, in_parallel: Map = map) -> bytes:
  """Codes an image as a section, by the smallest of the methods that excerpts of it speak for.

  Args:
    x: uint8 or uint16 [H, W, C], of 1 to 4 channels.
    in_parallel: for the methods.
  Returns:
    At most one byte more than the samples have.
  """
  x = np.ascontiguousarray(x)
  if (x == x[0, 0]).all():
    return bytes([_CONSTANT]) + forms.pack(x[0, 0])
  numbered = (
    (_colours_head(table), indexes)
    for table, indexes in colours.numbered(x)
    if not np.array_equal(indexes, x)  # as planes of opacity are, which have all values
  )
  # As it is, too: the finalists of a tiny image may all number its colours.
  return min(_stored(x), _smallest([(b"", x), *numbered], in_parallel), key=len)


def _stored(x: np.ndarray) -> bytes:
  return bytes([_STORED]) + forms.pack(x)


def may_be_smaller(x: np.ndarray, size_bytes: float) -> bool:
  """Says whether `encode_plain` might take fewer bytes; in hundredths of a second for a photograph.

  Only excerpts are looked at, or of what seems drawn all of it, by a quick coding.
  """
  estimate = estimate_plain(x)
  if not seems_drawn(x):
    return estimate < size_bytes
  return estimate < _GUESSED * size_bytes and _sketch(x) < _SKETCHED * size_bytes


def seems_drawn(x: np.ndarray) -> bool:
  """Says whether, in some rows, many pixels equal their left neighbours, or colours are few."""
  rows = x[::_ROWS_APART]
  same = (rows[:, 1:] == rows[:, :-1]).all(axis=-1)
  if same.size and same.mean() > _MANY:
    return True
  return np.unique(rows @ 256 ** (x.itemsize * np.arange(x.shape[2]))).size <= _FEW


def estimate_plain(x: np.ndarray) -> int:
  """Estimates the bytes that `encode_plain` would take: rather too few, in hundredths of a second.

  Only excerpts are coded, so what makes a drawing large or small may be missed; photographs are met
  within some tenths.
  """
  part = excerpt(x, 0)
  parts = x.nbytes / part.nbytes
  images = [(part, forms.AS_IS), (part, Form(filters.PAETH))]
  images += [(indexes, forms.AS_IS) for _, indexes in itertools.islice(colours.numbered(part), 1)]

  def size(image: np.ndarray, form: Form) -> int:
    return len(_lzma(forms.to_bytes(image, form), 1, preset=1))

  def whole(image: np.ndarray, form: Form) -> float:
    known = size(image, form)
    if parts == 1:
      return known
    # The rest costs what the excerpt does, or its second half, which knows the first.
    second = known - size(image[: len(image) // 2], form)
    return known + (parts - 1) * max(0, min(known, 2 * second))

  return int(min(whole(image, form) for image, form in images))


def _sketch(x: np.ndarray) -> int:
  """The bytes of a quick coding, of which `encode_plain` takes up to a quarter fewer."""
  numbers = next((indexes for _, indexes in colours.numbered(x)), x)
  some = [forms.AS_IS, Form(packing=packing)] if (packing := _packing(numbers)) else [forms.AS_IS]
  return min(len(_lzma(forms.to_bytes(numbers, form), 1, preset=1)) for form in some)


def decode_plain(section: bytes, shape: tuple[int, int, int], dtype: Any) -> np.ndarray:
  """Decodes what `encode_plain` made.

  Inflates no more than the image has, with a dictionary of 8 MiB.

  Args:
    section: the bytes.
    shape: of the image, [H, W, C] with 1 to 4 channels.
    dtype: uint8 or uint16.
  Raises:
    BitstreamError: the section is not one of such an image.
  """
  reader = ByteReader(section, forms.SECTION)
  dtype = np.dtype(dtype)
  if section[:1] == bytes([_COLOURS]):
    return _decode_colours(reader, shape, dtype)
  return _decode_samples(reader.rest(), shape, dtype)


class _Candidate(NamedTuple):
  """A way to code an image: what comes first, the samples that follow, and their form."""

  head: bytes
  x: np.ndarray
  form: Form

  def trial_bytes(self) -> float:
    """Estimates the size from an excerpt."""
    part = excerpt(self.x, 1 if self.form.by_columns else 0)
    coded = _lzma(forms.to_bytes(part, self.form), _word(self.x, self.form))
    return len(self.head) + len(coded) * self.x.nbytes / part.nbytes

  def code(self, preset: int) -> bytes:
    """Codes the image, samples by the smallest method."""
    coded = _sections(
      self.form, forms.to_bytes(self.x, self.form), _word(self.x, self.form), preset
    )
    return self.head + min(_stored(self.x), *coded, key=len)


def _smallest(images: Iterable[tuple[bytes, np.ndarray]], in_parallel: Map = map) -> bytes:
  """Codes one of several images that stand for the same, each after its head."""
  candidates = [_Candidate(head, x, form) for head, x in images for form in _forms(x)]
  sizes = list(in_parallel(_Candidate.trial_bytes, candidates))
  ranked = [candidates[number] for number in sorted(range(len(sizes)), key=sizes.__getitem__)]
  large = ranked[0].x.nbytes > _LARGE
  finalists = ranked[: 1 if large else _FINALISTS]
  coded = list(in_parallel(lambda each: each.code(_PRESET), finalists))
  number = min(range(len(coded)), key=lambda number: len(coded[number]))
  smallest = coded[number]
  return smallest if large else min(smallest, finalists[number].code(_SLOW_PRESET), key=len)


def _forms(x: np.ndarray) -> list[Form]:
  """What may suit an image; an image of one channel may be one of numbers of colours."""
  found = [*_FILTERED, _BY_COLUMNS]
  if x.dtype == np.uint16:
    found += [form._replace(apart=True) for form in found]
  if x.shape[2] >= 3:
    found += [form._replace(less_green=True) for form in found]
  if sum(x.shape[:2]) > filters.MAX_SIDES or _is_strip(x):
    found = [form for form in found if form.filter < filters.PAETH]
  if packing := _packing(x):
    found += [form._replace(packing=packing) for form in (forms.AS_IS, _BY_COLUMNS)]
  return found


def _packing(x: np.ndarray) -> int:
  """The `Form.packing` of the most samples in a byte; 0 if they need one each."""
  if x.shape[2] > 1 or x.dtype != np.uint8:
    return 0
  return next((k for k in (3, 2, 1) if int(x.max()) < 1 << (8 >> k)), 0)


def _is_strip(x: np.ndarray) -> bool:
  """Whether diagonals are so short that decoders up to version 1.4 would take too long."""
  return sum(x.shape[:2]) > max(2048, x.shape[0] * x.shape[1] // 128)


def _word(x: np.ndarray, form: Form) -> int:
  """Bytes after which the same channel comes again."""
  return x.shape[2] * (1 if form.apart else x.itemsize)


def _sections(form: Form, data: bytes, word: int, preset: int) -> Iterator[bytes]:
  """The ways to code samples that are laid out already."""
  short = {forms.AS_IS: _LZMA_AS_IS, forms.LEFT: _LZMA_LEFT}.get(form)
  head = bytes([_LZMA, form.to_byte()]) if short is None else bytes([short])
  yield head + _lzma(data, word, preset)
  if len(data) <= _SMALL:
    yield head + _lzma(data, word, preset, literal_bits=0)
  if len(data) <= _LARGE:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    deflated = deflater.compress(data) + deflater.flush()
    yield bytes([_DEFLATE, form.to_byte()]) + deflated


def _lzma(data: bytes, word: int, preset: int = _PRESET, literal_bits: int = 3) -> bytes:
  """LZMA2 whose probabilities depend on the place in a word of 2 or 4 bytes."""
  place = {2: 1, 4: 2, 8: 2}.get(word, 0)
  own = {"lc": min(literal_bits, 4 - place), "lp": place, "pb": place}
  chain = [{**_dictionary(len(data)), "preset": preset, **own}]
  return lzma.compress(data, lzma.FORMAT_RAW, filters=chain)


def _colours_head(table: np.ndarray) -> bytes:
  """All of a section of _COLOURS but the indexes."""
  coded = _smallest([(b"", np.ascontiguousarray(table.T)[..., None])])
  return bytes([_COLOURS]) + write_varint(len(table)) + write_varint(len(coded)) + coded


def _decode_colours(reader: ByteReader, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
  height, width, channels = shape
  reader.read(1, "method")
  count = reader.varint(colours.MAX_COLOURS, "number of colours")
  if not 0 < count <= height * width:
    raise reader.fail(f"{count} colours of {height} x {width} pixels")
  size = reader.varint(len(reader.data), "size of the table of colours")
  coded = reader.read(size, "table of colours")
  table = _decode_samples(coded, (channels, count, 1), dtype)[..., 0].T
  index_type = np.dtype(np.uint8 if count <= 256 else np.uint16)
  start = reader.position
  indexes = _decode_samples(reader.rest(), (height, width, 1), index_type)[..., 0]
  if indexes.max() >= count:
    raise reader.fail(f"colour {indexes.max()} of a table of {count}", start)
  return table[indexes]


def _decode_samples(section: bytes, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
  """An image from a section of any method but _COLOURS."""
  reader = ByteReader(section, forms.SECTION)
  method = reader.read(1, "method")[0]
  if method == _CONSTANT:
    value = forms.unpack(reader.read(shape[2] * dtype.itemsize, "constant"), dtype)
    if reader.rest():
      raise reader.fail("bytes follow a constant")
    return np.full(shape, value)
  if method == _STORED:
    data = reader.rest()
    return forms.from_bytes(
      _exactly(data, forms.byte_count(shape, dtype, forms.AS_IS)), shape, dtype, forms.AS_IS
    )
  if method in (_LZMA, _DEFLATE):
    form = Form.from_byte(reader.read(1, "form")[0])
    forms.check(form, shape, dtype)
  elif method in (_LZMA_AS_IS, _LZMA_LEFT):
    form = forms.AS_IS if method == _LZMA_AS_IS else forms.LEFT
  else:
    raise reader.fail(f"unknown method {method}", 0)
  inflate = _undeflate if method == _DEFLATE else _unlzma
  data = inflate(reader.rest(), forms.byte_count(shape, dtype, form))
  return forms.from_bytes(data, shape, dtype, form)


def _unlzma(data: bytes, size: int) -> bytes:
  inflater = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_dictionary(size)])
  try:
    inflated = inflater.decompress(data, max_length=size + 1)
  except lzma.LZMAError as error:
    raise BitstreamError(forms.SECTION, 1, f"the data are damaged: {error}") from error
  return _exactly(inflated, size, inflater.eof and not inflater.unused_data)


def _dictionary(size: int) -> dict[str, int]:
  """LZMA2 that can look back on all of `size` bytes, or on DICTIONARY of them."""
  return {"id": lzma.FILTER_LZMA2, "dict_size": min(DICTIONARY, max(1 << 12, size))}


def _undeflate(data: bytes, size: int) -> bytes:
  inflater = zlib.decompressobj(-zlib.MAX_WBITS)
  try:
    inflated = inflater.decompress(data, size + 1)
  except zlib.error as error:
    raise BitstreamError(forms.SECTION, 1, f"the data are damaged: {error}") from error
  return _exactly(inflated, size, inflater.eof and not inflater.unused_data)


def _exactly(data: bytes, size: int, ended: bool = True) -> bytes:
  if len(data) != size or not ended:
    raise BitstreamError(forms.SECTION, 1, f"expected {size} bytes of samples and nothing else")
  return data
