"""The container: everything a decoder must know about an image, and checksums over it.

The format is described byte by byte in docs/format.md.
"""

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import ByteReader, write_varint
from cae_jax.errors import UsageError

MAGIC = b"\xc1CAE"  # 0xC1 occurs in no text, be it ASCII or UTF-8
VERSION = 1
MAX_SIDE = 1 << 24  # pixels
MAX_PIXELS = 1 << 28
MAX_SECTIONS = 1 << 12
MAX_METADATA = 16  # entries
MAX_METADATA_BYTES = 1 << 24  # of all entries, inflated
MODEL_HASH_BYTES = 8
_MAX_NAME_BYTES = 32
_MAX_PARAMETERS_BYTES = 255
_METADATA_FLAG = 0x80
_CRC_BYTES = 4

# Or what else holds them, such as a mapped file.
BytesLike = bytes | bytearray | memoryview


KIND_16 = 0x10  # of kinds whose samples have 16 bits


class Kind(IntEnum):
  """What the samples are: the number of channels, and 16 more where samples have 16 bits."""

  GREY = 1
  GREY_ALPHA = 2
  RGB = 3
  RGBA = 4
  GREY_16 = KIND_16 | 1
  GREY_ALPHA_16 = KIND_16 | 2
  RGB_16 = KIND_16 | 3
  RGBA_16 = KIND_16 | 4

  @property
  def channels(self) -> int:
    """Of a pixel, opacity included."""
    return self & ~KIND_16

  @property
  def colours(self) -> int:
    """Channels but for opacity: 1 or 3."""
    return self.channels - 1 + self.channels % 2

  @property
  def dtype(self) -> type:
    """Of samples."""
    return np.uint16 if self & KIND_16 else np.uint8


@dataclass(frozen=True)
class Header:
  """What a decoder must know before it can decode.

  Attributes:
    model_id: name of the weights, 1 to 32 printable ASCII characters without spaces.
    model_hash: 8 bytes, of the weights and tables.
    kind: of samples.
    height, width: pixels, 1 to 2^24, with a product of at most 2^28.
    parameters: at most 255 bytes that the model alone understands, such as its rate point.
    symbol_checksum: see `symbol_checksum`.
  """

  model_id: str
  model_hash: bytes
  kind: Kind
  height: int
  width: int
  parameters: bytes = b""
  symbol_checksum: int = 0

  def __post_init__(self):
    if not is_name(self.model_id):
      raise UsageError(
        f"model id {self.model_id!r}: expected 1 to {_MAX_NAME_BYTES} printable ASCII characters"
      )
    if len(self.model_hash) != MODEL_HASH_BYTES:
      raise ValueError(f"model hash of {len(self.model_hash)} bytes, expected {MODEL_HASH_BYTES}")
    object.__setattr__(self, "kind", Kind(self.kind))
    if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
      raise UsageError(f"{self.height} x {self.width} pixels: sides must be 1 to {MAX_SIDE}")
    if self.height * self.width > MAX_PIXELS:
      raise UsageError(
        f"{self.height} x {self.width} pixels: more than {MAX_PIXELS}; code the image in parts"
      )
    if len(self.parameters) > _MAX_PARAMETERS_BYTES:
      raise ValueError(
        f"{len(self.parameters)} bytes of parameters, at most {_MAX_PARAMETERS_BYTES} fit"
      )
    if not 0 <= self.symbol_checksum < 1 << 32:
      raise ValueError(f"symbol checksum {self.symbol_checksum} is not a 32-bit integer")


@dataclass(frozen=True)
class Outline:
  """The header of a file and the sizes, in bytes, of what follows it.

  Attributes:
    header: of the image.
    size_bytes: of the whole file.
    section_bytes: of each of the coders' sections.
    metadata_bytes: of each entry, inflated.
  """

  header: Header
  size_bytes: int
  section_bytes: tuple[int, ...]
  metadata_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Container:
  """The content of a file.

  Attributes:
    header: of the image.
    sections: of the coders.
    metadata: by name, such as "icc" or "exif".
    size_bytes: of the whole file it was read from.
  """

  header: Header
  sections: tuple[bytes, ...]
  metadata: Mapping[str, bytes] = field(default_factory=dict)
  size_bytes: int = field(default=0, compare=False)

  @property
  def outline(self) -> Outline:
    """As `outline` reads it from the file."""
    return Outline(
      self.header,
      self.size_bytes,
      tuple(map(len, self.sections)),
      {name: len(value) for name, value in self.metadata.items()},
    )


class _Entry(NamedTuple):
  """Metadata as they are in a file; `size_bytes` is that of the inflated value."""

  size_bytes: int
  deflated: bytes
  offset: int


def symbol_checksum(arrays: Iterable[np.ndarray], start: int = 0) -> int:
  """Returns the CRC-32 of integer arrays as int32, little-endian, C order, one after the other.

  `start` is the checksum of the arrays before them.
  """
  crc = start
  for array in arrays:
    crc = zlib.crc32(np.asarray(array).astype("<i4", casting="same_kind").tobytes(), crc)
  return crc


