"""Image files to arrays: every kind of file becomes grey or RGB, or a plain error."""

import dataclasses
import io
import os
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.images import boxes, contents, dicom, jpeg, metadata, png, pnm, profiles, srgb, tiff
from cae_jax.images.contents import Contents, Cut
from cae_jax.images.pixels import ImageError, check_size, to_8_bits, to_rgb, turn
from cae_jax.images.samples import load
from cae_jax.paths import read_file

Source = str | os.PathLike | bytes | bytearray | memoryview | IO[bytes]

# What Pillow does not open, by how it begins.
_UNREAD = {
  b"\xff\x0a": "JPEG XL, which no extra of this package reads; `djxl` makes a PNG file of it",
  b"\0\0\0\x0cJXL ": "JPEG XL, which no extra of this package reads; `djxl` makes a PNG file of it",
  b"\xc1CAE": "a .cae file, compressed already; `cae decompress` makes an image of it",
  b"%PDF": "PDF, a document; render it to PNG first",
  b"<svg": "SVG, a drawing; render it to PNG first",
  b"II*\0": "a kind of TIFF that Pillow does not read, or damaged",
  b"MM\0*": "a kind of TIFF that Pillow does not read, or damaged",
  jpeg.START: "a kind of JPEG that Pillow does not read, or damaged",
  png.SIGNATURE: "a kind of PNG that Pillow does not read, or damaged",
  b"8BPS": "a kind of PSD that Pillow does not read, or damaged",
}
_TURNED = (5, 6, 7, 8)  # orientations that exchange height and width
_DIVIDED = Cut(
  "premultiplied alpha divided out",
  "premultiplied alpha; divide it out first, in a program that may round",
)


@dataclasses.dataclass(frozen=True)
class ImageFile:
  """An image as read from a file.

  Attributes:
    pixels: uint8 [H, W] grey, [H, W, 3] RGB, or with alpha (not premultiplied) [H, W, 2] or
      [H, W, 4], upright. uint16 if a file of more than 8 bits was read exactly: its values as they
      are, 0 to 2 ** bits - 1.
    bits: of a sample; 8, and 9 to 16 for uint16.
    icc_profile: the colour profile the pixels are in; None where the file has none (sRGB).
    exif: the EXIF block without its orientation; None where there is none.
    xmp: the XMP block, likewise.
    notes: what was changed or lost on reading, in words; empty if the pixels are the file's own
      and everything else is here.
  """

  pixels: np.ndarray
  bits: int
  icc_profile: bytes | None
  exif: bytes | None
  xmp: bytes | None
  notes: tuple[str, ...]

  @property
  def metadata(self) -> dict[str, bytes]:
    """The blocks there are, by the names that files of this package give them."""
    blocks = {key: getattr(self, name) for name, key in metadata.NAMES.items()}
    return {key: block for key, block in blocks.items() if block is not None}


def read_image(file: Source, *, exact: bool = False, name: str = "") -> ImageFile:
  """Reads an image file of any format that Pillow decodes, and HEIC with `pillow-heif` installed.

  What a file holds is kept, or a note says that it is not; docs/images.md has the table.

  Args:
    file: a path, the bytes of a file, or a file opened for binary reading.
    exact: every bit of the samples is kept, of up to 16 bits each, in the colours of the file; what
      would lose some is refused. Otherwise pixels are made 8-bit sRGB, or 8-bit in the colours of
      the file's ICC profile. DICOM files are read exactly only.
    name: what errors call it, in place of its path or size.
  Returns:
    The image, its metadata, and notes on what was changed.
  Raises:
    ImageError: the file is truncated, broken, of an unknown format or kind of pixels (HDR, floating
      point), larger than Pillow's limit against decompression bombs (about 179 megapixels), or
      cannot be read exactly.
    MissingExtraError: exact reading needs a package that is not installed.
    UsageError: the argument is none of the above, or a folder.
    OSError: the file cannot be read at all.
  """
  own_name, data = _name_and_bytes(file)
  name = name or own_name
  try:
    # Decoders raise nearly every type of exception on damaged files.
    return _decode_to_the_end(data, exact)
  except MemoryError:  # no fault of the file, here and wherever all other errors are one
    raise
  except MissingExtraError as error:
    raise MissingExtraError(f"{name}: {error}") from error
  except _NotExact as error:
    raise ImageError(f"{name}: cannot be read exactly ({error})") from error
  except Exception as error:
    raise ImageError(f"{name}: not a readable image ({_reason(error, data)})") from error


