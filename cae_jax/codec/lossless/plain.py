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

from cae_jax.codec.lossless import filters, forms
from cae_jax.codec.lossless.forms import Form
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import ByteReader, write_varint

MAX_COLOURS = 1 << 16
DICTIONARY = 1 << 23  # bytes, of LZMA2
_CONSTANT, _LZMA_AS_IS, _LZMA_LEFT, _STORED, _LZMA, _DEFLATE, _COLOURS = range(7)

# What follows concerns the encoder alone.
_TRIAL_BYTES = 1 << 16  # of the excerpts by which forms are compared
_EXCERPT_BLOCKS = 8
_FINALISTS = 4  # forms that are tried on the whole image
_PRESET = 6  # of LZMA; for the one form that is left, the slow one
_SLOW_PRESET = 9 | lzma.PRESET_EXTREME
_LARGE = 1 << 23  # bytes; here only one form is tried, and without the slow preset
_SMALL = 1 << 18  # bytes; here probabilities of literals had better learn fast


_FILTERED = [Form(kind) for kind in range(5)]
_BY_COLUMNS = Form(by_columns=True)


def encode_plain(x: np.ndarray) -> bytes:
  """Codes an image as a section, by the smallest of the methods that excerpts of it speak for.

  Args:
    x: uint8 or uint16 [H, W, C], of 1 to 4 channels.
  Returns:
    At most one byte more than the samples have.
  """
  x = np.ascontiguousarray(x)
  if (x == x[0, 0]).all():
    return bytes([_CONSTANT]) + forms.pack(x[0, 0])
  numbered = ((_colours_head(table), indexes) for table, indexes in _colours(x))
  # As it is, too: the finalists of a tiny image may all number its colours.
  return min(_stored(x), _smallest([(b"", x), *numbered]), key=len)


def _stored(x: np.ndarray) -> bytes:
  return bytes([_STORED]) + forms.pack(x)


def estimate_plain(x: np.ndarray) -> int:
  """Estimates the bytes that `encode_plain` would take: rather too few, in hundredths of a second.

  Only excerpts are coded, so what makes a drawing large may be missed; photographs are met within
  some tenths.
  """
  excerpt = _excerpt(x, 0)
  parts = x.nbytes / excerpt.nbytes
  images = [(excerpt, forms.AS_IS), (excerpt, Form(filters.PAETH))]
  images += [(indexes, forms.AS_IS) for _, indexes in itertools.islice(_colours(excerpt), 1)]

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


def sketch_plain(x: np.ndarray) -> int:
  """Returns how many bytes a quick coding of a whole drawing takes, in tenths of a second.

  Those of `encode_plain` are up to a quarter fewer.
  """
  numbers = next((indexes for _, indexes in _colours(x)), x)
  return len(_lzma(forms.to_bytes(numbers, forms.AS_IS), 1, preset=1))


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
    excerpt = _excerpt(self.x, 1 if self.form.by_columns else 0)
    coded = _lzma(forms.to_bytes(excerpt, self.form), _word(self.x, self.form))
    return len(self.head) + len(coded) * self.x.nbytes / excerpt.nbytes

  def code(self, preset: int) -> bytes:
    """Codes the image, samples by the smallest method."""
    coded = _sections(
      self.form, forms.to_bytes(self.x, self.form), _word(self.x, self.form), preset
    )
    return self.head + min(_stored(self.x), *coded, key=len)


def _smallest(images: Iterable[tuple[bytes, np.ndarray]]) -> bytes:
  """Codes one of several images that stand for the same, each after its head."""
  candidates = [_Candidate(head, x, form) for head, x in images for form in _forms(x)]
  ranked = sorted(candidates, key=_Candidate.trial_bytes)
  large = ranked[0].x.nbytes > _LARGE
  coded = [(each, each.code(_PRESET)) for each in ranked[: 1 if large else _FINALISTS]]
  best, smallest = min(coded, key=lambda pair: len(pair[1]))
  return smallest if large else min(smallest, best.code(_SLOW_PRESET), key=len)


