"""Image files to arrays: every kind of file becomes 8-bit grey or RGB, or a plain error."""

import dataclasses
import io
import os
import pathlib
import sys
from typing import IO, Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from cae_jax.errors import UsageError
from cae_jax.images import boxes, contents, jpeg, metadata, png, srgb
from cae_jax.images.contents import Contents
from cae_jax.images.pixels import ImageError, to_8_bits, to_rgb, turn

Source = str | os.PathLike | bytes | bytearray | memoryview | IO[bytes]

# Of 16-bit colours Pillow keeps one byte of each, which one by the order of bytes it is told: told
# the other order, it gives the other byte. Orders: big, little, and the machine's own.
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_OTHER_BYTE = {
  f"{colours};{order}": f"{colours};{other}"
  for colours in ("RGB", "RGBA", "RGBX")
  for order, other in _OTHER_ORDER.items()
}
_CONVERSIONS = {
  "1": "black and white expanded to grey",
  "L": "transparent grey expanded to alpha",
  "La": "",  # said by the reader of TIFF
  "P": "palette expanded",
  "PA": "palette expanded",
  "RGB": "transparent colour expanded to alpha",
}
# What Pillow does not open, by how it begins.
_UNREAD = {
  b"\xff\x0a": "JPEG XL, which no extra of this package reads; `djxl` makes a PNG file of it",
  b"\0\0\0\x0cJXL ": "JPEG XL, which no extra of this package reads; `djxl` makes a PNG file of it",
  b"%PDF": "PDF, a document; render it to PNG first",
  b"<svg": "SVG, a drawing; render it to PNG first",
  b"II*\0": "a kind of TIFF that Pillow does not read, or damaged",
  b"MM\0*": "a kind of TIFF that Pillow does not read, or damaged",
  jpeg.START: "a kind of JPEG that Pillow does not read, or damaged",
  png.SIGNATURE: "a kind of PNG that Pillow does not read, or damaged",
  b"8BPS": "a kind of PSD that Pillow does not read, or damaged",
}


@dataclasses.dataclass(frozen=True)
class ImageFile:
  """An image as read from a file.

  Attributes:
    pixels: uint8 [H, W] grey, [H, W, 3] RGB, or with alpha (not premultiplied) [H, W, 2] or
      [H, W, 4], upright.
    icc_profile: the colour profile the pixels are in; None where the file has none (sRGB).
    exif: the EXIF block without its orientation; None where there is none.
    xmp: the XMP block, likewise.
    notes: what was changed or lost on reading, in words; empty if the pixels are the file's own
      and everything else is here.
  """

  pixels: np.ndarray
  icc_profile: bytes | None
  exif: bytes | None
  xmp: bytes | None
  notes: tuple[str, ...]

  @property
  def metadata(self) -> dict[str, bytes]:
    """The blocks there are, by the names that files of this package give them."""
    blocks = {"icc": self.icc_profile, "exif": self.exif, "xmp": self.xmp}
    return {name: block for name, block in blocks.items() if block is not None}


def read_image(file: Source) -> ImageFile:
  """Reads an image file of any format that Pillow decodes, and HEIC with `pillow-heif` installed.

  What a file holds is kept, or a note says that it is not; docs/images.md has the table.

  Args:
    file: a path, the bytes of a file, or a file opened for binary reading.
  Returns:
    The image, its metadata, and notes on what was changed.
  Raises:
    ImageError: the file is truncated, broken, of an unknown format or kind of pixels (HDR, floating
      point), or larger than Pillow's limit against decompression bombs (about 179 megapixels).
    UsageError: the argument is none of the above.
    OSError: the file cannot be read at all.
  """
  name, data = _name_and_bytes(file)
  try:
    # Pillow's decoders raise nearly every type of exception on damaged files.
    return _decode_to_the_end(data)
  except Exception as error:
    raise ImageError(f"{name}: not a readable image ({_reason(error, data)})") from error


def read_rgb(file: Source) -> np.ndarray:
  """Reads an image file as uint8 [H, W, 3]; see `read_image` and `to_rgb`."""
  return to_rgb(read_image(file).pixels)