class _NotExact(ImageError):
  """An image, of which some bits would be lost."""


def read_rgb(file: Source) -> np.ndarray:
  """Reads an image file as uint8 [H, W, 3]; see `read_image` and `to_rgb`."""
  return to_rgb(read_image(file).pixels)


def upright_size(data: bytes) -> tuple[int, int]:
  """Reads height and width as `read_image` gives them; for most formats without the samples.

  Args:
    data: the bytes of an image file.
  Raises:
    ImageError: it is not readable.
  """
  try:
    image, holds, _ = _open_with_contents(data)
    with image:
      width, height = image.size
  except MemoryError:
    raise
  except Exception as error:
    raise ImageError(f"not a readable image ({_reason(error, data)})") from error
  if holds.is_upright:  # by Pillow, which tells the size before that or after it
    height, width = read_image(data).pixels.shape[:2]
  return (width, height) if _put_upright(holds) in _TURNED else (height, width)


def _name_and_bytes(file: Any) -> tuple[str, bytes]:
  if isinstance(file, bytes | bytearray | memoryview):
    return f"image of {len(file)} bytes", bytes(file)
  if isinstance(file, str | os.PathLike):
    return os.fspath(file), read_file(file)
  data = file.read() if callable(getattr(file, "read", None)) else None
  if not isinstance(data, bytes):
    raise UsageError(
      "expected a path, the bytes of an image file or a file opened for binary reading, got "
      f"{type(file).__name__}"
    )
  name = getattr(file, "name", None)
  return name if isinstance(name, str) else f"image of {len(data)} bytes", data


def _reason(error: Exception, data: bytes) -> str:
  if isinstance(error, UnidentifiedImageError):
    return _kind_of(data)
  words = " ".join(str(error).split()) or type(error).__name__
  return f"unsupported kind {words}" if isinstance(error, KeyError) else words


def _kind_of(data: bytes) -> str:
  """Says what a file is that Pillow does not know."""
  if not data:
    return "an empty file"
  if boxes.is_heic(data):
    return "HEIC, which `pip install pillow-heif` reads"
  if dicom.is_ours(data):
    return "DICOM, which is read exactly only; render it to PNG first"
  for signature, words in _UNREAD.items():
    if data.startswith(signature):
      return words
  if b"<svg" in data[:1024]:
    return _UNREAD[b"<svg"]
  return "Pillow does not know its format, or its beginning is damaged"


def _decode_to_the_end(data: bytes, exact: bool) -> ImageFile:
  """Decodes a file; a JPEG may lack its last marker, if only that."""
  try:
    return _decode(data, exact)
  except OSError:
    files = jpeg.ended(data)
    if not files:
      raise
    image, *others = (_decode(file, exact) for file in files)
    if not all(np.array_equal(image.pixels, other.pixels) for other in others):
      raise
    return dataclasses.replace(image, notes=(*image.notes, "end of the file missing"))


def _decode(data: bytes, exact: bool) -> ImageFile:
  samples, holds = _samples_and_contents(data, exact)
  # Exactly, deep samples are as they lie in the file; all others fill their type.
  bits = holds.bits if exact and samples.dtype == np.uint16 else 8 * samples.itemsize
  if holds.is_premultiplied and samples[..., -1].min() < (1 << bits) - 1:
    holds.cuts.append(_DIVIDED)
  if exact and holds.cuts:
    raise _NotExact("; ".join(cut.way_out for cut in holds.cuts))
  notes = holds.notes + [cut.note for cut in holds.cuts]
  space = "RGB" if samples.shape[2:] >= (3,) else "grey"
  if holds.colours is not None and exact:
    holds.icc_profile = profiles.describe(holds.colours, is_grey=space == "grey")
    notes.append(f"{holds.colours.name} described by an ICC profile")
  elif holds.colours is not None:
    samples = srgb.to_srgb(samples, holds.colours)
    notes.append(f"{holds.colours.name} converted to sRGB")
  orientation = _put_upright(holds)
  if orientation != 1:
    notes.append(metadata.orientation_note(orientation))
  if holds.icc_profile is not None:
    fault = metadata.profile_fault(holds.icc_profile, space)
    if fault is not None:
      holds.icc_profile = None
      holds.lost.append(fault)
  if holds.lost:
    notes.append(f"left out: {contents.listed(holds.lost)}")
  pixels = turn(samples if exact else to_8_bits(samples), orientation)
  return ImageFile(
    pixels=pixels,
    bits=8 if pixels.dtype == np.uint8 else holds.bits,
    icc_profile=holds.icc_profile,
    exif=holds.exif,
    xmp=holds.xmp,
    notes=tuple(notes),
  )