def _forms(x: np.ndarray) -> list[Form]:
  """What may suit an image; an image of one channel may be one of numbers of colours."""
  found = [*_FILTERED, _BY_COLUMNS]
  if x.dtype == np.uint16:
    found += [form._replace(apart=True) for form in found]
  if x.shape[2] >= 3:
    found += [form._replace(less_green=True) for form in found]
  if sum(x.shape[:2]) > filters.MAX_SIDES or _is_strip(x):
    found = [form for form in found if form.filter < filters.PAETH]
  packing = next((k for k in (3, 2, 1) if int(x.max()) < 1 << (8 >> k)), 0)
  if packing and x.shape[2] == 1 and x.dtype == np.uint8:
    found += [form._replace(packing=packing) for form in (forms.AS_IS, _BY_COLUMNS)]
  return found


def _is_strip(x: np.ndarray) -> bool:
  """Whether diagonals are so short that decoders up to version 1.4 would take too long."""
  return sum(x.shape[:2]) > max(2048, x.shape[0] * x.shape[1] // 128)


def _excerpt(x: np.ndarray, axis: int) -> np.ndarray:
  """Some blocks of rows (axis 0) or columns, spread evenly; a small image as it is."""
  lines = x.shape[axis]
  size = -(-lines * _TRIAL_BYTES // (x.nbytes * _EXCERPT_BLOCKS))
  if size * _EXCERPT_BLOCKS >= lines:
    return x
  starts = np.linspace(0, lines - size, _EXCERPT_BLOCKS).astype(int)
  return x.take((starts[:, None] + np.arange(size)).ravel(), axis)


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


def _colours(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Tables of an image's colours [n, C], in some orders, and numbers [H, W, 1]; none of too many.

  Numbers are uint8 up to 256 colours, and uint16 above.
  """
  found = _of_one_channel(x) if x.shape[2] == 1 else _of_channels(x)
  if found is None:
    return
  colours, inverse, counts = found
  if not 1 < len(colours) <= min(MAX_COLOURS, inverse.size // 2):
    return
  few = len(colours) <= 256
  for order in (_by_brightness(colours), _by_nearness(colours) if few else np.argsort(-counts)):
    ranks = np.empty(len(colours), np.uint8 if few else np.uint16)
    ranks[order] = np.arange(len(colours))
    yield colours[order], ranks[inverse].reshape(*x.shape[:2], 1)


def _of_one_channel(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Values [n, 1] in their order, the number of each pixel's, and how often each occurs."""
  counts = np.bincount(x.ravel())
  values = np.flatnonzero(counts)
  numbers = np.zeros(len(counts), np.uint16)
  numbers[values] = np.arange(len(values))
  return values[:, None].astype(x.dtype), numbers[x.ravel()], counts[values]


def _of_channels(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
  """The same of colours [n, C]; None if there seem to be too many."""
  bits = 8 * x.itemsize
  keys = x[..., 0].astype(np.uint64)
  for channel in range(1, x.shape[2]):
    keys = keys << np.uint64(bits) | x[..., channel]
  if np.unique(_excerpt(keys, 0)).size > MAX_COLOURS // 2:
    return None
  _, first, inverse, counts = np.unique(
    keys, return_index=True, return_inverse=True, return_counts=True
  )
  return x.reshape(-1, x.shape[2])[first], inverse, counts


def _by_brightness(colours: np.ndarray) -> np.ndarray:
  weights = np.array([2, 5, 1, 0]) if colours.shape[1] >= 3 else np.array([8, 1])
  return np.argsort(colours @ weights[: colours.shape[1]], kind="stable")


def _by_nearness(colours: np.ndarray) -> np.ndarray:
  """From the darkest on, each followed by the nearest one that is left."""
  places = colours.astype(np.int64)
  here, left = int(places.sum(axis=1).argmin()), np.ones(len(places), bool)
  order = []
  for _ in places:
    order.append(here)
    left[here] = False
    distances = np.abs(places - places[here]).sum(axis=1)
    here = int(np.where(left, distances, np.iinfo(np.int64).max).argmin())
  return np.array(order)


def _colours_head(table: np.ndarray) -> bytes:
  """All of a section of _COLOURS but the indexes."""
  coded = _smallest([(b"", np.ascontiguousarray(table.T)[..., None])])
  return bytes([_COLOURS]) + write_varint(len(table)) + write_varint(len(coded)) + coded


def _decode_colours(reader: ByteReader, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
  height, width, channels = shape
  reader.read(1, "method")
  count = reader.varint(MAX_COLOURS, "number of colours")
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
