"""Image files <-> arrays: every kind of file becomes 8-bit grey or RGB, or a plain error."""

import dataclasses
import io
import os
import pathlib
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from cae_jax.atomic import replace_atomically
from cae_jax.errors import Error

__all__ = [
  "ImageError",
  "ImageFile",
  "check_pixels",
  "read_image",
  "read_rgb",
  "replace_atomically",
  "to_rgb",
  "write_image",
]

# Of 16-bit colours Pillow keeps one byte of each, which one by the order of bytes it is told: told
# the other order, it gives the other byte.
_OTHER_BYTE = {
  "RGB;16B": "RGB;16L",
  "RGB;16L": "RGB;16B",
  "RGBA;16B": "RGBA;16L",
  "RGBA;16L": "RGBA;16B",
}
_16_BIT_SUFFIXES = (";16", ";16B", ";16L", ";16N")
_CONVERSIONS = {
  "1": "black and white expanded to grey",
  "L": "transparent grey expanded to alpha",
  "P": "palette expanded",
  "RGB": "transparent colour expanded to alpha",
}


class ImageError(Error, ValueError):
  """A file or an array that is not an image this package can use."""


@dataclasses.dataclass(frozen=True)
class ImageFile:
  """An image as read from a file.

  Attributes:
    pixels: uint8 [H, W] grey, [H, W, 3] RGB, or with alpha (not premultiplied) [H, W, 2] or
      [H, W, 4], upright.
    icc_profile: the colour profile the pixels are in; None where the file has none (sRGB).
    exif: the EXIF block without its orientation; None where there is none.
    notes: what was changed on reading, in words; empty if the pixels are the file's own.
  """

  pixels: np.ndarray
  icc_profile: bytes | None
  exif: bytes | None
  notes: tuple[str, ...]


def read_image(file: str | os.PathLike | bytes) -> ImageFile:
  """Reads an image file of any format that Pillow decodes.

  EXIF orientation is applied and removed, palettes are expanded, 16-bit values v become
  round(v / 257), CMYK becomes sRGB, and of several frames the first is taken.

  Args:
    file: a path, or the bytes of a file.
  Returns:
    The image, its metadata, and notes on what was changed.
  Raises:
    ImageError: the file is truncated, broken, of an unknown format or kind of pixels, or larger
      than Pillow's limit against decompression bombs (about 179 megapixels).
    OSError: the file cannot be read at all.
  """
  name, data = _name_and_bytes(file)
  try:
    # Pillow's decoders raise nearly every type of exception on damaged files.
    return _decode(data)
  except Exception as error:
    raise ImageError(f"{name}: not a readable image ({_one_line(error)})") from error


def to_rgb(pixels: np.ndarray) -> np.ndarray:
  """Makes RGB of all kinds of pixels: grey is replicated, alpha is blended over white.

  Args:
    pixels: uint8 [H, W] or [H, W, 1 to 4].
  Returns:
    uint8 [H, W, 3]; the argument itself if it is RGB already.
  Raises:
    ImageError: another shape or type.
  """
  check_pixels(pixels)
  colours = pixels[..., None] if pixels.ndim == 2 else pixels
  if colours.shape[2] in (2, 4):
    alpha = colours[..., -1:].astype(np.uint32)
    blended = colours[..., :-1] * alpha + 255 * (255 - alpha)
    colours = ((blended + 127) // 255).astype(np.uint8)
  return colours if colours.shape[2] == 3 else np.repeat(colours, 3, axis=2)


def read_rgb(file: str | os.PathLike | bytes) -> np.ndarray:
  """Reads an image file as uint8 [H, W, 3]; see `read_image` and `to_rgb`."""
  return to_rgb(read_image(file).pixels)


def write_image(
  path: str | os.PathLike,
  pixels: np.ndarray,
  *,
  icc_profile: bytes | None = None,
  exif: bytes | None = None,
) -> None:
  """Writes an image file, whole or not at all; the suffix of the name decides the format.

  Args:
    path: where to; PNG (`.png`) keeps every kind of pixels exactly.
    pixels: uint8 [H, W] or [H, W, 1 to 4]: grey, grey and alpha, RGB or RGBA.
    icc_profile: colour profile to embed.
    exif: EXIF block to embed.
  Raises:
    ImageError: the pixels are not an image, or the format cannot hold them.
  """
  check_pixels(pixels)
  squeezed = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
  image = Image.fromarray(np.ascontiguousarray(squeezed))
  metadata = {"icc_profile": icc_profile, "exif": exif}
  present: dict[str, Any] = {key: value for key, value in metadata.items() if value is not None}
  with replace_atomically(path) as temporary:
    try:
      image.save(temporary, **present)
    except (ValueError, KeyError, OSError) as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise  # a full disk or a missing folder, not a matter of the image
      raise ImageError(
        f"{os.fspath(path)}: cannot write {image.mode} pixels ({_one_line(error)}); a name that "
        "ends in .png always works"
      ) from error


def check_pixels(pixels: np.ndarray) -> None:
  """Raises ImageError unless `pixels` is uint8 [H, W] or [H, W, 1 to 4] and not empty."""
  shape, dtype = np.shape(pixels), getattr(pixels, "dtype", type(pixels))
  good_shape = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 2, 3, 4))
  if dtype != np.uint8 or not good_shape or 0 in shape:
    raise ImageError(f"expected uint8 pixels [H, W] or [H, W, 1 to 4], got {dtype} {list(shape)}")