def _name_and_bytes(file: Any) -> tuple[str, bytes]:
  if isinstance(file, bytes | bytearray | memoryview):
    return f"image of {len(file)} bytes", bytes(file)
  if isinstance(file, str | os.PathLike):
    return os.fspath(file), pathlib.Path(file).read_bytes()
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
  message = " ".join(str(error).split())
  return (
    f"unsupported kind {message}"
    if isinstance(error, KeyError)
    else message or str(type(error).__name__)
  )


def _kind_of(data: bytes) -> str:
  """Says what a file is that Pillow does not know."""
  if not data:
    return "an empty file"
  if boxes.is_heic(data):
    return "HEIC, which `pip install pillow-heif` reads"
  for signature, words in _UNREAD.items():
    if data.startswith(signature):
      return words
  if b"<svg" in data[:1024]:
    return _UNREAD[b"<svg"]
  return "of a format that Pillow does not know, or damaged where it begins"


def _decode_to_the_end(data: bytes) -> ImageFile:
  """Decodes a file; a JPEG may lack its last marker, if only that."""
  try:
    return _decode(data)
  except OSError:
    files = jpeg.ended(data)
    if not files:
      raise
    image, *others = map(_decode, files)
    if not all(np.array_equal(image.pixels, other.pixels) for other in others):
      raise
    return dataclasses.replace(image, notes=(*image.notes, "end of the file missing"))


def _decode(data: bytes) -> ImageFile:
  image, holds, data = _open_with_contents(data)
  with image:
    raw_mode = _raw_mode(image)
    image.load()
    samples, notes = _samples(image, data, raw_mode, holds)
    notes += holds.notes + _frames(image, data)
  if holds.bits > 8:
    notes.append(f"{holds.bits}-bit reduced to 8")
  if holds.colours is not None:
    samples = srgb.to_srgb(samples, holds.colours)
    notes.append(f"{holds.colours.name} converted to sRGB")
  orientation = _put_upright(holds)
  if orientation != 1:
    notes.append(f"EXIF orientation {orientation} applied")
  if holds.icc_profile is not None:
    fault = metadata.profile_fault(
      holds.icc_profile, "RGB" if samples.shape[2:] >= (3,) else "grey"
    )
    if fault is not None:
      holds.icc_profile = None
      holds.lost.append(fault)
  if holds.lost:
    notes.append(f"left out: {', '.join(holds.lost)}")
  return ImageFile(
    pixels=turn(to_8_bits(samples), orientation),
    icc_profile=holds.icc_profile,
    exif=holds.exif,
    xmp=holds.xmp,
    notes=tuple(notes),
  )


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
  except ImageError:
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
    return HeifImageFile(io.BytesIO(data))


def _raw_mode(image: Image.Image) -> str:
  """The layout of the values in the file in Pillow's terms, such as "RGB;16B"."""
  tiles = getattr(image, "tile", [])
  arguments = tiles[0].args if tiles else ""
  return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _frames(image: Image.Image, data: bytes) -> list[str]:
  try:
    if not getattr(image, "is_animated", False):
      return []
    with _open(data) as again:  # counting moves on in the file
      return [f"first frame of {again.n_frames}"]  # type: ignore[attr-defined]
  except Exception:  # a later frame is damaged
    return ["first frame of several"]


def _samples(
  image: Image.Image, data: bytes, raw_mode: str, holds: Contents
) -> tuple[np.ndarray, list[str]]:
  """The samples, uint8 or uint16, [H, W] or [H, W, 2 to 4], as they lie in the file, and notes."""
  if holds.has_byte_pairs:
    pairs = np.asarray(image).astype(np.uint16)
    return pairs[..., ::2] << 8 | pairs[..., 1::2], []
  notes: list[str] = []
  if raw_mode in _OTHER_BYTE:
    low = np.asarray(_load_as(data, _OTHER_BYTE[raw_mode]))
    samples = np.asarray(image).astype(np.uint16) << 8 | low
  elif image.mode.startswith("I"):
    samples = _integers(image, raw_mode, holds)
  else:
    samples, notes = _bytes(image, holds)
  if holds.transparent is None:
    return samples, notes
  top = np.iinfo(samples.dtype).max
  key = np.array(holds.transparent) * top // ((1 << holds.bits) - 1)
  colours = samples[..., None] if samples.ndim == 2 else samples
  alpha = np.where((colours == key).all(-1, keepdims=True), 0, top).astype(samples.dtype)
  kind = "grey" if samples.ndim == 2 else "colour"
  return np.concatenate([colours, alpha], -1), [*notes, f"transparent {kind} expanded to alpha"]


