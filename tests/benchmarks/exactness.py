"""Encodes in every configuration, decodes every file in every configuration, and draws the matrix.

  python -m tests.benchmarks.exactness --weights=WEIGHTS IMAGE... [--python=OTHER_PYTHON...]

Each configuration is a process of its own: without jit, on eight devices, on one thread, without
the compiler's optimisation, with other vector instructions, other default precisions, a bfloat16
synthesis, and with other Python environments (other versions of JAX). A file that decodes passed
the checksum of its symbols; what the table gives is the largest difference between the pictures.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

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
  runs = {name: (sys.executable, env) for name, env in CONFIGURATIONS.items()}
  runs |= {_version(python): (python, {}) for python in args.python}
  with tempfile.TemporaryDirectory() as folder:
    for number, (name, run) in enumerate(runs.items()):
      _start(run, [*sys.argv[1:], f"--encode_to={folder}/{number}"])
      print(f"encoded: {name}", flush=True)
    for number, (name, run) in enumerate(runs.items()):
      _start(run, [*sys.argv[1:], f"--decode_from={folder}", f"--encode_to={folder}/{number}"])
      print(f"decoded: {name}", flush=True)
    print(_table(Path(folder), list(runs), len(args.images)))
  return 0


def _start(run: tuple[str, dict[str, str]], arguments: list[str]) -> None:
  python, env = run
  command = [python, "-m", "tests.benchmarks.exactness", *arguments]
  if "ONE_CORE" in env:
    command = ["taskset", "-c", "0", *command]
  subprocess.run(command, env={**os.environ, **env}, check=True)


def _version(python: str) -> str:
  code = "import jax, sys; print(f'jax {jax.__version__}, Python {sys.version.split()[0]}')"
  return subprocess.run([python, "-c", code], check=True, text=True, capture_output=True).stdout[
    :-1
  ]


def _child(args: argparse.Namespace) -> int:
  codec = _codec(args.weights)
  if args.decode_from is None:
    from cae_jax.images.files import read_rgb

    args.encode_to.mkdir()
    for i, path in enumerate(args.images):
      data = codec.compress(read_rgb(path), quality=args.quality)
      (args.encode_to / f"{i}.cae").write_bytes(data)
    return 0
  for folder in sorted(args.decode_from.iterdir()):
    for path in sorted(folder.glob("*.cae")):
      picture = codec.decompress(path.read_bytes())
      np.save(args.encode_to / f"from_{folder.name}_{path.stem}.npy", picture)
  return 0


def _codec(path: Path):
  from cae_jax import codec
  from cae_jax.codec.coders.context import Coder
  from cae_jax.weights import load_weights

  weights = load_weights(path)
  dtype = os.environ.get("CAE_JAX_TEST_DTYPE")
  return codec.Codec(weights, Coder(weights, dtype)) if dtype else codec.from_weights(weights)


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


if __name__ == "__main__":
  sys.exit(main())
