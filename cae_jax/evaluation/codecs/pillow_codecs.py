"""Pillow's codecs at their strong settings: JPEG, JPEG 2000, WebP, AVIF."""

import functools
import io
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from cae_jax.evaluation.codecs.base import CodecError, FileCodec, Missing
from cae_jax.evaluation.records import Setting

_UPGRADE = "pip install --upgrade pillow (its wheels have it)"
_JPEG_SWEEP = (1, 5, 10, 20, 30, 40, 50, 65, 80, 90, 95)
# Nominal compression ratios (24 bpp over the rate), in steps of half a percent from 1000 to 1.5.
_JPEG2000_SEARCH = tuple(float(f"{1000 * 1.005**-i:.5g}") for i in range(1304))


def jpeg() -> FileCodec | Missing:
  """Sets up JPEG with 4:2:0 chroma (the usual choice), progressive, optimised Huffman tables."""
  return _jpeg("jpeg", "4:2:0")


def jpeg_444() -> FileCodec | Missing:
  """Sets up JPEG with 4:4:4 chroma, which is the better of the two at high quality."""
  return _jpeg("jpeg_444", "4:4:4")


def jpeg2000() -> FileCodec | Missing:
  """Sets up JPEG 2000 by OpenJPEG: 9/7 wavelet, colour transform; setting = compression ratio."""
  return _pillow_codec(
    name="jpeg2000",
    feature="jpg_2000",
    library="OpenJPEG",
    image_format="JPEG2000",
    options={"irreversible": True, "mct": 1, "quality_mode": "rates"},
    option_words="9/7 wavelet, irreversible colour transform, rate mode",
    setting_option="quality_layers",
    settings=(480, 240, 160, 96, 64, 48, 32, 24, 16, 12, 9.6),
    search=_JPEG2000_SEARCH,
  )


def webp() -> FileCodec | Missing:
  """Sets up lossy WebP, method 6 (the slowest); its chroma is always 4:2:0."""
  return _pillow_codec(
    name="webp",
    feature="webp",
    library="libwebp",
    image_format="WEBP",
    options={"method": 6},
    option_words="lossy, method 6, 4:2:0",
    setting_option="quality",
    settings=(0, 5, 10, 20, 35, 50, 65, 75, 85, 92, 97),
    search=tuple(range(101)),
  )


def avif(name: str, tune: str, speed: int) -> FileCodec | Missing:
  """Sets up AVIF by libaom: 4:4:4; one thread and no tiles, which cost bits.

  Args:
    name: of the codec.
    tune: "psnr", "iq" (for people, as libavif's default is) or "ssimulacra2".
    speed: of the encoder, 0 (slowest) to 10.
  """
  # For the eye libaom does not tune at quality 100, where AVIF is lossless but for colour.
  best = 100 if tune == "psnr" else 99
  codec = _pillow_codec(
    name=name,
    feature="avif",
    library="libavif",
    image_format="AVIF",
    options={
      "subsampling": "4:4:4",
      "speed": speed,
      "max_threads": 1,
      "autotiling": False,
      "advanced": {"tune": tune},
    },
    option_words=f"aom, 4:4:4, speed {speed}, tune={tune}, no tiles",
    setting_option="quality",
    settings=(1, 20, 32, 45, 57, 70, 80),
    search=tuple(range(best + 1)),
  )
  if isinstance(codec, FileCodec):
    try:
      codec.encode(np.zeros((8, 8, 3), np.uint8), 50)
    except CodecError:
      return Missing(name, f"the encoder of this Pillow has no tune={tune}", _UPGRADE)
  return codec


def _jpeg(name: str, subsampling: str) -> FileCodec | Missing:
  return _pillow_codec(
    name=name,
    feature="libjpeg_turbo" if features.check("libjpeg_turbo") else "jpg",
    library="libjpeg-turbo" if features.check("libjpeg_turbo") else "libjpeg",
    image_format="JPEG",
    options={"subsampling": subsampling, "progressive": True, "optimize": True},
    option_words=f"{subsampling}, progressive, optimised",
    setting_option="quality",
    settings=_JPEG_SWEEP,
    search=tuple(range(1, 101)),
  )


def _pillow_codec(
  *,
  name: str,
  feature: str,
  library: str,
  image_format: str,
  options: dict[str, Any],
  option_words: str,
  setting_option: str,
  settings: tuple[Setting, ...],
  search: tuple[Setting, ...],
) -> FileCodec | Missing:
  if not features.check(feature):
    reason = f"this Pillow ({PIL.__version__}) was built without {library}"
    return Missing(name, reason, _UPGRADE)
  libraries = f"Pillow {PIL.__version__}, {library} {features.version(feature)}"
  return FileCodec(
    name=name,
    version=f"{libraries}; {option_words}",
    settings=settings,
    search=search,
    encoder=functools.partial(_encode, image_format, setting_option, options),
    decoder=_decode,
  )


def _encode(image_format, setting_option, options, x_uint8, setting) -> bytes:
  # JPEG 2000 takes a list of quality layers.
  value = [setting] if setting_option == "quality_layers" else setting
  buffer = io.BytesIO()
  Image.fromarray(x_uint8).save(buffer, image_format, **options, **{setting_option: value})
  return buffer.getvalue()


def _decode(data: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(data)) as image:
    return np.array(image.convert("RGB"))
