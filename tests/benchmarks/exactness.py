"""Encodes in every configuration, decodes every file in every configuration, and draws the matrix.

  python -m tests.benchmarks.exactness --weights=WEIGHTS IMAGE... [--python=OTHER_PYTHON...]

Each configuration is a process of its own: without jit, on eight devices, on one thread, without
the compiler's optimisation, with other vector instructions, other default precisions, a bfloat16
synthesis, and with other Python environments (other versions of JAX). A file that decodes passed
the checksum of its symbols; what the table gives is the largest difference between the pictures.

With lossless weights, configurations are those that concern NumPy: threads, vector instructions of
NumPy and of BLAS, other versions. Images are read exactly, and coded without loss and nearly so;
what comes back is compared with the image, too. A last line says whose files have other bytes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.images.files import read_image, read_rgb
from cae_jax.weights import load_weights

CONFIGURATIONS = {
  "default": {},
  "without jit": {"JAX_DISABLE_JIT": "1"},
  "8 devices": {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
  "one thread": {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "ONE_CORE": "1",
    "OPENBLAS_NUM_THREADS": "1",
  },
  "not optimised": {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
  "AVX2 at most": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "OPENBLAS_CORETYPE": "Haswell"},
  "SSE4 at most": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2", "OPENBLAS_CORETYPE": "Nehalem"},
  "64-bit mode": {"JAX_ENABLE_X64": "1"},
  "bfloat16 products": {"JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"},
  "bfloat16 synthesis": {"CAE_JAX_TEST_DTYPE": "bfloat16"},
}
LOSSLESS_CONFIGURATIONS = {
  "default": {},
  "one core": {"ONE_CORE": "1", "OPENBLAS_NUM_THREADS": "1"},
  "BLAS of 2 threads": {"OPENBLAS_NUM_THREADS": "2"},
  "BLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
  "BLAS for Zen": {"OPENBLAS_CORETYPE": "Zen"},
  "BLAS for Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
  "NumPy with AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SKX"},
  "NumPy with SSE4": {"NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SKX,AVX2,FMA3"},
}
NEAR_LOSSLESS = 2


def main() -> int:
  """Runs the matrix, or one configuration of it."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("images", nargs="+", type=Path)
  parser.add_argument("--weights", required=True, type=Path)
  parser.add_argument("--quality", type=float, default=50.0)
  parser.add_argument("--python", action="append", default=[], help="another environment's python")
  parser.add_argument("--encode_to", type=Path, help=argparse.SUPPRESS)
  parser.add_argument("--decode_from", type=Path, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.encode_to or args.decode_from:
    return _child(args)
  is_lossless = load_weights(args.weights).config["model"] == "lossless"
  configurations = LOSSLESS_CONFIGURATIONS if is_lossless else CONFIGURATIONS
  runs = {name: (sys.executable, env) for name, env in configurations.items()}
  runs |= {_version(python, is_lossless): (python, {}) for python in args.python}
  with tempfile.TemporaryDirectory() as folder:
    for number, (name, run) in enumerate(runs.items()):
      _start(run, [*sys.argv[1:], f"--encode_to={folder}/{number}"])
      print(f"encoded: {name}", flush=True)
    for number, (name, run) in enumerate(runs.items()):
      _start(run, [*sys.argv[1:], f"--decode_from={folder}", f"--encode_to={folder}/{number}"])
      print(f"decoded: {name}", flush=True)
    files = len(args.images) * (1 + is_lossless)
    print(_table(Path(folder), list(runs), files))
    if is_lossless:
      _check_samples(Path(folder), len(runs), args.images)
      print(f"\nfiles of other bytes than the first: {_others(Path(folder), list(runs), files)}")
  return 0


def _start(run: tuple[str, dict[str, str]], arguments: list[str]) -> None:
  python, env = run
  command = [python, "-m", "tests.benchmarks.exactness", *arguments]
  if "ONE_CORE" in env:
    command = ["taskset", "-c", "0", *command]
  subprocess.run(command, env={**os.environ, **env}, check=True)


def _version(python: str, is_lossless: bool) -> str:
  library = "numpy" if is_lossless else "jax"
  code = f"import {library} as of, sys; "
  code += f"print(f'{library} {{of.__version__}}, Python {{sys.version.split()[0]}}')"
  return subprocess.run([python, "-c", code], check=True, text=True, capture_output=True).stdout[
    :-1
  ]


def _child(args: argparse.Namespace) -> int:
  codec = _codec(args.weights)
  if args.decode_from is None:
    args.encode_to.mkdir()
    for i, data in enumerate(_encoded(codec, args)):
      (args.encode_to / f"{i}.cae").write_bytes(data)
    return 0
  for folder in sorted(args.decode_from.iterdir()):
    for path in sorted(folder.glob("*.cae")):
      picture = codec.decompress(path.read_bytes())
      np.save(args.encode_to / f"from_{folder.name}_{path.stem}.npy", picture)
  return 0


def _encoded(codec, args: argparse.Namespace) -> Iterator[bytes]:
  """Files of all images; lossless ones, then near-lossless ones."""
  if not isinstance(codec, LosslessCodec):
    for path in args.images:
      yield codec.compress(read_rgb(path), quality=args.quality)
    return
  for error in (0, NEAR_LOSSLESS):
    for path in args.images:
      image = read_image(path, exact=True).pixels
      yield codec.compress(image, near_lossless=error, keep_hidden_colour=True)


def _codec(path: Path):
  from cae_jax import codec

  weights = load_weights(path)
  dtype = os.environ.get("CAE_JAX_TEST_DTYPE")
  if not dtype:
    return codec.from_weights(weights)
  from cae_jax.codec.coders.context import Coder

  return codec.Codec(weights, Coder(weights, dtype))


def _table(folder: Path, names: list[str], images: int) -> str:
  """Rows decode, columns encode: the largest difference to the default decoder's picture."""
  lines = [
    "| decoded \\ encoded | " + " | ".join(names) + " |",
    "| --- |" + " --- |" * len(names),
  ]
  for row, name in enumerate(names):
    cells = []
    for column in range(len(names)):
      differences = [
        np.abs(
          np.load(folder / f"{row}/from_{column}_{i}.npy").astype(int)
          - np.load(folder / f"0/from_{column}_{i}.npy")
        ).max()
        for i in range(images)
      ]
      cells.append(str(max(differences)))
    lines.append(f"| {name} | " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _check_samples(folder: Path, runs: int, images: list[Path]) -> None:
  """Every sample that came back is right."""
  for i, path in enumerate(images):
    image = read_image(path, exact=True).pixels.astype(int)
    for row in range(runs):
      for column in range(runs):
        for error, number in ((0, i), (NEAR_LOSSLESS, i + len(images))):
          found = np.load(folder / f"{row}/from_{column}_{number}.npy")
          assert np.abs(found - image).max() <= error, (path, row, column, error)


def _others(folder: Path, names: list[str], files: int) -> str:
  """Names of configurations, and how many of their files have other bytes than the first's."""
  counts = {
    name: sum(
      (folder / f"{run}/{i}.cae").read_bytes() != (folder / f"0/{i}.cae").read_bytes()
      for i in range(files)
    )
    for run, name in enumerate(names)
  }
  return (
    ", ".join(f"{name} {count} of {files}" for name, count in counts.items() if count) or "none"
  )


if __name__ == "__main__":
  sys.exit(main())
