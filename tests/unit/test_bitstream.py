"""The container: what goes in comes out, and whatever else is an error that says where."""

import ast
import dataclasses
import pickle
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from cae_jax.coding import (
  BitstreamError,
  Header,
  Kind,
  huffman,
  pack,
  rans,
  symbol_checksum,
  tables_from_frequencies,
  unpack,
)
from cae_jax.coding.metadata import MAX_METADATA_BYTES
from cae_jax.coding.varint import write_varint

HEADER = Header("demo", bytes(range(1, 9)), Kind.RGB, 512, 768, b"\x2a")
FIRST = dataclasses.replace(HEADER, symbol_checksum=0xEC98FBD8)  # of version 1
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "format.md"


def hex_block(name):
  """The bytes of a fenced block of docs/format.md: two-digit groups at the start of each line."""
  block = re.search(rf"```hex {name}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
  assert block, f"docs/format.md has no block 'hex {name}'"
  rows = [re.match(r"(?:[0-9A-F]{2} ?\s?)+(?=\s|$)", row) for row in block[1].splitlines()]
  return b"".join(bytes.fromhex(row[0]) for row in rows if row)


def sealed(body):
  """`body` with the right checksum, to get at the checks behind it."""
  return body + zlib.crc32(body).to_bytes(4, "little")


def with_bytes(data, offset, new, removed=None):
  body = data[:-4]
  return sealed(body[:offset] + new + body[offset + (len(new) if removed is None else removed) :])


def test_a_layer_has_a_version_of_its_own():
  layered = dataclasses.replace(HEADER, has_layer=True)
  data = pack(layered, [b"tile", b"layer"])
  assert data[4] == layered.version == 4
  assert unpack(data).header == layered
  with pytest.raises(ValueError, match="with a layer does not say whether steps are finer"):
    dataclasses.replace(layered, is_finer=True)


def test_document_example():
  tables = tables_from_frequencies([[2, 9, 4, 1], [8, 4, 2, 2]], [-1, 10], 4, True)
  symbols = np.array([0, 1, 0, -1, 0, 10, 11, 5, 10, 300])
  indexes = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1, 1])
  assert rans.encode(symbols, indexes, tables) == hex_block("rans")
  assert huffman.encode(symbols, indexes, tables) == hex_block("huffman")
  assert pack(HEADER, [hex_block("rans")]) == hex_block("container")
  assert unpack(hex_block("container")).header == HEADER
  assert FIRST.symbol_checksum == symbol_checksum([symbols])
  assert pack(FIRST, [hex_block("rans")]) == hex_block("container 1")
  container = unpack(hex_block("container 1"))
  assert container.header == FIRST
  np.testing.assert_array_equal(rans.decode(container.sections[0], indexes, tables), symbols)
  np.testing.assert_array_equal(huffman.decode(hex_block("huffman"), indexes, tables), symbols)


@pytest.mark.parametrize(
  "sections", [[], [b""], [b"a"], [b"", b"bc", b""], [b"x" * 300, b"y" * 200]]
)
@pytest.mark.parametrize("metadata", [{}, {"icc": b"profile" * 100, "exif": b""}])
@pytest.mark.parametrize("header", [HEADER, FIRST], ids=["2", "1"])
def test_round_trip(header, sections, metadata):
  container = unpack(pack(header, sections, metadata))
  assert container.header == header
  assert container.sections == tuple(sections)
  assert container.metadata == metadata


@pytest.mark.parametrize("kind", Kind)
def test_every_kind(kind):
  header = dataclasses.replace(HEADER, kind=kind)
  assert unpack(pack(header, [])).header.kind is kind


def test_overhead_of_a_photograph():
  header = dataclasses.replace(HEADER, model_id="vr1")
  assert len(pack(header, [bytes(10_000)])) == 10_000 + 35


def test_metadata_is_compressed():
  assert len(pack(HEADER, [], {"icc": bytes(10_000)})) < 100


