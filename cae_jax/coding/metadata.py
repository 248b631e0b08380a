"""Metadata of a file, such as a colour profile: named entries, deflated."""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.names import MAX_NAME_BYTES, is_name, read_name, write_name
from cae_jax.coding.varint import ByteReader, BytesLike, write_varint
from cae_jax.errors import UsageError

MAX_METADATA = 16  # entries
MAX_METADATA_BYTES = 1 << 24  # of all entries, inflated


class Entry(NamedTuple):
  """One as it is in a file.

  Attributes:
    size_bytes: of the inflated value.
    deflated: the value, raw deflate.
    offset: of `deflated` in the file.
  """

  size_bytes: int
  deflated: bytes
  offset: int


def check_metadata(metadata: Mapping[str, BytesLike] | None) -> dict[str, bytes]:
  """Makes sure that metadata fit into a file.

  Args:
    metadata: at most 16 entries by name (as a model id), of at most 2^24 bytes in all.
  Raises:
    UsageError: they do not, or are of another type.
  """
  if not isinstance(metadata, Mapping | None):
    found = type(metadata).__name__
    raise UsageError(f"metadata: expected a mapping of names to bytes, got {found}")
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
      f"metadata name {name!r}: expected 1 to {MAX_NAME_BYTES} printable ASCII characters"
    )
  return name


def _checked_value(name: str, value: BytesLike) -> bytes:
  if not isinstance(value, BytesLike):
    raise UsageError(f"metadata {name!r}: expected bytes, got {type(value).__name__}")
  return bytes(value)


def write_metadata(metadata: Mapping[str, bytes]) -> bytes:
  """Returns the number of entries, then of each name, both sizes and the deflated value."""
  parts = [write_varint(len(metadata))]
  for name, value in metadata.items():
    deflated = _deflate(value)
    parts += [
      write_name(name),
      write_varint(len(value)),
      write_varint(len(deflated)),
      deflated,
    ]
  return b"".join(parts)


def read_metadata(reader: ByteReader) -> dict[str, Entry]:
  """Reads what `write_metadata` wrote, but inflates nothing; raises BitstreamError."""
  entries: dict[str, Entry] = {}
  left = MAX_METADATA_BYTES
  for _ in range(reader.varint(MAX_METADATA, "number of metadata entries")):
    start = reader.position
    name = read_name(reader, "metadata name")
    if name in entries:
      raise reader.fail(f"metadata entry {name!r} occurs twice", start)
    size = reader.varint(left, f"size of metadata {name!r}")
    left -= size
    deflated_size = reader.varint(len(reader.data), f"deflated size of metadata {name!r}")
    start = reader.position
    entries[name] = Entry(size, reader.read(deflated_size, f"metadata {name!r}"), start)
  return entries


def inflated(name: str, entry: Entry) -> bytes:
  """Returns the value of an entry; raises BitstreamError if it is another size than it says."""
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