def _load_as(data: bytes, raw_mode: str) -> Image.Image:
  """Reads the file as if its values were laid out as `raw_mode`."""
  image = Image.open(io.BytesIO(data))

  def change(arguments):
    return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode

  image.tile = [tile._replace(args=change(tile.args)) for tile in image.tile]
  image.load()
  return image


def _integers(image: Image.Image, raw_mode: str, holds: Contents) -> np.ndarray:
  """Grey of 16 bits, or of 12."""
  if image.mode == "I" and image.format != "PPM":
    raise ImageError("signed or 32-bit integers; convert the file to 8 or 16 bits first")
  values = np.asarray(image).astype(np.uint16)
  if raw_mode == "I;12":
    values = values << 4 | values >> 8
  return np.invert(values) if holds.is_inverted else values


def _bytes(image: Image.Image, holds: Contents) -> tuple[np.ndarray, list[str]]:
  """8-bit samples of every other mode."""
  if image.mode == "F":
    raise ImageError("floating-point pixels; convert the file to 8 or 16 bits first")
  if image.mode in ("CMYK", "LAB"):
    return _by_profile(image, holds)
  if holds.is_grey:
    image = image.convert("LA" if image.mode == "RGBA" else "L")
  mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
  if image.has_transparency_data:
    mode += "A"
  if image.format == "JPEG2000" and holds.bits > 8 and 0 in np.asarray(image):
    # Its rounding to 8 bits makes 0 of 255.6.
    raise ImageError(
      f"{holds.bits}-bit JPEG 2000, where Pillow takes white for black; convert it to PNG first"
    )
  if image.mode == mode:
    return np.array(image), []
  note = _CONVERSIONS.get(image.mode, f"{image.mode} converted to {mode}")
  return np.array(image.convert(mode)), [note] if note else []


def _by_profile(image: Image.Image, holds: Contents) -> tuple[np.ndarray, list[str]]:
  """CMYK by its profile, if there is a good one, and CIELab to sRGB."""
  profile, holds.icc_profile = holds.icc_profile, None
  if image.mode == "LAB":
    return _to_srgb(image, ImageCms.createProfile("LAB")), ["CIELab converted to sRGB"]
  fault = metadata.profile_fault(profile, "CMYK") if profile else None
  if profile and fault is None:
    try:
      source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
      return _to_srgb(image, source), ["CMYK converted to sRGB by its profile"]
    except (ImageCms.PyCMSError, OSError):
      fault = "unreadable ICC profile"
  if fault is not None:
    holds.lost.append(fault)
  return np.array(image.convert("RGB")), ["CMYK converted to sRGB"]


def _to_srgb(image: Image.Image, source: Any) -> np.ndarray:
  target = ImageCms.createProfile("sRGB")
  return np.array(ImageCms.profileToProfile(image, source, target, outputMode="RGB"))


def _put_upright(holds: Contents) -> int:
  """Takes the orientation, 1 to 8, out of EXIF and XMP; drops an EXIF block that has no more."""
  exif = metadata.read_exif(holds.exif) if holds.exif is not None else None
  if holds.exif is not None and exif is None:
    holds.lost.append("unreadable EXIF")
  holds.exif = exif.block if exif is not None and exif.tags else None
  orientation = exif.orientation if exif is not None else None
  if holds.xmp is not None:
    if orientation is None:
      orientation = metadata.xmp_orientation(holds.xmp)
    holds.xmp = metadata.upright_xmp(holds.xmp)
  return 1 if holds.is_upright or orientation is None else orientation
