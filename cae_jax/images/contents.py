"""What image files hold besides the samples, format by format."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from cae_jax.images import boxes, jpeg, metadata, png, srgb
from cae_jax.images.pixels import ImageError

# TIFF: how samples lie in the file, and what Pillow reads itself.
_STRUCTURAL_TAGS = frozenset(
  {
    *range(254, 267), 273, 274, 277, 278, 279, 280, 281, 284, 285, 288, 289, 290, 291, 292, 293,
    297, 317, *range(320, 339), 339, 340, 341, *range(343, 348), *range(512, 522), 529, 530, 531,
    532, 559, 34675, metadata.XMP_TAG,
  }
)  # fmt: skip
_COLOUR_TAGS = frozenset({301, 318, 319, 342})
_COLOUR_MAP = 320
_DEEP_PNG = re.compile(rb"IHDR.{8}\x10", re.DOTALL)
_JPEG_SEGMENTS = {
  b"JFIF": None,
  b"JFXX": None,  # a thumbnail
  b"Adobe": None,
  jpeg.HIDDEN_EXIF: None,
  b"http://ns.adobe.com/xap/1.0/\0": None,
  b"ICC_PROFILE\0": None,
  b"MPF\0": None,  # the other frames
  b"http://ns.adobe.com/xmp/extension/\0": "the rest of a long XMP",
  b"Photoshop 3.0\0": "Photoshop's data",
}
_NAMED = 8  # of many that are lost
_USUAL_DPI = (72, 96)  # what programs write where nobody has asked
_OPENJPEG = b"Created by OpenJPEG"
# Formats that are not read: Pillow can only call other programs for them, or cannot show them.
REFUSED = {
  "EPS": "a drawing; render it to PNG first",
  "WMF": "a drawing; render it to PNG first",
  "BUFR": "data, not a picture",
  "GRIB": "data, not a picture",
  "HDF5": "data, not a picture",
  "MPEG": "a film; take a frame of it first",
}


class Cut(NamedTuple):
  """What of the pixels gets lost on reading.

  Attributes:
    note: says so.
    way_out: says what to do so that nothing is lost.
  """

  note: str
  way_out: str


FLOATING = "floating-point pixels; convert the file to 8 or 16 bits first"
SIGNED = "signed or 32-bit integers; convert the file to 8 or 16 bits first"
EXTRA_CHANNELS = Cut(
  "left out: extra channels",
  "extra channels; leave them out first, or say in the file that one is alpha (ExtraSamples 2)",
)


@dataclasses.dataclass
class Contents:
  """What a file holds besides the samples.

  Attributes:
    bits: of a sample.
    colours: what samples mean if that is said by numbers; None for sRGB or as the profile says.
    transparent: the transparent colour, as one or three samples of `bits` bits.
    icc_profile, exif, xmp: blocks, unchecked.
    has_byte_pairs: channels are the high and low bytes of 16-bit samples, in turn.
    is_grey: there are no colours, even if Pillow gives three channels.
    is_inverted: 0 is white, and Pillow does not know.
    is_upright: the orientation is applied already.
    is_premultiplied: colours are multiplied by alpha.
    xmp_turns: the orientation is that of XMP where EXIF says none.
    cuts: what of the pixels is lost; exact reading refuses them.
    lost: names of what of the rest the result will not hold, each as often as it is there.
    notes: what else to say.
  """

  bits: int = 8
  colours: srgb.Colours | None = None
  transparent: tuple[int, ...] | None = None
  icc_profile: bytes | None = None
  exif: bytes | None = None
  xmp: bytes | None = None
  has_byte_pairs: bool = False
  is_grey: bool = False
  is_inverted: bool = False
  is_upright: bool = False
  is_premultiplied: bool = False
  xmp_turns: bool = True
  cuts: list[Cut] = dataclasses.field(default_factory=list)
  lost: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)


def listed(words: Iterable[str]) -> str:
  """Puts words into a list, each once, of which no more than the first few are named."""
  different = list(dict.fromkeys(words))
  more = len(different) - _NAMED
  return ", ".join(different[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def of_png(chunks: png.Png) -> Contents:
  """Reads the contents of a PNG file; cICP counts before a profile, and that before the rest.

  Raises:
    ImageError: the samples do not use their whole range.
  """
  if chunks.cicp is not None and not chunks.cicp[3]:
    raise ImageError("samples of narrow range (cICP); convert the file to full range first")
  contents = Contents(
    bits=chunks.bits,
    transparent=chunks.transparent,
    has_byte_pairs=chunks.has_byte_pairs,
    icc_profile=chunks.icc_profile,
    exif=chunks.exif,
    xmp=chunks.xmp,
    lost=list(chunks.lost),
  )
  colours = srgb.from_cicp(*chunks.cicp[:2]) if chunks.cicp else None
  if chunks.cicp is None and not chunks.is_srgb:
    colours = srgb.from_png(chunks.gamma, chunks.chromaticities)
  if chunks.icc_profile is None or (colours is not None and colours.code_points is not None):
    contents.colours = colours
  _lose_resolution(contents, chunks.dpi)
  if chunks.frames > 1:
    contents.cuts.append(first_frame(chunks.frames))
  return contents


def first_frame(count: int | None) -> Cut:
  """Says that only the first of some frames is read; None: nobody knows how many there are."""
  number = "several" if count is None else f"{count}"
  return Cut(
    f"first frame of {number}", f"{number} frames; save each as an image file of its own first"
  )


def of(image: Image.Image, data: bytes) -> Contents:
  """Reads the contents of a file of any other format, opened but not loaded.

  Raises:
    ImageError: what Pillow would read is not what the file shows.
  """
  if image.format in REFUSED:
    raise ImageError(f"{image.format}, {REFUSED[image.format]}")
  contents = Contents()
  for name in metadata.NAMES:
    value = image.info.get(name)
    setattr(contents, name, value if isinstance(value, bytes) else None)
  read = _FORMATS.get(image.format or "")
  if read is None:
    unchecked = "without a check of its depth and colours"
    contents.cuts.append(
      Cut(
        f"{image.format} as Pillow reads it, {unchecked}",
        f"{image.format}, which is read {unchecked}; make a PNG file of it first",
      )
    )
  else:
    read(contents, image, data)
  if "comment" in image.info and not _is_openjpeg(image.info["comment"]):
    contents.lost.append("comment")
  return contents


def _jpeg(contents: Contents, image: Any, data: bytes) -> None:
  if "icc_profile" in image.info and contents.icc_profile is None:
    contents.lost.append("incomplete ICC profile")
  for name, segment in image.applist:
    word = next((w for start, w in _JPEG_SEGMENTS.items() if segment.startswith(start)), name)
    if word is not None and word != "COM":
      contents.lost.append(word)
  _lose_resolution(contents, image.info.get("dpi"))


def _tiff(contents: Contents, image: Any, data: bytes) -> None:
  tags = image.tag_v2
  read_tiff_tags(contents, tags, image.getexif, data)
  # What Pillow reads wrong: the numbers of bytes of planes, and white as 0 in more than 8 bits.
  in_planes = tags.get(ExifTags.Base.PlanarConfiguration, 1) == 2
  is_packed = tags.get(ExifTags.Base.Compression, 1) != 1
  if in_planes and (image.mode == "LA" or (contents.bits > 8 and not is_packed)):
    raise ImageError("planes of samples; convert the file to samples side by side first")
  white_is_0 = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
  contents.is_inverted = white_is_0 and contents.bits > 8
  if any(value % 257 and value % 256 for value in tags.get(_COLOUR_MAP, ())):
    contents.cuts.append(
      Cut("palette of 16 bits reduced to 8", "a palette of 16 bits; convert the file to RGB first")
    )


def read_tiff_tags(
  contents: Contents, tags: Mapping[int, Any], exif: Callable[[], Image.Exif], data: bytes
) -> None:
  """Reads what the tags of a TIFF file say, whoever reads its samples.

  Args:
    contents: to be filled.
    tags: of the first directory.
    exif: reads the same as EXIF, if it can.
    data: the file.
  Raises:
    ImageError: samples that are none of a picture, or that nobody reads right.
  """
  if tags.get(ExifTags.Base.NewSubfileType, 0) & 1 or data[8:10] == b"CR":
    raise ImageError("a raw photograph, of which Pillow sees a preview only; develop it first")
  contents.is_upright = True
  contents.bits = max(_tuple(tags.get(ExifTags.Base.BitsPerSample, 1)))
  if 2 in _tuple(tags.get(ExifTags.Base.SampleFormat, 1)):
    raise ImageError(SIGNED)
  extra = _tuple(tags.get(ExifTags.Base.ExtraSamples, ()))
  if 0 in extra:
    contents.cuts.append(EXTRA_CHANNELS)
  contents.is_premultiplied = 1 in extra
  if (orientation := orientation_of_tiff(contents, tags)) != 1:
    contents.notes.append(metadata.orientation_note(orientation))
  try:
    contents.exif = metadata.exif_of_tiff(exif())
  except MemoryError:
    raise
  except Exception:  # Pillow's parsers raise nearly every type of exception
    contents.lost.append("unreadable EXIF")
  others = set(tags) - _STRUCTURAL_TAGS - metadata.DESCRIPTIVE_TAGS
  if others & _COLOUR_TAGS and contents.icc_profile is None:
    contents.lost.append("colours as TIFF tags")
  if others - _COLOUR_TAGS:
    contents.lost.append(f"TIFF tags {listed(map(str, sorted(others - _COLOUR_TAGS)))}")


def orientation_of_tiff(contents: Contents, tags: Mapping[int, Any]) -> int:
  """Returns the orientation that the tags say, or else the XMP among them: 1 to 8."""
  said: Any = tags.get(ExifTags.Base.Orientation)
  if said is None and contents.xmp is not None:
    said = metadata.xmp_orientation(contents.xmp)
  return said if said in range(2, 9) else 1


def _tuple(value: Any) -> tuple:
  return value if isinstance(value, tuple) else (value,)


def _heif(contents: Contents, image: Any, data: bytes) -> None:
  facts = boxes.heif_facts(data)
  contents.bits, contents.is_grey = facts.bits, facts.is_grey
  contents.lost += facts.lost
  contents.xmp_turns = False  # its boxes alone count
  if facts.is_cropped and image.format == "AVIF":  # libavif leaves it to its users, libheif crops
    contents.lost.append("cropping")
  colours = srgb.from_cicp(*facts.cicp) if facts.cicp else None
  if contents.icc_profile is None or (colours is not None and colours.code_points is not None):
    contents.colours = colours


def _jpeg_2000(contents: Contents, image: Any, data: bytes) -> None:
  facts = boxes.jp2_facts(data)
  contents.bits = facts.bits
  if facts.is_ycc:
    contents.cuts.append(Cut("YCbCr converted to RGB", "YCbCr; convert the file to RGB first"))
  contents.icc_profile, contents.exif, contents.xmp = facts.icc_profile, facts.exif, facts.xmp
  contents.lost += facts.lost
  contents.colours = srgb.from_cicp(*facts.cicp) if facts.cicp else None
  _lose_resolution(contents, image.info.get("dpi"))


def _gif(contents: Contents, image: Any, data: bytes) -> None:
  for mark, name in ((b"\x0bICCRGBG1012", "ICC profile"), (b"\x0bXMP DataXMP", "XMP")):
    if mark in data:
      contents.lost.append(name)


def _bmp(contents: Contents, image: Any, data: bytes) -> None:
  """A header of version 5 (124 bytes) may point to a profile, from its own start at byte 14."""
  if data[:2] == b"BM" and data[14:18] == b"\x7c\0\0\0":
    at, size = (int.from_bytes(data[i : i + 4], "little") for i in (14 + 112, 14 + 116))
    space = data[14 + 56 : 14 + 60]
    if space == b"DEBM":
      contents.icc_profile = data[14 + at : 14 + at + size]
    elif space == b"KNIL":
      contents.lost.append("link to an ICC profile")
  _lose_resolution(contents, image.info.get("dpi"))


def _ppm(contents: Contents, image: Any, data: bytes) -> None:
  arguments, start = image.tile[0].args, image.tile[0].offset
  if isinstance(arguments, tuple) and image.mode != "F":
    maximum = arguments[-1]
    contents.bits = maximum.bit_length()
    if maximum < 255:
      contents.notes.append(f"values up to {maximum} stretched to 255")
  elif arguments == "I;16B":
    contents.bits = 16
  row = (image.width * len(image.getbands()) * (1 if image.mode == "1" else 8) + 7) // 8
  rest = data[start + image.height * row * (2 if contents.bits > 8 else 1) :]
  if data[1:2] in b"456" and rest.lstrip()[:1] == b"P":
    contents.cuts.append(first_frame(None))


def _tga(contents: Contents, image: Any, data: bytes) -> None:
  if image.info.get("id_section"):
    contents.lost.append("comment")
  if data.endswith(b"TRUEVISION-XFILE.\0") and data[-26:-22] != bytes(4):
    contents.lost.append("extension area")


def _qoi(contents: Contents, image: Any, data: bytes) -> None:
  if data[13] == 1:  # for information only, says the standard; Pillow writes it into every file
    contents.lost.append("mark of linear colours")


def _ico(contents: Contents, image: Any, data: bytes) -> None:
  if _DEEP_PNG.search(data):
    contents.bits = 16
  count = len(image.info.get("sizes", ()))
  if count > 1:
    contents.cuts.append(
      Cut(
        f"largest of {count} pictures",
        f"{count} pictures; save each as an image file of its own first",
      )
    )


def _webp(contents: Contents, image: Any, data: bytes) -> None:
  """Nothing more than Pillow reads."""


_FORMATS: dict[str, Callable[[Contents, Any, bytes], None]] = {
  "AVIF": _heif,
  "BMP": _bmp,
  "DIB": _bmp,
  "GIF": _gif,
  "HEIF": _heif,
  "ICO": _ico,
  "JPEG": _jpeg,
  "JPEG2000": _jpeg_2000,
  "MPO": _jpeg,
  "PPM": _ppm,
  "QOI": _qoi,
  "TGA": _tga,
  "TIFF": _tiff,
  "WEBP": _webp,
}
FORMATS = frozenset({"PNG", *_FORMATS})


def _lose_resolution(contents: Contents, dpi: Sequence[float] | None) -> None:
  """Says that the resolution is lost, unless EXIF holds it or it is the usual nonsense."""
  exif = metadata.read_exif(contents.exif) if contents.exif else None
  in_exif = exif is not None and ExifTags.Base.XResolution in exif.tags
  if dpi and not in_exif and any(round(float(value)) not in _USUAL_DPI for value in dpi):
    contents.lost.append("resolution")


def _is_openjpeg(comment: Any) -> bool:
  return isinstance(comment, bytes) and comment.startswith(_OPENJPEG)
