"""Blocks of metadata (ICC profile, EXIF, XMP), read only as far as needed and never trusted."""

import dataclasses
import re
import struct
from typing import Any

from PIL import ExifTags, Image

# EXIF blocks are small TIFF files. These of the tags of a TIFF file speak of the picture, most
# others of how its samples lie in the file.
DESCRIPTIVE_TAGS = frozenset(
  {
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model,
    ExifTags.Base.XResolution, ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist,
    ExifTags.Base.HostComputer, ExifTags.Base.Rating, ExifTags.Base.RatingPercent,
    ExifTags.Base.Copyright, ExifTags.Base.XPTitle, ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor, ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject,
    ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo,
  }
)  # fmt: skip
# Names of blocks, as arguments and in Pillow, with those that .cae files give them.
NAMES = {"icc_profile": "icc", "exif": "exif", "xmp": "xmp"}
XMP_TAG = 700
_EXIF_PREFIX = b"Exif\0\0"
_ENTRY_BYTES = 12
_POINTER_BYTES = 4  # to the next directory, after the entries
_INTEGERS = {3: "H", 4: "I"}
_PROFILE_SPACES = {b"GRAY": "grey", b"RGB ": "RGB", b"CMYK": "CMYK", b"Lab ": "Lab"}
_PICTURE_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="([1-8])"|>([1-8])</tiff:Orientation)')


def profile_fault(profile: bytes, space: str) -> str | None:
  """Says why an ICC profile does not fit pixels; None if it does.

  Args:
    profile: the block.
    space: of the pixels, "grey", "RGB" or "CMYK".
  """
  if len(profile) < 132 or profile[36:40] != b"acsp" or profile[12:16] not in _PICTURE_CLASSES:
    return "unreadable ICC profile"
  found = _PROFILE_SPACES.get(profile[16:20], "another kind")
  return None if found == space else f"ICC profile for {found}, which does not fit {space} pixels"


@dataclasses.dataclass(frozen=True)
class Exif:
  """An EXIF block whose first directory can be read, without its orientation.

  Attributes:
    block: the bytes, beginning with "Exif".
    tags: of the first directory.
    orientation: 1 to 8; None if the block did not say it.
  """

  block: bytes
  tags: frozenset[int]
  orientation: int | None


def read_exif(block: bytes) -> Exif | None:
  """Reads a block, with or without "Exif" before it; None if it is no EXIF.

  The orientation is taken out; all else stays where it is, byte for byte.
  """
  body = bytearray(block.removeprefix(_EXIF_PREFIX).removeprefix(_EXIF_PREFIX))
  order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(body[:4]))
  if order is None:
    return None
  try:
    (start,) = struct.unpack_from(f"{order}I", body, 4)
    (count,) = struct.unpack_from(f"{order}H", body, start)
    places = [start + 2 + _ENTRY_BYTES * i for i in range(count)]
    kinds = {place: struct.unpack_from(f"{order}HHI", body, place) for place in places}
    orientation = None
    for place, (tag, kind, _) in kinds.items():
      if tag == ExifTags.Base.Orientation and kind in _INTEGERS:
        (value,) = struct.unpack_from(order + _INTEGERS[kind], body, place + 8)
        orientation = value if 1 <= value <= 8 else 1
    end = start + 2 + _ENTRY_BYTES * count + _POINTER_BYTES
    rest = [place for place in places if kinds[place][0] != ExifTags.Base.Orientation]
    entries = b"".join(body[place : place + _ENTRY_BYTES] for place in rest)
    directory = struct.pack(f"{order}H", len(rest)) + entries + body[end - _POINTER_BYTES : end]
    body[start:end] = directory.ljust(len(body[start:end]), b"\0")
  except struct.error:
    return None
  tags = frozenset(kinds[place][0] for place in rest)
  return Exif(_EXIF_PREFIX + bytes(body), tags, orientation)


def descriptive(tags: Image.Exif) -> dict[int, Any]:
  """Returns the tags of a TIFF file or EXIF block that describe the picture; IFDs as dicts."""
  kept: dict[int, Any] = {tag: tags[tag] for tag in DESCRIPTIVE_TAGS & set(tags)}
  for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
    if tag in kept:
      kept[tag] = dict(tags.get_ifd(tag))
  if ExifTags.IFD.Interop in kept.get(ExifTags.IFD.Exif, {}):
    kept[ExifTags.IFD.Exif][ExifTags.IFD.Interop] = dict(tags.get_ifd(ExifTags.IFD.Interop))
  return kept


def exif_of_tiff(tags: Image.Exif) -> bytes | None:
  """Makes an EXIF block of the tags of a TIFF file that speak of the picture; None without any."""
  block = Image.Exif()
  block.update(descriptive(tags))
  return block.tobytes() if len(block) else None


def tags_for_tiff(exif: bytes | None, xmp: bytes | None) -> dict[int, Any]:
  """Returns EXIF and XMP as the tags of a TIFF file, without those on how samples are stored."""
  tags = Image.Exif()
  if exif is not None:
    tags.load(exif)
  return descriptive(tags) | ({XMP_TAG: xmp} if xmp is not None else {})


def orientation_note(orientation: int) -> str:
  """Says that an image was turned upright."""
  return f"EXIF orientation {orientation} applied"


def xmp_orientation(xmp: bytes) -> int:
  """Returns the orientation, 1 to 8; 1 if XMP says nothing."""
  found = _XMP_ORIENTATION.search(xmp)
  return int(found[1] or found[2]) if found else 1


def upright_xmp(xmp: bytes) -> bytes:
  """Returns the same XMP with orientation 1."""
  return _XMP_ORIENTATION.sub(lambda found: found[0].replace(found[1] or found[2], b"1"), xmp)
