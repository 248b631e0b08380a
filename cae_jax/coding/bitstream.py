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
from cae_jax.coding.metadata import (
  Entry,
  check_metadata,
  inflated,
  read_metadata,
  write_metadata,
)
from cae_jax.coding.names import MAX_NAME_BYTES, is_name, read_name, write_name
from cae_jax.coding.varint import ByteReader, BytesLike, write_varint
from cae_jax.errors import UsageError

MAGIC = b"\xc1CAE"  # 0xC1 occurs in no text, be it ASCII or UTF-8
VERSION = 4
MAX_SIDE = 1 << 24  # pixels
MAX_PIXELS = 1 << 28
MAX_SECTIONS = 1 << 12
MODEL_HASH_BYTES = 8
_FIRST_VERSION = 1  # its files are read, see `Header.symbol_checksum`
_COMMON_VERSION = 2  # of all files but those that need what a later one added, see `Header`
_FINER_VERSION = 3
_MAX_PARAMETERS_BYTES = 255
_METADATA_FLAG = 0x80
_CRC_BYTES = 4
_MAX_SECTION_BYTES = 1 << 32
_LARGEST_PADDED = 1 << 26  # bytes; no larger section is filled up where a file was cut off

_DAMAGED = "the file is damaged: bytes were changed, cut off or added"

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
    symbol_checksum: of all symbols, see `symbol_checksum`; only of files of version 1. In later
      ones (None) each section has its own.
    is_finer: whether the parameters are a rate of finer steps, which is what version 3 added.
    has_layer: whether the last section is a drawn layer, which is what version 4 added; its rates
      are those of both versions before it, and `is_finer` is False.
  """

  model_id: str
  model_hash: bytes
  kind: Kind
  height: int
  width: int
  parameters: bytes = b""
  symbol_checksum: int | None = None
  is_finer: bool = False
  has_layer: bool = False

  def __post_init__(self):
    if not is_name(self.model_id):
      raise UsageError(
        f"model id {self.model_id!r}: expected 1 to {MAX_NAME_BYTES} printable ASCII characters"
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
    if self.symbol_checksum is not None and not 0 <= self.symbol_checksum < 1 << 32:
      raise ValueError(f"symbol checksum {self.symbol_checksum} is not a 32-bit integer")
    if self.has_layer and self.is_finer:
      raise ValueError("a header with a layer does not say whether steps are finer")

  @property
  def version(self) -> int:
    """Of the format: the first one that has such files."""
    if self.symbol_checksum is not None:
      return _FIRST_VERSION
    if self.has_layer:
      return VERSION
    return _FINER_VERSION if self.is_finer else _COMMON_VERSION


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
    parameters, the size of the section, and two varints of the image's sides (2 bytes each from 128
    to 16383 pixels).
  Raises:
    UsageError: the metadata are out of bounds.
    ValueError: too many sections.
  """
  entries = check_metadata(metadata)
  if len(sections) > MAX_SECTIONS:
    raise ValueError(f"{len(sections)} sections, at most {MAX_SECTIONS} fit")
  checksum = header.symbol_checksum
  sizes = [write_varint(len(section)) for section in sections]
  head = b"".join(
    [
      MAGIC,
      bytes([header.version, header.kind | (_METADATA_FLAG if entries else 0)]),
      write_name(header.model_id),
      header.model_hash,
      write_varint(header.height),
      write_varint(header.width),
      bytes([len(header.parameters)]),
      header.parameters,
      b"" if checksum is None else checksum.to_bytes(_CRC_BYTES, "little"),
      write_metadata(entries) if entries else b"",
      write_varint(len(sections)),
      *(sizes if checksum is None else sizes[:-1]),
    ]
  )
  body = b"".join([head, _crc(head) if checksum is None else b"", *sections])
  return body + _crc(body)


def _crc(data: bytes) -> bytes:
  return zlib.crc32(data).to_bytes(_CRC_BYTES, "little")


def unpack(data: BytesLike, *, salvage: bool = False) -> Container:
  """Reads a container: the inverse of `pack`.

  Args:
    data: the whole file.
    salvage: reads what is left of a damaged file. Its header must be whole; of the sections, bytes
      may be wrong, and those that are missing become zeros, or the section empty.
  Raises:
    BitstreamError: any byte is wrong, missing or extra, or the format is another or a newer one.
    UsageError: the argument does not hold bytes.
  """
  file = _as_bytes(data)
  reader = _reader(file, salvage)
  try:
    head = _read_head(reader)
  except BitstreamError as error:
    if not salvage or _is_whole(file):
      raise
    raise BitstreamError(
      "header", error.offset, "the header is damaged, so nothing can be rescued"
    ) from error
  metadata = {name: inflated(name, entry) for name, entry in head.metadata.items()}
  return Container(head.header, _sections(head, salvage), metadata, len(file))


def outline(data: BytesLike) -> Outline:
  """Reads what a file says of its content; raises as `unpack`, but inflates no metadata."""
  file = _as_bytes(data)
  head = _read_head(_reader(file, salvage=False))
  metadata_bytes = {name: entry.size_bytes for name, entry in head.metadata.items()}
  return Outline(
    head.header, len(file), tuple(map(len, _sections(head, salvage=False))), metadata_bytes
  )


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


