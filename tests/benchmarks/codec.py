"""Speed and memory of a codec: encode, decode, their parts, a large photograph.

  python -m tests.benchmarks.codec --weights=WEIGHTS [--image=PHOTO] [--repeats=7]

Prints a Markdown table; `cold` measures commands that start anew. The figures are of this machine,
and say something only beside each other.
"""

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from cae_jax import codec as codecs
from cae_jax.coding import rans
from cae_jax.images.files import read_rgb

_LARGE = (4000, 6000)


def main() -> int:
  """Runs all parts."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--weights")
  parser.add_argument("--image", type=Path)
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.large:
    return _large(args.weights)
  image = read_rgb(args.image) if args.image else picture(512, 768)
  codec = codecs.load(args.weights)
  print(f"{image.shape[1]} x {image.shape[0]}, {os.cpu_count()} CPU cores, JAX {jax.__version__}\n")
  print("| what | median s | fastest, slowest s |\n|---|---|---|")
  _warm(codec, image, args.repeats)
  _passes(codec, image, args.repeats)
  command = [sys.executable, "-m", "tests.benchmarks.codec", "--large"]
  subprocess.run(command + ([f"--weights={args.weights}"] if args.weights else []), check=True)
  return 0


def _row(name: str, seconds: list[float]) -> None:
  spread = f"{min(seconds):.3f}, {max(seconds):.3f}"
  print(f"| {name} | {statistics.median(seconds):.3f} | {spread} |", flush=True)


def _times(function, repeats: int) -> list[float]:
  function()
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    function()
    seconds.append(time.perf_counter() - start)
  return seconds


def _warm(codec, image: np.ndarray, repeats: int) -> None:
  for quality in (25, 50, 75):
    data = codec.compress(image, quality=quality)
    bpp = 8 * len(data) / image[..., 0].size
    with _clock(rans, "encode_parts") as coding:
      _row(
        f"encode, {bpp:.2f} bpp",
        _times(lambda q=quality: codec.compress(image, quality=q), repeats),
      )
    print(f"| of it rANS | {sum(coding) / (repeats + 1):.3f} | |")
    with _clock(rans.Decoder, "decode") as coding:
      _row(f"decode, {bpp:.2f} bpp", _times(lambda d=data: codec.decompress(d), repeats))
    print(f"| of it rANS | {sum(coding) / (repeats + 1):.3f} | |")


@contextlib.contextmanager
def _clock(owner, name: str):
  """Collects the seconds of every call of a function."""
  function, seconds = getattr(owner, name), []

  def timed(*args, **kwargs):
    start = time.perf_counter()
    result = function(*args, **kwargs)
    seconds.append(time.perf_counter() - start)
    return result

  setattr(owner, name, timed)
  try:
    yield seconds
  finally:
    setattr(owner, name, function)


def _passes(codec, image: np.ndarray, repeats: int) -> None:
  """Hyper-synthesis, bridge and context passes in integers, with nothing to decode."""
  coder = codec.coder
  shape = tuple(-(-side // 16) for side in image.shape[:2])
  z_hat = np.zeros(
    (*(-(-side // 4) for side in shape), coder.compiled.model.hyper_channels), np.int32
  )
  nothing = lambda here, indexes, means: np.zeros(len(indexes), np.int32)
  run = lambda: list(coder._passes.run(z_hat, shape, 2048, nothing))
  _row("context passes in integers", _times(run, repeats))


def _large(weights: str | None) -> int:
  codec, image = codecs.load(weights), picture(*_LARGE)
  start = time.perf_counter()
  data = codec.compress(image)
  middle = time.perf_counter()
  codec.decompress(data)
  end = time.perf_counter()
  mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  print(f"| 24 megapixels: encode | {middle - start:.1f} | |")
  print(f"| 24 megapixels: decode | {end - middle:.1f} | |")
  print(f"\nLargest memory of the process with the 24 megapixels: {mib:.0f} MiB.")
  return 0


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
  """Draws waves, edges and grain: uint8 [height, width, 3]."""
  rng = np.random.default_rng(seed)
  rows, columns = np.ogrid[:height, :width]
  image = np.empty((height, width, 3), np.uint8)
  for channel in range(3):
    a, b = rng.normal(0, 0.02, 2)
    wave = np.sin(a * rows + b * columns) + ((rows // 97 + columns // 131) % 2)
    grain = rng.normal(0, 5, (height, width)).astype(np.float32)
    image[..., channel] = np.clip(100 + 60 * wave.astype(np.float32) + grain, 0, 255)
  return image


if __name__ == "__main__":
  sys.exit(main())
