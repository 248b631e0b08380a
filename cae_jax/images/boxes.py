"""What the boxes of AVIF, HEIF and JPEG 2000 files say of pixels and Pillow does not pass on."""

import dataclasses
import struct
from collections.abc import Iterator

from cae_jax.images.pixels import ImageError

_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"
# Of JPEG 2000: bilevel (two ways), CMYK, sRGB, grey, sYCC.
_SYCC = 18
_JP2_SPACES = (0, 15, 12, 16, 17, _SYCC)


@dataclasses.dataclass
class Facts:
  """What boxes say.

  Attributes:
    bits: of a sample.
    cicp: primaries and transfer (ITU-T H.273); None if they are not said.
    icc_profile, exif, xmp: blocks that Pillow does not read.
    is_grey: there are no colours.
    is_ycc: colours are YCbCr, which Pillow makes RGB.
    is_cropped: a part of the decoded picture is to be shown.
    lost: what else there is, in words, each as often as it is there.
  """

  bits: int = 8
  cicp: tuple[int, int] | None = None
  icc_profile: bytes | None = None
  exif: bytes | None = None
  xmp: bytes | None = None
  is_grey: bool = False
  is_ycc: bool = False
  is_cropped: bool = False
  lost: list[str] = dataclasses.field(default_factory=list)


def heif_facts(data: bytes) -> Facts:
  """Reads what an AVIF or HEIF file says of its primary image."""
  facts = Facts()
  for kind, content in _primary_properties(data):
    if kind == b"pixi" and len(content) > 5:
      facts.bits = max(content[5 : 5 + content[4]])
    elif kind == b"av1C" and len(content) > 2:
      high, twelve, monochrome = (content[2] & bit for bit in (0x40, 0x20, 0x10))
      facts.bits = max(facts.bits, (12 if twelve else 10) if high else 8)
      facts.is_grey = bool(monochrome)
    elif kind == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
      facts.cicp = struct.unpack_from(">HH", content, 4)
    elif kind == b"clap":
      facts.is_cropped = True
  if b"tmap" in _brands(data) or b"hdrgainmap" in b"".join(_inside(data, b"meta")):
    facts.lost.append("HDR gain map")
  return facts


def without_exif(data: bytes) -> bytes | None:
  """Gives the EXIF item of an AVIF or HEIF file a name that nobody knows; None if there is none."""
  for meta in _inside(data, b"meta"):
    hidden = meta.replace(b"Exif", b"exif")
    if hidden != meta:
      return data.replace(meta, hidden, 1)
  return None


def jp2_facts(data: bytes) -> Facts:
  """Reads what a JPEG 2000 file says, with or without boxes.

  Raises:
    ImageError: colours that Pillow would give as if they were RGB.
  """
  facts = Facts()
  codestream = data
  if data.startswith(_JP2_SIGNATURE):
    for kind, content in _boxes(data):
      if kind == b"jp2h":
        _read_jp2_header(facts, content)
      elif kind == b"jp2c":
        codestream = content
      elif kind == b"uuid" and content[:16] == _XMP_UUID:
        facts.xmp = content[16:]
      elif kind == b"uuid" and content[:16] == _EXIF_UUID:
        facts.exif = content[16:]
      elif kind in (b"uuid", b"xml "):
        facts.lost.append("boxes of metadata")
  if codestream.startswith(_CODESTREAM) and len(codestream) > 42:
    count = int.from_bytes(codestream[40:42], "big")
    facts.bits = max((byte & 0x7F) + 1 for byte in codestream[42 : 42 + 3 * count : 3])
  return facts


def is_heic(data: bytes) -> bool:
  """Says whether these are the bytes of an HEIF file that AVIF's reader does not take."""
  brands = _brands(data)
  return bool(brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1"}) and not (
    brands & {b"avif", b"avis"}
  )


def _read_jp2_header(facts: Facts, header: bytes) -> None:
  for kind, content in _boxes(header):
    if kind != b"colr" or len(content) < 3:
      continue
    method, value = content[0], content[3:]
    if method in (2, 3):
      facts.icc_profile = value
    elif method == 5 and len(value) >= 4:
      facts.cicp = struct.unpack_from(">HH", value)
    elif method == 1:
      space = int.from_bytes(value[:4], "big")
      facts.is_ycc = space == _SYCC
      if space in _JP2_SPACES:
        continue
      raise ImageError(
        f"JPEG 2000 of colour space {space}; expected sRGB, sYCC, grey, CMYK or an ICC profile"
      )


def _brands(data: bytes) -> set[bytes]:
  if data[4:8] != b"ftyp":
    return set()
  content = data[8 : min(int.from_bytes(data[:4], "big"), 512)]
  return {content[:4]} | {content[i : i + 4] for i in range(8, len(content) - 3, 4)}


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Kind and content of every box; ends where there are no more whole ones."""
  start = 0
  while len(data) - start >= 8:
    size, kind = struct.unpack_from(">I4s", data, start)
    head = 8
    if size == 1 and len(data) - start >= 16:
      size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
    elif size == 0:
      size = len(data) - start
    if size < head or size > len(data) - start:
      return
    yield kind, data[start + head : start + size]
    start += size


def _inside(data: bytes, *path: bytes) -> Iterator[bytes]:
  """The content of all boxes at the end of a path of kinds."""
  for kind, content in _boxes(data):
    if kind == path[0]:
      if len(path) == 1:
        yield content
      else:
        yield from _inside(content[4:] if kind == b"meta" else content, *path[1:])


def _primary_properties(data: bytes) -> list[tuple[bytes, bytes]]:
  """Kind and content of the properties of the primary image; all there are if it is not known."""
  properties = [box for found in _inside(data, b"meta", b"iprp", b"ipco") for box in _boxes(found)]
  primary = next(_inside(data, b"meta", b"pitm"), b"")
  identity = int.from_bytes(primary[4 : 8 if primary[:1] != b"\0" else 6], "big")
  try:
    indexes = [
      index
      for table in _inside(data, b"meta", b"iprp", b"ipma")
      for item, index in _associations(table)
      if item == identity
    ]
  except (struct.error, IndexError):
    indexes = []
  return [properties[i - 1] for i in indexes if 1 <= i <= len(properties)] or properties


def _associations(table: bytes) -> Iterator[tuple[int, int]]:
  """Item and number (from 1) of its property, for every pair of an ipma box."""
  wide_items, wide_indexes = table[0] >= 1, table[3] & 1
  (count,) = struct.unpack_from(">I", table, 4)
  at = 8
  for _ in range(count):
    item, uses = struct.unpack_from(">IB" if wide_items else ">HB", table, at)
    at += 5 if wide_items else 3
    for _ in range(uses):
      (index,) = struct.unpack_from(">H" if wide_indexes else ">B", table, at)
      at += 2 if wide_indexes else 1
      yield item, index & (0x7FFF if wide_indexes else 0x7F)