class _Head(NamedTuple):
  """Everything before the sections.

  Attributes:
    header: of the image.
    metadata: by name.
    sizes: of the sections, in bytes; None of the last one in version 1: it has what is left.
    rest: what follows.
  """

  header: Header
  metadata: dict[str, Entry]
  sizes: list[int | None]
  rest: ByteReader


def _read_head(reader: ByteReader) -> _Head:
  header, has_metadata = _read_header(reader)
  reader.section = "metadata"
  metadata = read_metadata(reader) if has_metadata else {}
  reader.section = "sections"
  count = reader.varint(MAX_SECTIONS, "number of sections")
  last_is_open = header.version == _FIRST_VERSION and count > 0
  sizes: list[int | None] = [
    reader.varint(_MAX_SECTION_BYTES, f"size of section {i}") for i in range(count - last_is_open)
  ]
  if header.version > _FIRST_VERSION:
    start = reader.position
    checksum = reader.read(_CRC_BYTES, "checksum of the header")
    if checksum != _crc(reader.data[:start]):
      raise BitstreamError("header", start, "the header is damaged; nothing can be read")
  return _Head(header, metadata, sizes + [None] * last_is_open, reader)


def _sections(head: _Head, salvage: bool) -> tuple[bytes, ...]:
  reader = head.rest
  if salvage:
    return tuple(_what_is_left(reader, size) for size in head.sizes)
  sections = [
    reader.rest() if size is None else reader.read(size, f"section {i}")
    for i, size in enumerate(head.sizes)
  ]
  left = len(reader.data) - reader.position
  if left:
    raise reader.fail(f"{left} bytes follow, but there are no more sections")
  return tuple(sections)


def _what_is_left(reader: ByteReader, size: int | None) -> bytes:
  left = len(reader.data) - reader.position
  if size is None or size <= left:
    return reader.rest() if size is None else reader.read(size, "section")
  part = reader.rest()
  return part.ljust(size, b"\0") if part and size <= _LARGEST_PADDED else b""


def _reader(file: bytes, salvage: bool) -> ByteReader:
  """Of what follows the version; all of it is as it was written, unless it is to be salvaged."""
  version = _checked_version(file)
  body, start = file[:-_CRC_BYTES], len(MAGIC) + 1
  if salvage and version > _FIRST_VERSION:
    body = file  # where it was cut off, its last bytes are no checksum
  elif not _is_whole(file):
    way_out = _way_out(ByteReader(file, "header", start)) if version > _FIRST_VERSION else ""
    raise BitstreamError("checksum", len(body), _DAMAGED + way_out)
  return ByteReader(body, "header", start)


def _is_whole(file: bytes) -> bool:
  return _crc(file[:-_CRC_BYTES]) == file[-_CRC_BYTES:]


def _way_out(damaged: ByteReader) -> str:
  try:
    _read_head(damaged)
  except BitstreamError:
    return "; its header, too, so nothing can be rescued"
  return "; `cae decompress --salvage` may write what is left"


def _checked_version(data: bytes) -> int:
  if data[: len(MAGIC)] != MAGIC:
    hint = "; was it transferred or saved as text?" if b"CAE" in data[:8] else ""
    raise BitstreamError(
      "magic", 0, f"not a CAE file; `cae compress` makes such files of images{hint}"
    )
  if len(data) < len(MAGIC) + 1 + _CRC_BYTES:
    raise BitstreamError("header", len(data), "the file is cut off")
  version = data[len(MAGIC)]
  if not _FIRST_VERSION <= version <= VERSION:
    raise BitstreamError(
      "version",
      len(MAGIC),
      f"format version {version}, this program reads versions {_FIRST_VERSION} to {VERSION}; a"
      " newer cae_jax may read it",
    )
  return version


def _read_header(reader: ByteReader) -> tuple[Header, bool]:
  start = reader.position
  flags = reader.read(1, "kind")[0]
  kind = flags & ~_METADATA_FLAG
  if kind not in set(Kind):
    raise reader.fail(f"unknown kind of image {kind}; a newer cae_jax may know it", start)
  model_id = read_name(reader, "model id")
  model_hash = reader.read(MODEL_HASH_BYTES, "model hash")
  sides = reader.position
  height, width = reader.varint(MAX_SIDE, "height"), reader.varint(MAX_SIDE, "width")
  if not 0 < height * width <= MAX_PIXELS:
    raise reader.fail(f"{height} x {width} pixels; 1 to {MAX_PIXELS} are possible", sides)
  parameters = reader.read(reader.read(1, "size of the parameters")[0], "parameters")
  version, checksum = reader.data[len(MAGIC)], None
  if version == _FIRST_VERSION:
    checksum = int.from_bytes(reader.read(_CRC_BYTES, "symbol checksum"), "little")
  header = Header(
    model_id,
    model_hash,
    Kind(kind),
    height,
    width,
    parameters,
    checksum,
    is_finer=version == _FINER_VERSION,
    has_layer=version == VERSION,
  )
  return header, bool(flags & _METADATA_FLAG)