def _name_and_bytes(file: str | os.PathLike | bytes) -> tuple[str, bytes]:
  if isinstance(file, bytes):
    return f"image of {len(file)} bytes", file
  return os.fspath(file), pathlib.Path(file).read_bytes()


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split()) or type(error).__name__


def _decode(data: bytes) -> ImageFile:
  with Image.open(io.BytesIO(data)) as image:
    raw_mode = _raw_mode(image)
    frames = getattr(image, "n_frames", 1)
    image.load()
    if raw_mode in _OTHER_BYTE:
      image.info.pop("transparency", None)  # a 16-bit colour, to be compared before any rounding
    upright, exif, notes = _upright(image)
    pixels, icc_profile, changed = _pixels(upright)
  if raw_mode in _OTHER_BYTE:
    low = _upright(_load_as(data, _OTHER_BYTE[raw_mode]))[0]
    pixels = _reduce_16_bit(pixels.astype(np.uint32) * 256 + np.asarray(low))
  if raw_mode.endswith(_16_BIT_SUFFIXES):
    notes = [*notes, "16-bit reduced to 8"]
  if frames > 1:
    notes = [*notes, f"first frame of {frames}"]
  return ImageFile(pixels, icc_profile, exif, (*notes, *changed))


def _raw_mode(image: Image.Image) -> str:
  """The layout of the values in the file in Pillow's terms, such as "RGB;16B"."""
  tiles = getattr(image, "tile", [])
  arguments = tiles[0].args if tiles else ""
  return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _load_as(data: bytes, raw_mode: str) -> Image.Image:
  """Reads the file as if its values were laid out as `raw_mode`."""
  image = Image.open(io.BytesIO(data))

  def change(arguments):
    return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode

  image.tile = [tile._replace(args=change(tile.args)) for tile in image.tile]
  image.load()
  image.info.pop("transparency", None)
  return image


def _upright(image: Image.Image) -> tuple[Image.Image, bytes | None, list[str]]:
  """Applies the EXIF orientation; a broken EXIF block is left out."""
  try:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    turned = ImageOps.exif_transpose(image)
    exif = None
    if "exif" in image.info:
      exif = turned.getexif().tobytes() if orientation != 1 else image.info["exif"]
      exif = exif if len(turned.getexif()) else None
  except Exception:  # Pillow's EXIF parser raises many types, too
    return image, None, ["unreadable EXIF left out"]
  return turned, exif, [f"EXIF orientation {orientation} applied"] if orientation != 1 else []


def _pixels(image: Image.Image) -> tuple[np.ndarray, bytes | None, list[str]]:
  """Returns 8-bit pixels, the profile that they are in, and notes."""
  icc_profile = image.info.get("icc_profile")
  if image.mode.startswith("I"):
    return _reduce_16_bit(np.asarray(image)), icc_profile, []
  if image.mode == "CMYK":
    return np.array(_cmyk_to_rgb(image)), None, ["CMYK converted to sRGB"]
  if image.mode == "F":
    raise ImageError("floating-point pixels; convert the file to 8 or 16 bits first")
  mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
  if image.has_transparency_data:
    mode += "A"
  if image.mode == mode:
    return np.array(image), icc_profile, []
  note = _CONVERSIONS.get(image.mode, f"{image.mode} converted to {mode}")
  return np.array(image.convert(mode)), icc_profile, [note]


def _reduce_16_bit(values: np.ndarray) -> np.ndarray:
  """round(v / 257), so that 65535 becomes 255."""
  if values.min() < 0 or values.max() > 65535:
    raise ImageError("values outside 16 bits; convert the file to 8 or 16 bits first")
  return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
  profile = image.info.get("icc_profile")
  if not profile:
    return image.convert("RGB")
  try:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
  except (ImageCms.PyCMSError, OSError):
    return image.convert("RGB")
  return converted if converted is not None else image.convert("RGB")
