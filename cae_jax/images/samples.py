"""Samples as they lie in a file, of every mode of Pillow's, in 8 or 16 bits."""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from cae_jax.images import metadata
from cae_jax.images.contents import FLOATING, SIGNED, Contents, Cut
from cae_jax.images.pixels import ImageError

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


def load(image: Image.Image, data: bytes, holds: Contents) -> tuple[np.ndarray, list[str]]:
  """Loads the samples of a file.

  Args:
    image: opened, not loaded.
    data: what it was opened from.
    holds: what else there is. A profile that only served to convert the samples is taken from it.
      What of them is lost is added to it.
  Returns:
    Samples uint8 or uint16, [H, W] or [H, W, 2 to 4], as they lie in the file; notes.
  Raises:
    ImageError: samples that Pillow reads wrong, or whose range is not known.
  """
  raw_mode = _raw_mode(image)
  image.load()
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
  return image


def _integers(image: Image.Image, raw_mode: str, holds: Contents) -> np.ndarray:
  """Grey of 16 bits, or of 12."""
  if image.mode == "I" and image.format != "PPM":
    raise ImageError(SIGNED)
  values = np.asarray(image).astype(np.uint16)
  if raw_mode == "I;12":
    values = (values << 4 | values >> 8).astype(np.uint16)
  return np.invert(values) if holds.is_inverted else values


def _bytes(image: Image.Image, holds: Contents) -> tuple[np.ndarray, list[str]]:
  """8-bit samples of every other mode."""
  if image.mode == "F":
    raise ImageError(FLOATING)
  if image.mode in ("CMYK", "LAB"):
    samples, converted = _by_profile(image, holds)
    holds.cuts.append(Cut(converted, f"{converted.split()[0]}; convert the file to RGB first"))
    return samples, []
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
  note = _CONVERSIONS.get(image.mode)
  if note is None:
    cut = Cut(
      f"{image.mode} converted to {mode}", f"{image.mode}; convert the file to {mode} first"
    )
    holds.cuts.append(cut)
  return np.array(image.convert(mode)), [note] if note else []


def _by_profile(image: Image.Image, holds: Contents) -> tuple[np.ndarray, str]:
  """CMYK by its profile, if there is a good one, and CIELab to sRGB; a note."""
  profile, holds.icc_profile = holds.icc_profile, None
  if image.mode == "LAB":
    return _to_srgb(image, ImageCms.createProfile("LAB")), "CIELab converted to sRGB"
  fault = metadata.profile_fault(profile, "CMYK") if profile else None
  if profile and fault is None:
    try:
      source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
      return _to_srgb(image, source), "CMYK converted to sRGB by its profile"
    except (ImageCms.PyCMSError, OSError, ImportError):
      fault = "unreadable ICC profile"
  if fault is not None:
    holds.lost.append(fault)
  return np.array(image.convert("RGB")), "CMYK converted to sRGB"


def _to_srgb(image: Image.Image, source: Any) -> np.ndarray:
  target = ImageCms.createProfile("sRGB")
  return np.array(ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