def test_symbol_checksum_is_of_little_endian_int32():
  expected = zlib.crc32(b"\x01\0\0\0\xff\xff\xff\xff\x02\0\0\0")
  assert symbol_checksum([np.array([1, -1]), np.array([[2]], ">i8")]) == expected
  assert symbol_checksum([np.array([[1, 2], [3, 4]]).T]) == symbol_checksum([[1, 3, 2, 4]])
  with pytest.raises(TypeError, match="cast"):
    symbol_checksum([np.array([0.5])])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"model_id": ""}, "model id ''"),
    ({"model_id": "größe"}, "printable ASCII"),
    ({"model_id": "x" * 33}, "1 to 32"),
    ({"model_hash": b"short"}, "model hash of 5 bytes, expected 8"),
    ({"kind": 9}, "9 is not a valid Kind"),
    ({"height": 0}, "sides must be 1 to"),
    ({"width": (1 << 24) + 1}, "sides must be 1 to"),
    ({"height": 1 << 15, "width": 1 << 14}, "more than 268435456"),
    ({"parameters": bytes(256)}, "256 bytes of parameters, at most 255"),
    ({"symbol_checksum": 1 << 32}, "not a 32-bit integer"),
  ],
)
def test_header_rejects(change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(HEADER, **change)


@pytest.mark.parametrize(
  ("sections", "metadata", "message"),
  [
    ([b""] * 4097, {}, "4097 sections, at most 4096"),
    ([], {"a b": b""}, "metadata name 'a b'"),
    ([], {str(i): b"" for i in range(17)}, "17 metadata entries"),
    ([], {"icc": bytes((1 << 24) + 1)}, "at most 16 entries of 16777216 bytes"),
  ],
)
def test_pack_rejects(sections, metadata, message):
  with pytest.raises(ValueError, match=message):
    pack(HEADER, sections, metadata)


PLAIN = pack(FIRST, [b"first", b"second"])
NEW = pack(HEADER, [b"first", b"second"])  # sizes 26 and 27, checksum of the header 28, sections 32


@pytest.mark.parametrize(
  ("data", "section", "offset", "message"),
  [
    (b"", "magic", 0, "not a CAE file"),
    (
      b"\x89PNG\r\n\x1a\n",
      "magic",
      0,
      "^not a CAE file; `cae compress` makes such files of images$",
    ),
    ("\xc1CAE".encode(), "magic", 0, "transferred or saved as text"),
    (PLAIN[:7], "header", 7, "cut off"),
    (
      PLAIN[:4] + b"\x05" + PLAIN[5:],
      "version",
      4,
      "this program reads versions 1 to 4;",
    ),
    (PLAIN[:-1], "checksum", len(PLAIN) - 5, r"changed, cut off or added \(section"),
    (
      NEW[:-1],
      "checksum",
      len(NEW) - 5,
      "added; `cae decompress --salvage` may write what is left",
    ),
    (PLAIN + b"\0", "checksum", len(PLAIN) - 3, "changed, cut off or added"),
    (PLAIN[:40] + b"!" + PLAIN[41:], "checksum", len(PLAIN) - 4, "changed"),
    (with_bytes(PLAIN, 5, b"\x07"), "header", 5, "unknown kind of image 7"),
    (with_bytes(PLAIN, 5, b"\x00"), "header", 5, "unknown kind of image 0"),
    (with_bytes(PLAIN, 6, b"\x00"), "header", 6, "model id is not"),
    (with_bytes(PLAIN, 6, b"\xff"), "header", 7, "model id needs 255 bytes"),
    (with_bytes(PLAIN, 8, b"\x80"), "header", 6, "model id is not"),
    (with_bytes(PLAIN, 19, b"\x80\x00"), "header", 19, "height is not in its shortest form"),
    (with_bytes(PLAIN, 19, b"\x00", 2), "header", 19, "0 x 768 pixels"),
    (with_bytes(PLAIN, 19, b"\xff\xff\xff\x7f", 2), "header", 19, "height is 268435455 or more"),
    (with_bytes(PLAIN, 19, b"\x80\x80\x40", 2), "header", 19, "1048576 x 768 pixels"),
    (with_bytes(PLAIN, 23, b"\xfe"), "header", 24, "parameters needs 254 bytes"),
    (with_bytes(PLAIN, 29, b"\xff\x7f", 1), "sections", 29, "number of sections is 16383 or more"),
    (
      with_bytes(PLAIN, 29, b"\x00\x00", 2),
      "sections",
      30,
      "12 bytes follow, but there are",
    ),
    (with_bytes(PLAIN, 30, b"\x0c"), "sections", 31, "section 0 needs 12 bytes, 11 are left"),
    (with_bytes(PLAIN, 30, b"\x7f"), "sections", 31, "section 0 needs 127 bytes, 11 are left"),
    (with_bytes(NEW, 26, b"\x06"), "header", 28, "the header is damaged"),
    (with_bytes(NEW, 28, b"abcd"), "header", 28, "the header is damaged"),
    (sealed(NEW[:-5]), "sections", 37, "section 1 needs 6 bytes, 5 are left"),
    (sealed(NEW[:-4] + b"!"), "sections", 43, "1 bytes follow, but there are no more sections"),
    (sealed(PLAIN[:24]), "header", 24, "parameters needs 1 bytes, 0 are left"),
  ],
)
def test_unpack_rejects(data, section, offset, message):
  with pytest.raises(BitstreamError, match=message) as error:
    unpack(data)
  assert (error.value.section, error.value.offset) == (section, offset)
  place = f" (section {section!r}, byte {offset})"
  assert str(error.value).endswith(place) == (section != "magic")


METADATA = pack(FIRST, [], {"icc": bytes(1000)})  # count 29, name 30, size 34, deflated 36
DEFLATED = METADATA[37:-5]
_MOST = write_varint(MAX_METADATA_BYTES - 999)  # beside 999


def with_deflated(new):
  return with_bytes(METADATA, 36, bytes([len(new)]) + new, 1 + len(DEFLATED))


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (with_bytes(METADATA, 29, b"\x11"), "number of metadata entries is 17"),
    (with_bytes(METADATA, 34, b"\xe7\x07"), "'icc' does not inflate: expected 999 bytes"),
    (with_bytes(METADATA, 34, b"\xe9\x07"), "'icc' does not inflate: expected 1001 bytes"),
    (with_bytes(METADATA, 34, b"\x81\x80\x80\x08", 2), "size of metadata 'icc' is 16777217"),
    (with_bytes(METADATA, 37, b"\xff\xff"), "'icc' does not inflate"),
    (with_deflated(DEFLATED + b"x"), "'icc' does not inflate: expected 1000 bytes and the end"),
    (with_deflated(DEFLATED[:-1]), "'icc' does not inflate: expected 1000 bytes and the end"),
    (with_bytes(METADATA, 29, b"\x02\x01a\x00\x02\x03\x00\x01a", 1), "'a' occurs twice"),
    (
      with_bytes(METADATA, 29, b"\x02\x01a" + _MOST + b"\x02\x03\x00", 1),
      "size of metadata 'icc' is 1000",
    ),
  ],
)
def test_unpack_rejects_metadata(data, message):
  with pytest.raises(BitstreamError, match=message) as error:
    unpack(data)
  assert error.value.section == "metadata"