def pack(
  header: Header, sections: Sequence[bytes], metadata: Mapping[str, bytes] | None = None
) -> bytes:
  """Returns the bytes of a container.

  Args:
    header: of the image.
    sections: at most 2^12, of any size (none and empty ones are fine).
    metadata: see `check_metadata`.
  Returns:
    The whole file. For one section and no metadata its overhead is 25 bytes, the model id, the
    parameters, and two varints of the image's sides (2 bytes each from 128 to 16383 pixels).
  Raises:
    UsageError: the metadata are out of bounds.
    ValueError: too many sections.
  """
  entries = check_metadata(metadata)
  if len(sections) > MAX_SECTIONS:
    raise ValueError(f"{len(sections)} sections, at most {MAX_SECTIONS} fit")
  body = b"".join(
    [
      MAGIC,
      bytes([VERSION, header.kind | (_METADATA_FLAG if entries else 0)]),
      _sized(header.model_id.encode("ascii")),
      header.model_hash,
      write_varint(header.height),
      write_varint(header.width),
      _sized(header.parameters),
      header.symbol_checksum.to_bytes(4, "little"),
      _pack_metadata(entries) if entries else b"",
      write_varint(len(sections)),
      *(write_varint(len(section)) for section in sections[:-1]),
      *sections,
    ]
  )
  return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def check_metadata(metadata: Mapping[str, BytesLike] | None) -> dict[str, bytes]:
  """Makes sure that metadata fit into a file.

  Args:
    metadata: at most 16 entries by name (as a model id), of at most 2^24 bytes in all.
  Raises:
    UsageError: they do not, or are of another type.
  """
  if not isinstance(metadata, Mapping | None):
    raise UsageError(f"metadata: expected a mapping of names to bytes, got {_type_of(metadata)}")
  entries = {_checked_name(name): _checked_value(name, v) for name, v in (metadata or {}).items()}
  total = sum(map(len, entries.values()))
  if len(entries) > MAX_METADATA or total > MAX_METADATA_BYTES:
    raise UsageError(
      f"{len(entries)} metadata entries of {total} bytes; at most {MAX_METADATA} entries of"
      f" {MAX_METADATA_BYTES} bytes in all fit"
    )
  return entries


def _checked_name(name: str) -> str:
  if not isinstance(name, str) or not is_name(name):
    raise UsageError(
      f"metadata name {name!r}: expected 1 to {_MAX_NAME_BYTES} printable ASCII characters"
    )
  return name


def _checked_value(name: str, value: BytesLike) -> bytes:
  if not isinstance(value, BytesLike):
    raise UsageError(f"metadata {name!r}: expected bytes, got {_type_of(value)}")
  return bytes(value)


def unpack(data: BytesLike) -> Container:
  """Reads a container: the inverse of `pack`.

  Args:
    data: the whole file.
  Raises:
    BitstreamError: any byte is wrong, missing or extra, or the format is another or a newer one.
    UsageError: the argument does not hold bytes.
  """
  file = _as_bytes(data)
  reader = ByteReader(_checked_body(file), "header", len(MAGIC) + 1)
  header, entries = _read_head(reader)
  metadata = {name: _inflated(name, entry) for name, entry in entries.items()}
  return Container(header, _read_sections(reader), metadata, len(file))


def outline(data: BytesLike) -> Outline:
  """Reads what a file says of its content; raises as `unpack`, but inflates no metadata."""
  file = _as_bytes(data)
  reader = ByteReader(_checked_body(file), "header", len(MAGIC) + 1)
  header, entries = _read_head(reader)
  metadata_bytes = {name: entry.size_bytes for name, entry in entries.items()}
  return Outline(header, len(file), tuple(map(len, _read_sections(reader))), metadata_bytes)


def _as_bytes(data: BytesLike) -> bytes:
  if isinstance(data, bytes):
    return data
  try:
    view = memoryview(data)
  except TypeError:
    view = None
  if view is None or view.ndim != 1 or view.itemsize != 1:
    raise UsageError(
      f"expected the bytes of a .cae file, got {_type_of(data)}{_way_to_bytes(data)}"
    )
  return view.tobytes()


def _type_of(value: object) -> str:
  return type(value).__name__


def _way_to_bytes(data: object) -> str:
  if isinstance(data, (str, os.PathLike)):
    return "; read the file first: pathlib.Path(name).read_bytes()"
  return "; give what its read() returns" if hasattr(data, "read") else ""


def _read_head(reader: ByteReader) -> tuple[Header, dict[str, _Entry]]:
  """Everything before the sections."""
  header, has_metadata = _read_header(reader)
  reader.section = "metadata"
  return header, _read_metadata(reader) if has_metadata else {}


