"""Arrays to image files: exactly, or with a word on what is lost, or not at all."""

import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from cae_jax.atomic import replace_atomically
from cae_jax.images import metadata
from cae_jax.images.pixels import ImageError, check_pixels
from cae_jax.images.reading import read_image

_KINDS = {"L": "grey", "LA": "grey with alpha", "RGB": "RGB", "RGBA": "RGBA"}
_SAME = {kind: kind for kind in _KINDS}
_COLOUR = {"L": "RGB", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}
_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}


@dataclasses.dataclass(frozen=True)
class Format:
  """What files of a format hold.

  Attributes:
    name: Pillow's.
    modes: Pillow's mode to write each kind of pixels in; kinds that are not here are refused.
    is_exact: samples come back as they were.
    blocks: of metadata that it holds.
    max_side: the largest height and width.
    options: for Pillow.
  """

  name: str
  modes: Mapping[str, str]
  is_exact: bool = True
  blocks: tuple[str, ...] = ()
  max_side: int = (1 << 31) - 1
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _only(*kinds: str) -> dict[str, str]:
  return {kind: kind for kind in kinds}


_ALL = tuple(_NAMES)
_BMP = _only("L", "RGB")  # Pillow writes RGBA, too, but no reader takes its fourth byte for alpha
_AVIF = {**_SAME, "LA": "RGBA"}
_JPEG = Format("JPEG", _only("L", "RGB"), is_exact=False, blocks=_ALL, max_side=65500)
_TGA = Format("TGA", _SAME, max_side=65535)
_SGI = Format("SGI", _only("L", "RGB", "RGBA"), max_side=65535)
FORMATS: Mapping[str, Format] = {
  ".png": Format("PNG", _SAME, blocks=_ALL),
  ".tif": Format("TIFF", _SAME, blocks=_ALL),
  ".tiff": Format("TIFF", _SAME, blocks=_ALL),
  ".jpg": _JPEG,
  ".jpeg": _JPEG,
  ".jpe": _JPEG,
  ".jfif": _JPEG,
  ".webp": Format("WEBP", _COLOUR, is_exact=False, blocks=_ALL, max_side=16383),
  ".avif": Format("AVIF", _AVIF, is_exact=False, blocks=_ALL, max_side=32768),
  ".jp2": Format("JPEG2000", _SAME),
  ".j2k": Format("JPEG2000", _only("L", "RGB"), options={"no_jp2": True}),
  ".bmp": Format("BMP", _BMP),
  ".dib": Format("DIB", _BMP),
  ".ppm": Format("PPM", _only("L", "RGB")),
  ".pnm": Format("PPM", _only("L", "RGB")),
  ".pgm": Format("PPM", _only("L")),
  ".tga": _TGA,
  ".qoi": Format("QOI", _COLOUR, options={"colorspace": "sRGB"}),
  ".sgi": _SGI,
  ".rgb": _SGI,
  ".pcx": Format("PCX", _only("L", "RGB"), max_side=65534),
  ".gif": Format("GIF", _only("L", "RGB"), is_exact=False, max_side=65535),
}


