"""The container: everything a decoder must know about an image, and checksums over it.

The format is described byte by byte in docs/format.md.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import ByteReader, write_varint

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


class Kind(IntEnum):
  """What the samples are; 8 bits each. The value is the number of channels."""

  GREY = 1
  GREY_ALPHA = 2
  RGB = 3
  RGBA = 4


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
    if not _is_name(self.model_id):
      raise ValueError(
        f"model id {self.model_id!r}: expected 1 to {_MAX_NAME_BYTES} printable ASCII characters"
      )
    if len(self.model_hash) != MODEL_HASH_BYTES:
      raise ValueError(f"model hash of {len(self.model_hash)} bytes, expected {MODEL_HASH_BYTES}")
    object.__setattr__(self, "kind", Kind(self.kind))
    if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
      raise ValueError(f"{self.height} x {self.width} pixels: sides must be 1 to {MAX_SIDE}")
    if self.height * self.width > MAX_PIXELS:
      raise ValueError(
        f"{self.height} x {self.width} pixels: more than {MAX_PIXELS}; code the image in parts"
      )
    if len(self.parameters) > _MAX_PARAMETERS_BYTES:
      raise ValueError(
        f"{len(self.parameters)} bytes of parameters, at most {_MAX_PARAMETERS_BYTES} fit"
      )
    if not 0 <= self.symbol_checksum < 1 << 32:
      raise ValueError(f"symbol checksum {self.symbol_checksum} is not a 32-bit integer")


@dataclass(frozen=True)
class Container:
  """The content of a file: header, the coders' sections, and metadata such as "icc" or "exif"."""

  header: Header
  sections: tuple[bytes, ...]
  metadata: Mapping[str, bytes] = field(default_factory=dict)


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
    metadata: at most 16 entries by name (as a model id), of at most 2^24 bytes in all.
  Returns:
    The whole file. For one section and no metadata its overhead is 25 bytes, the model id, the
    parameters, and two varints of the image's sides (2 bytes each from 128 to 16383 pixels).
  Raises:
    ValueError: too many sections, or metadata out of bounds.
  """
  if len(sections) > MAX_SECTIONS:
    raise ValueError(f"{len(sections)} sections, at most {MAX_SECTIONS} fit")
  body = b"".join(
    [
      MAGIC,
      bytes([VERSION, header.kind | (_METADATA_FLAG if metadata else 0)]),
      _sized(header.model_id.encode("ascii")),
      header.model_hash,
      write_varint(header.height),
      write_varint(header.width),
      _sized(header.parameters),
      header.symbol_checksum.to_bytes(4, "little"),
      _pack_metadata(metadata) if metadata else b"",
      write_varint(len(sections)),
      *(write_varint(len(section)) for section in sections[:-1]),
      *sections,
    ]
  )
  return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def unpack(data: bytes) -> Container:
  """Reads a container: the inverse of `pack`.

  Raises:
    BitstreamError: any byte is wrong, missing or extra, or the format is another or a newer one.
  """
  body = _checked_body(bytes(data))
  reader = ByteReader(body, "header", len(MAGIC) + 1)
  header, has_metadata = _read_header(reader)
  reader.section = "metadata"
  metadata = _read_metadata(reader) if has_metadata else {}
  reader.section = "sections"
  return Container(header, _read_sections(reader), metadata)


def _checked_body(data: bytes) -> bytes:
  """Everything but the checksum, once magic, version and checksum are right."""
  if data[: len(MAGIC)] != MAGIC:
    hint = "; was it transferred or saved as text?" if b"CAE" in data[:8] else ""
    raise BitstreamError(
      "magic", 0, f"not a CAE file: expected {MAGIC!r}, got {data[: len(MAGIC)]!r}{hint}"
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
  total = sum(len(value) for value in metadata.values())
  if len(metadata) > MAX_METADATA or total > MAX_METADATA_BYTES:
    raise ValueError(
      f"{len(metadata)} metadata entries of {total} bytes; at most {MAX_METADATA} entries of"
      f" {MAX_METADATA_BYTES} bytes in all fit"
    )
  parts = [write_varint(len(metadata))]
  for name, value in metadata.items():
    if not _is_name(name):
      raise ValueError(
        f"metadata name {name!r}: expected 1 to {_MAX_NAME_BYTES} printable ASCII characters"
      )
    deflated = _deflate(value)
    parts += [
      _sized(name.encode("ascii")),
      write_varint(len(value)),
      write_varint(len(deflated)),
      deflated,
    ]
  return b"".join(parts)


def _read_metadata(reader: ByteReader) -> dict[str, bytes]:
  metadata: dict[str, bytes] = {}
  left = MAX_METADATA_BYTES
  for _ in range(reader.varint(MAX_METADATA, "number of metadata entries")):
    start = reader.position
    name = _read_name(reader, "metadata name")
    if name in metadata:
      raise reader.fail(f"metadata entry {name!r} occurs twice", start)
    size = reader.varint(left, f"size of metadata {name!r}")
    left -= size
    deflated_size = reader.varint(len(reader.data), f"deflated size of metadata {name!r}")
    start = reader.position
    try:
      metadata[name] = _inflate(reader.read(deflated_size, f"metadata {name!r}"), size)
    except zlib.error as error:
      raise reader.fail(f"metadata {name!r} does not inflate: {error}", start) from error
  return metadata


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


def _is_name(name: str) -> bool:
  return 1 <= len(name) <= _MAX_NAME_BYTES and all("!" <= c <= "~" for c in name)


def _read_name(reader: ByteReader, what: str) -> str:
  start = reader.position
  name = reader.read(reader.read(1, f"size of the {what}")[0], what).decode("latin-1")
  if not _is_name(name):
    raise reader.fail(f"{what} is not 1 to {_MAX_NAME_BYTES} printable ASCII characters", start)
  return name
