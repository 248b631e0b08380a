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
from cae_jax.images import metadata, png, pnm, tiff
from cae_jax.images.pixels import ImageError, check_pixels
from cae_jax.images.reading import read_image

_KINDS = {"L": "grey", "LA": "grey with alpha", "RGB": "RGB", "RGBA": "RGBA"}
_SAME = {kind: kind for kind in _KINDS}
_COLOUR = {"L": "RGB", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by the number of channels
_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}


@dataclasses.dataclass(frozen=True)
class Format:
  """What files of a format hold.

  Attributes:
    name: Pillow's.
    modes: Pillow's mode to write each kind of pixels in; kinds that are not here are refused.
    is_exact: samples come back as they were.
    is_deep: they may have 16 bits, of every kind that it holds.
    blocks: of metadata that it holds.
    max_side: the largest height and width.
    options: for Pillow.
  """

  name: str
  modes: Mapping[str, str]
  is_exact: bool = True
  is_deep: bool = False
  blocks: tuple[str, ...] = ()
  max_side: int = (1 << 31) - 1
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _only(*kinds: str) -> dict[str, str]:
  return {kind: kind for kind in kinds}


_ALL = tuple(_NAMES)
_BMP = _only("L", "RGB")  # Pillow writes RGBA, too, but no reader takes its fourth byte for alpha
# Lossy ones at a quality that hardly adds to what is lost already.
_JPEG = Format(
  "JPEG",
  _only("L", "RGB"),
  is_exact=False,
  blocks=_ALL,
  max_side=65500,
  options={"quality": 95, "subsampling": 0},
)
_WEBP = Format(
  "WEBP", _COLOUR, is_exact=False, blocks=_ALL, max_side=16383, options={"quality": 95}
)
_AVIF = Format(
  "AVIF",
  {**_SAME, "LA": "RGBA"},
  is_exact=False,
  blocks=_ALL,
  max_side=32768,
  options={"quality": 90, "subsampling": "4:4:4"},
)
_TIFF = Format("TIFF", _SAME, is_deep=True, blocks=_ALL)
_TGA = Format("TGA", _SAME, max_side=65535)
_SGI = Format("SGI", _only("L", "RGB", "RGBA"), max_side=65535)
FORMATS: Mapping[str, Format] = {
  # Less than half of the time of level 6, for 3 % more bytes.
  ".png": Format("PNG", _SAME, is_deep=True, blocks=_ALL, options={"compress_level": 4}),
  ".tif": _TIFF,
  ".tiff": _TIFF,
  ".jpg": _JPEG,
  ".jpeg": _JPEG,
  ".jpe": _JPEG,
  ".jfif": _JPEG,
  ".webp": _WEBP,
  ".avif": _AVIF,
  ".jp2": Format("JPEG2000", _SAME),
  ".j2k": Format("JPEG2000", _only("L", "RGB"), options={"no_jp2": True}),
  ".bmp": Format("BMP", _BMP),
  ".dib": Format("DIB", _BMP),
  ".ppm": Format("PPM", _only("L", "RGB"), is_deep=True),
  ".pnm": Format("PPM", _only("L", "RGB"), is_deep=True),
  ".pgm": Format("PPM", _only("L"), is_deep=True),
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

  Args:
    path: where to; PNG (`.png`) keeps every kind of pixels exactly.
    pixels, icc_profile, exif, xmp: as of `encode_image`.
    overwrite: as `replace_atomically` takes it.
  Returns:
    What the file does not hold of all this, in words; docs/images.md has the table.
  Raises:
    ImageError: the pixels are not an image, or the format cannot hold them. Nothing is written.
    FileExistsError: there is such a file and `overwrite` is False.
  """
  data, notes = encode_image(path, pixels, icc_profile=icc_profile, exif=exif, xmp=xmp)
  with replace_atomically(path, overwrite=overwrite) as temporary:
    temporary.write_bytes(data)
  return notes


def encode_image(
  name: str | os.PathLike,
  pixels: np.ndarray,
  *,
  icc_profile: bytes | None = None,
  exif: bytes | None = None,
  xmp: bytes | None = None,
) -> tuple[bytes, tuple[str, ...]]:
  """Makes the bytes of an image file.

  Metadata that is broken, or that the format does not hold, is left out.

  Args:
    name: of the file that they are for: its suffix decides the format, and errors name it.
    pixels: uint8 or uint16, [H, W] or [H, W, 1 to 4]: grey, grey and alpha, RGB or RGBA.
    icc_profile: colour profile to embed.
    exif: EXIF block to embed.
    xmp: XMP block to embed.
  Returns:
    The bytes, and what they do not hold of all this, in words.
  Raises:
    ImageError: the pixels are not an image, or the format cannot hold them.
  """
  check_pixels(pixels, deep=True)
  samples = np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[..., None])
  path = pathlib.Path(name)
  form = _format(path, samples)
  kind = _MODES[samples.shape[2]]
  mode = form.modes[kind]
  given = {"icc_profile": icc_profile, "exif": exif, "xmp": xmp}
  present = {key: block for key, block in given.items() if block is not None}
  faults = {key: _fault(path, form, mode, key, block) for key, block in present.items()}
  blocks = {key: block for key, block in present.items() if faults[key] is None}
  data = _encode_or_say(path, form, samples, blocks)
  notes = [fault for fault in faults.values() if fault is not None]
  if mode != kind:
    notes.append(f"{_KINDS[kind]} written as {_KINDS[mode]}")
  if not form.is_exact:
    notes.append(f"{path.suffix} may lose some more quality, .png does not")
  return data, tuple(notes)


def _format(path: pathlib.Path, samples: np.ndarray) -> Format:
  """The format of a name, if it holds such an image."""
  form = FORMATS.get(path.suffix.lower())
  height, width, channels = samples.shape
  if form is None or _MODES[channels] not in form.modes:
    raise ImageError(_refusal(path, samples))
  if samples.dtype == np.uint16 and not form.is_deep:
    others = sorted(
      suffix for suffix, f in FORMATS.items() if f.is_deep and _MODES[channels] in f.modes
    )
    raise ImageError(
      f"{path}: cannot write 16 bits a sample to {path.suffix}; {', '.join(others)} hold them"
    )
  if max(height, width) > form.max_side:
    raise ImageError(
      f"{path}: {path.suffix} holds at most {form.max_side} pixels a side, got {width} x "
      f"{height}; a name that ends in .png always works"
    )
  return form


def _refusal(path: pathlib.Path, samples: np.ndarray, reason: str = "") -> str:
  kind, suffix = _KINDS[_MODES[samples.shape[2]]], path.suffix or "a name without suffix"
  return (
    f"{path}: cannot write {kind} pixels to {suffix}{reason and f' ({reason})'}; a name that ends "
    "in .png always works"
  )


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
    pixel = np.zeros((1, 1, len(mode)), np.uint8)
    read = read_image(_encode(form, pixel, {name: block}))
  except MemoryError:
    raise
  except Exception as error:  # Pillow's parsers raise nearly every type
    reason = f", too long for {path.suffix}" if "too long" in str(error) else ""
    return f"{'' if reason else 'unreadable '}{_NAMES[name]} left out{reason}"
  return None if getattr(read, name) is not None else f"unreadable {_NAMES[name]} left out"


def _encode_or_say(
  path: pathlib.Path, form: Format, samples: np.ndarray, blocks: Mapping[str, bytes]
) -> bytes:
  try:
    return _encode(form, samples, blocks)
  except MemoryError:
    raise
  except Exception as error:  # so do its encoders
    reason = " ".join(str(error).split()) or type(error).__name__
    raise ImageError(_refusal(path, samples, reason)) from error


def _encode(form: Format, samples: np.ndarray, blocks: Mapping[str, bytes]) -> bytes:
  """A file, in memory: what goes wrong here is a matter of the image, never of a full disk."""
  if samples.dtype == np.uint16:
    if form.name == "PNG":
      shallow = _encode(form, np.zeros((1, 1, samples.shape[2]), np.uint8), blocks)
      return png.with_samples(shallow, samples)
    return tiff.encode(samples, **blocks) if form.name == "TIFF" else pnm.encode(samples)
  image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
  image = image.convert(form.modes[image.mode])
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