def test_what_is_left_of_a_damaged_file():
  left = lambda data: unpack(data, salvage=True).sections
  assert left(NEW) == left(NEW[:-4]) == left(NEW + b"more") == (b"first", b"second")
  assert left(NEW[:33] + b"!" + NEW[34:]) == (b"f!rst", b"second")
  assert left(NEW[:40]) == (b"first", b"sec\0\0\0")
  assert left(NEW[:37]) == (b"first", b"")
  assert left(NEW[:32]) == (b"", b"")
  assert unpack(NEW[:40], salvage=True).header == HEADER
  with pytest.raises(BitstreamError, match="the file is damaged"):
    unpack(PLAIN[:-1], salvage=True)


@pytest.mark.parametrize(
  "data", [NEW[:31], NEW[:6] + b"\0" + NEW[7:], NEW[:19] + b"\x81" + NEW[20:]]
)
def test_without_a_header_there_is_nothing_left(data):
  with pytest.raises(BitstreamError, match="added; its header, too, so nothing can be rescued"):
    unpack(data)
  with pytest.raises(BitstreamError, match="the header is damaged, so nothing can be rescued"):
    unpack(data, salvage=True)


def test_a_whole_header_of_a_later_version_is_not_called_damaged():
  with pytest.raises(BitstreamError, match="unknown kind of image 7; a newer cae_jax"):
    unpack(sealed(NEW[:5] + b"\7" + NEW[6:-4]), salvage=True)


def test_a_lying_size_takes_no_memory():
  lying = pack(HEADER, [b"first"])[:-9]  # the section's size is byte 26
  head = lying[:26] + write_varint(1 << 31)
  data = head + zlib.crc32(head).to_bytes(4, "little") + b"first"
  assert unpack(data, salvage=True).sections == (b"",)


def test_errors_survive_pickling():
  error = pickle.loads(pickle.dumps(BitstreamError("rans", 7, "left over")))
  assert (error.section, error.offset, str(error)) == (
    "rans",
    7,
    "left over (section 'rans', byte 7)",
  )


@pytest.mark.parametrize(
  "path", sorted((ROOT / "cae_jax" / "coding").glob("*.py")), ids=lambda p: p.name
)
def test_the_room_imports_neither_jax_nor_other_rooms(path):
  nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
  names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
  names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
  foreign = [name for name in names if name.split(".")[0] not in sys.stdlib_module_names]
  allowed = ("numpy", "constriction", "cae_jax.coding", "cae_jax.errors")
  assert all(name.startswith(allowed) for name in foreign), foreign
