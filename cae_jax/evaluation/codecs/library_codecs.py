"""Codecs of optional packages: JPEG XL (imagecodecs), jpegli, HEVC intra (pillow-heif)."""

import importlib
import io
import os

import numpy as np

from cae_jax.evaluation.codecs.base import FileCodec, Missing

# Butteraugli distances, in steps of two percent, from a very small file to nearly lossless.
_JXL_SEARCH = tuple(float(f"{25 * 1.02**-i:.4g}") for i in range(314))


def jxl() -> FileCodec | Missing:
  """Sets up JPEG XL by libjxl: VarDCT, effort 7; setting = distance. It aims at the eye."""
  install = "pip install imagecodecs"
  try:
    imagecodecs = importlib.import_module("imagecodecs")
  except ImportError as error:
    return Missing("jxl", f"imagecodecs cannot be imported ({error})", install)
  if not imagecodecs.JPEGXL.available:
    return Missing("jxl", "this imagecodecs was built without libjxl", install)

  def encode(x_uint8, distance):
    return bytes(
      imagecodecs.jpegxl_encode(
        x_uint8, distance=distance, effort=7, lossless=False, numthreads=os.cpu_count()
      )
    )

  return FileCodec(
    name="jxl",
    version=f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}; "
    "VarDCT, effort 7",
    settings=(25.0, 15.0, 10.0, 7.0, 4.5, 3.0, 2.0, 1.5, 1.0, 0.7, 0.4),
    search=_JXL_SEARCH,
    encoder=encode,
    decoder=lambda data: np.asarray(imagecodecs.jpegxl_decode(data, numthreads=os.cpu_count())),
  )


def jpegli() -> FileCodec | Missing:
  """Sets up JPEG by jpegli, encoder and decoder, at its defaults; it aims at the eye."""
  try:
    pyjpegli = importlib.import_module("pyjpegli")
  except ImportError as error:
    return Missing("jpegli", f"pyjpegli cannot be imported ({error})", "pip install pyjpegli")

  def encode(x_uint8, quality):
    height, width, _ = x_uint8.shape
    return pyjpegli.encode(x_uint8.tobytes(), width, height, quality)

  def decode(data):
    samples, width, height = pyjpegli.decode(data)
    return np.frombuffer(samples, np.uint8).reshape(height, width, 3)

  return FileCodec(
    name="jpegli",
    version=f"pyjpegli {pyjpegli.__version__}; its defaults",
    settings=(1, 5, 10, 20, 30, 40, 50, 65, 80, 90, 95),
    search=tuple(range(1, 101)),
    encoder=encode,
    decoder=decode,
  )


# libheif's default aims at SSIM. Without the other two x265 decides for the eye in spite of the
# tune, and codes chroma of 4:4:4 six steps of QP coarser.
_X265_FOR_PSNR = {"tune": "psnr", "x265:psy-rd": "0", "x265:psy-rdoq": "0"}


def heic() -> FileCodec | Missing:
  """Sets up HEVC intra by x265 in a HEIF file: 4:4:4, all of it for PSNR."""
  install = "pip install pillow-heif"
  try:
    pillow_heif = importlib.import_module("pillow_heif")
  except ImportError as error:
    return Missing("heic", f"pillow-heif cannot be imported ({error})", install)
  info = pillow_heif.libheif_info()
  if not info["HEIF"]:
    return Missing("heic", "this pillow-heif was built without an HEVC encoder", install)

  def encode(x_uint8, quality):
    buffer = io.BytesIO()
    height, width, _ = x_uint8.shape
    image = pillow_heif.from_bytes("RGB", (width, height), x_uint8.tobytes())
    image.save(buffer, quality=quality, chroma=444, enc_params=_X265_FOR_PSNR, tile_size=0)
    return buffer.getvalue()

  def decode(data):
    return np.array(pillow_heif.open_heif(io.BytesIO(data)))

  return FileCodec(
    name="heic",
    version=f"pillow-heif {pillow_heif.__version__}, libheif {info['libheif']}, {info['HEIF']}; "
    "4:4:4, tune=psnr, psy-rd=0, psy-rdoq=0, one tile",
    settings=(0, 10, 20, 30, 40, 50, 60, 70),
    search=tuple(range(101)),
    encoder=encode,
    decoder=decode,
  )
