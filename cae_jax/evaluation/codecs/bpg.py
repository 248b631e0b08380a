"""BPG through the programs of libbpg, `bpgenc` and `bpgdec`, as real files."""

import functools
import pathlib
import re
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from cae_jax.evaluation import programs
from cae_jax.evaluation.codecs.base import CodecError, FileCodec, Folder, Missing
from cae_jax.images import files

_HOW_TO_GET = (
  "build libbpg 0.9.8 (https://bellard.org/bpg/) and put bpgenc and bpgdec on the PATH, "
  "or name their folder with --bpg_dir"
)


def bpg(bpg_dir: Folder = None, *, bits: int = 8) -> FileCodec | Missing:
  """Sets up BPG 4:4:4, level 8; setting = QP. The encoder is x265, or JCTVC in a build without it.

  Args:
    bits: of a sample within: 8, as in published curves, or 10, which rounds less.
    bpg_dir: the folder of the two programs; None looks on the PATH.
  """
  name = "bpg" if bits == 8 else f"bpg_{bits}bit"
  place = None if bpg_dir is None else str(bpg_dir)
  programs = [shutil.which(name, path=place) for name in ("bpgenc", "bpgdec")]
  missing = [name for name, found in zip(("bpgenc", "bpgdec"), programs) if found is None]
  if missing:
    where = f"in {place}" if place else "on the PATH"
    return Missing(name, f"no program {' or '.join(missing)} {where}", _HOW_TO_GET)
  encoder_program, decoder_program = map(str, programs)
  try:
    version, encoder = _version(encoder_program)
  except CodecError as error:
    return Missing(name, str(error), _HOW_TO_GET)
  options = ["-e", encoder, "-f", "444", "-m", "8", *([] if bits == 8 else ["-b", str(bits)])]
  return FileCodec(
    name=name,
    version=f"libbpg {version}; {encoder}, 4:4:4, {' '.join(options[4:])}",
    settings=(51, 47, 44, 42, 37, 32, 27, 22, 19),
    search=tuple(range(51, -1, -1)),
    encoder=functools.partial(_encode, encoder_program, options),
    decoder=functools.partial(_decode, decoder_program),
  )


def _version(program: str) -> tuple[str, str]:
  """The version of libbpg and the HEVC encoder to use, from the program's own help."""
  # The help ends with exit status 1.
  text = programs.run([program, "-h"], check=False)
  version = re.search(r"BPG Image Encoder version (\S+)", text)
  encoders = re.search(r"select the HEVC encoder \(([^,)]+)", text)
  if not version or not encoders:
    raise CodecError(f"{program} does not answer as bpgenc does")
  built_in = encoders[1].split()
  return version[1], "x265" if "x265" in built_in else built_in[0]


def _encode(program: str, options: Sequence[str], x_uint8: np.ndarray, qp: int) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    source, target = pathlib.Path(folder, "in.png"), pathlib.Path(folder, "out.bpg")
    files.write_image(source, x_uint8)
    programs.run([program, *options, "-q", str(qp), "-o", str(target), str(source)])
    return target.read_bytes()


def _decode(program: str, data: bytes) -> np.ndarray:
  with tempfile.TemporaryDirectory() as folder:
    source, target = pathlib.Path(folder, "in.bpg"), pathlib.Path(folder, "out.png")
    source.write_bytes(data)
    programs.run([program, "-o", str(target), str(source)])
    return files.read_rgb(target)
