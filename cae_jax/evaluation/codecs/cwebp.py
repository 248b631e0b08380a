"""WebP through the program `cwebp`: its sharp chroma, which Pillow cannot ask for."""

import functools
import pathlib
import shutil
import tempfile

import numpy as np

from cae_jax.evaluation import programs
from cae_jax.evaluation.codecs.base import CodecError, FileCodec, Missing
from cae_jax.images import files

_HOW_TO_GET = "install libwebp's programs (Debian: apt install webp), or put cwebp on the PATH"


def webp_sharp() -> FileCodec | Missing:
  """Sets up lossy WebP, method 6, its 4:2:0 chroma made so that edges keep their colours."""
  program = shutil.which("cwebp")
  if program is None:
    return Missing("webp_sharp", "no program cwebp on the PATH", _HOW_TO_GET)
  try:
    version = " ".join(programs.run([program, "-version"]).split())
  except CodecError as error:
    return Missing("webp_sharp", str(error), _HOW_TO_GET)
  return FileCodec(
    name="webp_sharp",
    version=f"cwebp {version}; lossy, method 6, 4:2:0, sharp YUV",
    settings=(0, 5, 10, 20, 35, 50, 65, 75, 85, 92, 97),
    search=tuple(range(101)),
    encoder=functools.partial(_encode, program),
    decoder=_decode,
  )


def _encode(program: str, x_uint8: np.ndarray, quality: int) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    source, target = pathlib.Path(folder, "in.png"), pathlib.Path(folder, "out.webp")
    files.write_image(source, x_uint8)
    options = ["-quiet", "-m", "6", "-sharp_yuv", "-q", str(quality)]
    programs.run([program, *options, str(source), "-o", str(target)])
    return target.read_bytes()


def _decode(data: bytes) -> np.ndarray:
  with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder, "in.webp")
    source.write_bytes(data)
    return files.read_rgb(source)