def write_image(
  path: str | os.PathLike,
  pixels: np.ndarray,
  *,
  icc_profile: bytes | None = None,
  exif: bytes | None = None,
  xmp: bytes | None = None,
  overwrite: bool = True,
) -> tuple[str, ...]:
  """Writes an image file, whole or not at all; the suffix of the name decides the format.

  Metadata that is broken, or that the format does not hold, is left out.

  Args:
    path: where to; PNG (`.png`) keeps every kind of pixels exactly.
    pixels: uint8 [H, W] or [H, W, 1 to 4]: grey, grey and alpha, RGB or RGBA.
    icc_profile: colour profile to embed.
    exif: EXIF block to embed.
    xmp: XMP block to embed.
    overwrite: as `replace_atomically` takes it.
  Returns:
    What the file does not hold of all this, in words; docs/images.md has the table.
  Raises:
    ImageError: the pixels are not an image, or the format cannot hold them. Nothing is written.
    FileExistsError: there is such a file and `overwrite` is False.
  """
  check_pixels(pixels)
  squeezed = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
  image = Image.fromarray(np.ascontiguousarray(squeezed))
  path = pathlib.Path(path)
  form = _format(path, image)
  kind, image = image.mode, image.convert(form.modes[image.mode])
  given = {"icc_profile": icc_profile, "exif": exif, "xmp": xmp}
  present = {name: block for name, block in given.items() if block is not None}
  faults = {name: _fault(path, form, image.mode, name, block) for name, block in present.items()}
  blocks = {name: block for name, block in present.items() if faults[name] is None}
  with replace_atomically(path, overwrite=overwrite) as temporary:
    temporary.write_bytes(_encode_or_say(path, form, image, blocks))
  notes = [fault for fault in faults.values() if fault is not None]
  if image.mode != kind:
    notes.append(f"{_KINDS[kind]} written as {_KINDS[image.mode]}")
  if not form.is_exact:
    notes.append(f"{path.suffix} may lose some more quality, .png does not")
  return tuple(notes)


def _format(path: pathlib.Path, image: Image.Image) -> Format:
  """The format of a name, if it holds such an image."""
  form = FORMATS.get(path.suffix.lower())
  kind = _KINDS[image.mode]
  if form is None or image.mode not in form.modes:
    raise ImageError(
      f"{path}: cannot write {kind} pixels to {path.suffix or 'a name without suffix'}; a name "
      "that ends in .png always works"
    )
  if max(image.size) > form.max_side:
    raise ImageError(
      f"{path}: {path.suffix} holds at most {form.max_side} pixels a side, got {image.width} x "
      f"{image.height}; a name that ends in .png always works"
    )
  return form


def _fault(path: pathlib.Path, form: Format, mode: str, name: str, block: bytes) -> str | None:
  """Says why a block of metadata is left out; None if it is not.

  Files hold metadata that Pillow's writers and readers stumble over in many ways. So it is tried:
  an image of one pixel with this block is written and read.
  """
  if name not in form.blocks:
    return f"{_NAMES[name]} left out, {path.suffix} holds none"
  if name == "icc_profile":
    fault = metadata.profile_fault(block, "grey" if mode.startswith("L") else "RGB")
    if fault is not None:
      return f"{fault}, left out"
  try:
    read = read_image(_encode(form, Image.new(mode, (1, 1)), {name: block}))
  except Exception as error:  # Pillow's parsers raise nearly every type
    reason = f", too long for {path.suffix}" if "too long" in str(error) else ""
    return f"{'' if reason else 'unreadable '}{_NAMES[name]} left out{reason}"
  return None if getattr(read, name) is not None else f"unreadable {_NAMES[name]} left out"


def _encode_or_say(
  path: pathlib.Path, form: Format, image: Image.Image, blocks: Mapping[str, bytes]
) -> bytes:
  try:
    return _encode(form, image, blocks)
  except Exception as error:  # so do its encoders
    reason = " ".join(str(error).split()) or type(error).__name__
    raise ImageError(
      f"{path}: cannot write {_KINDS.get(image.mode)} pixels to {path.suffix} ({reason}); a name "
      "that ends in .png always works"
    ) from error


def _encode(form: Format, image: Image.Image, blocks: Mapping[str, bytes]) -> bytes:
  """A file, in memory: what goes wrong here is a matter of the image, never of a full disk."""
  arguments: dict[str, Any] = {**form.options, **blocks}
  if form.name == "TIFF":
    exif, xmp = arguments.pop("exif", None), arguments.pop("xmp", None)
    arguments["tiffinfo"] = metadata.tags_for_tiff(exif, xmp)
  elif form.name == "PNG" and "xmp" in arguments:
    arguments["pnginfo"] = PngImagePlugin.PngInfo()
    arguments["pnginfo"].add_itxt("XML:com.adobe.xmp", arguments.pop("xmp").decode("utf-8"))
  buffer = io.BytesIO()
  image.save(buffer, form.name, **arguments)
  return buffer.getvalue()