def _checked_body(data: bytes) -> bytes:
  """Everything but the checksum, once magic, version and checksum are right."""
  if data[: len(MAGIC)] != MAGIC:
    hint = "; was it transferred or saved as text?" if b"CAE" in data[:8] else ""
    raise BitstreamError(
      "magic", 0, f"not a CAE file; `cae compress` makes such files of images{hint}"
    )
  if len(data) < len(MAGIC) + 1 + _CRC_BYTES:
    raise BitstreamError("header", len(data), "the file is cut off")
  if data[len(MAGIC)] != VERSION:
    raise BitstreamError(
      "version",
      len(MAGIC),
      f"format version {data[len(MAGIC)]}, this program reads version {VERSION}; a newer"
      " cae_jax may read it",
    )
  body, stored = data[:-_CRC_BYTES], int.from_bytes(data[-_CRC_BYTES:], "little")
  if zlib.crc32(body) != stored:
    raise BitstreamError(
      "checksum", len(body), "the file is damaged: bytes were changed, cut off or added"
    )
  return body


def _read_header(reader: ByteReader) -> tuple[Header, bool]:
  start = reader.position
  flags = reader.read(1, "kind")[0]
  kind = flags & ~_METADATA_FLAG
  if kind not in set(Kind):
    raise reader.fail(f"unknown kind of image {kind}; a newer cae_jax may know it", start)
  model_id = _read_name(reader, "model id")
  model_hash = reader.read(MODEL_HASH_BYTES, "model hash")
  sides = reader.position
  height, width = reader.varint(MAX_SIDE, "height"), reader.varint(MAX_SIDE, "width")
  if not 0 < height * width <= MAX_PIXELS:
    raise reader.fail(f"{height} x {width} pixels; 1 to {MAX_PIXELS} are possible", sides)
  parameters = reader.read(reader.read(1, "size of the parameters")[0], "parameters")
  checksum = int.from_bytes(reader.read(4, "symbol checksum"), "little")
  header = Header(model_id, model_hash, Kind(kind), height, width, parameters, checksum)
  return header, bool(flags & _METADATA_FLAG)


def _read_sections(reader: ByteReader) -> tuple[bytes, ...]:
  """The last section has no length: it ends where the checksum starts."""
  reader.section = "sections"
  count = reader.varint(MAX_SECTIONS, "number of sections")
  limit = len(reader.data)
  sizes = [reader.varint(limit, f"size of section {i}") for i in range(count - 1)]
  sections = [reader.read(size, f"section {i}") for i, size in enumerate(sizes)]
  if count:
    sections.append(reader.rest())
  elif reader.position < limit:
    raise reader.fail(f"{limit - reader.position} bytes follow, but there are no sections")
  return tuple(sections)


def _pack_metadata(metadata: Mapping[str, bytes]) -> bytes:
  parts = [write_varint(len(metadata))]
  for name, value in metadata.items():
    deflated = _deflate(value)
    parts += [
      _sized(name.encode("ascii")),
      write_varint(len(value)),
      write_varint(len(deflated)),
      deflated,
    ]
  return b"".join(parts)


def _read_metadata(reader: ByteReader) -> dict[str, _Entry]:
  entries: dict[str, _Entry] = {}
  left = MAX_METADATA_BYTES
  for _ in range(reader.varint(MAX_METADATA, "number of metadata entries")):
    start = reader.position
    name = _read_name(reader, "metadata name")
    if name in entries:
      raise reader.fail(f"metadata entry {name!r} occurs twice", start)
    size = reader.varint(left, f"size of metadata {name!r}")
    left -= size
    deflated_size = reader.varint(len(reader.data), f"deflated size of metadata {name!r}")
    start = reader.position
    entries[name] = _Entry(size, reader.read(deflated_size, f"metadata {name!r}"), start)
  return entries


def _inflated(name: str, entry: _Entry) -> bytes:
  try:
    return _inflate(entry.deflated, entry.size_bytes)
  except zlib.error as error:
    message = f"metadata {name!r} does not inflate: {error}"
    raise BitstreamError("metadata", entry.offset, message) from error


def _deflate(value: bytes) -> bytes:
  """Raw deflate: the container's checksum makes zlib's own one superfluous."""
  deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
  return deflater.compress(value) + deflater.flush()


def _inflate(deflated: bytes, size: int) -> bytes:
  """Exactly `size` bytes, and never more memory than that; raises zlib.error."""
  inflater = zlib.decompressobj(-zlib.MAX_WBITS)
  value = inflater.decompress(deflated, size + 1)
  if len(value) != size or not inflater.eof or inflater.unused_data:
    raise zlib.error(f"expected {size} bytes and the end of the data")
  return value


def _sized(value: bytes) -> bytes:
  return bytes([len(value)]) + value


def is_name(name: str) -> bool:
  """Tells whether files can carry a name: 1 to 32 printable ASCII characters without spaces."""
  return 1 <= len(name) <= _MAX_NAME_BYTES and all("!" <= c <= "~" for c in name)


def _read_name(reader: ByteReader, what: str) -> str:
  start = reader.position
  name = reader.read(reader.read(1, f"size of the {what}")[0], what).decode("latin-1")
  if not is_name(name):
    raise reader.fail(f"{what} is not 1 to {_MAX_NAME_BYTES} printable ASCII characters", start)
  return name