def _samples_and_contents(data: bytes, exact: bool) -> tuple[np.ndarray, Contents]:
  """Samples as they lie in the file, and what else it holds; exactly also what Pillow cannot."""
  if exact:
    for module in (dicom, tiff, pnm):
      if module.is_ours(data):
        return module.read(data)
  image, holds, data = _open_with_contents(data)
  with image:
    samples, notes = load(image, data, holds)
    cuts = _frames(image, data)
  holds.notes = notes + holds.notes
  if holds.bits > 8 and not (exact and samples.dtype == np.uint16 and holds.bits == 16):
    depth = f"{holds.bits}-bit"
    way_out = f"{depth} {image.format}, of which 8 are read; make a PNG file of 16 bits of it first"
    cuts.append(Cut(f"{depth} reduced to 8", way_out))
  holds.cuts += cuts
  return samples, holds


def _open_with_contents(data: bytes) -> tuple[Image.Image, Contents, bytes]:
  """An image to be loaded, what else the file holds, and the bytes to load the image from."""
  if data.startswith(png.SIGNATURE):
    chunks = png.split(data)
    return _open(chunks.pixels), contents.of_png(chunks), chunks.pixels
  if data.startswith(jpeg.START):
    data, exif = jpeg.split(data)
    image = _open(data)
    holds = contents.of(image, data)
    holds.exif = exif
    return image, holds, data
  try:
    image = _open(data)
    return image, contents.of(image, data), data
  except (ImageError, MemoryError):
    raise
  except Exception:  # AVIF's reader stumbles over EXIF, too
    hidden = boxes.without_exif(data)
    if hidden is None:
      raise
  image = _open(hidden)
  holds = contents.of(image, hidden)
  holds.lost.append("unreadable EXIF")
  return image, holds, hidden


def _open(data: bytes) -> Image.Image:
  try:
    return Image.open(io.BytesIO(data))
  except UnidentifiedImageError:
    if not boxes.is_heic(data):
      raise
    try:
      from pillow_heif import HeifImageFile
    except ImportError as error:
      raise UnidentifiedImageError from error
    image = HeifImageFile(io.BytesIO(data))
  check_size(*image.size)
  return image


def _frames(image: Image.Image, data: bytes) -> list[Cut]:
  try:
    if not getattr(image, "is_animated", False):
      return []
    if image.format == "TIFF":
      return tiff.further_pages(data)
    with _open(data) as again:  # counting moves on in the file
      return [contents.first_frame(again.n_frames)]  # type: ignore[attr-defined]
  except MemoryError:
    raise
  except Exception:  # a later frame is damaged
    return [contents.first_frame(None)]


def _put_upright(holds: Contents) -> int:
  """Takes the orientation, 1 to 8, out of EXIF and XMP; drops an EXIF block that has no more."""
  exif = metadata.read_exif(holds.exif) if holds.exif is not None else None
  if holds.exif is not None and exif is None:
    holds.lost.append("unreadable EXIF")
  holds.exif = exif.block if exif is not None and exif.tags else None
  orientation = exif.orientation if exif is not None else None
  if holds.xmp is not None:
    if orientation is None and holds.xmp_turns:
      orientation = metadata.xmp_orientation(holds.xmp)
    holds.xmp = metadata.upright_xmp(holds.xmp)
  return 1 if holds.is_upright or orientation is None else orientation
