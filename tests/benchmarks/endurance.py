"""Compresses and decompresses for long in one process: memory stays, threads do not disturb.

  python -m tests.benchmarks.endurance --files=10000 [--threads=8] [--seed=0]

Small pictures of all kinds and sizes go through `cae_jax.compress` and `decompress`, lossy,
near-lossless and exact by turns. Every file of the first hundred pictures is kept, and must come
out the same whenever its picture comes again, in whatever thread; exact and near-lossless files
must be so. Fails where a file differs or the resident memory of the second half grows.
"""

import argparse
import concurrent.futures
import sys
import threading
import time
from pathlib import Path

import numpy as np
import tqdm

import cae_jax

PICTURES = 100
GROWTH_MIB = 64  # what arenas of malloc may do
_SHAPES = ((48, 64), (64, 48, 3), (64, 64, 4), (33, 80, 3))


def picture(number: int, seed: int) -> np.ndarray:
  """Makes a smooth picture with some noise: uint8, or uint16 for every eighth."""
  rng = np.random.default_rng([seed, number])
  shape = _SHAPES[number % len(_SHAPES)]
  waves = np.sin(np.arange(np.prod(shape)).reshape(shape) / rng.uniform(20, 300))
  grey = 0.5 + 0.4 * waves + rng.normal(0, 0.03, shape)
  deep = number % 8 == 7
  largest = 65535 if deep else 255
  return (largest * grey.clip(0, 1)).astype(np.uint16 if deep else np.uint8)


def options(number: int, x: np.ndarray) -> dict:
  """Chooses how a picture is compressed; 16 bits never lossy."""
  ways: list[dict] = [{"lossless": True}, {"near_lossless": 2}, {"quality": 40}]
  return ways[number % (3 if x.dtype == np.uint8 else 2)]


def there_and_back(number: int, seed: int) -> bytes:
  """Compresses and decompresses a picture; raises AssertionError if it is not what was promised."""
  x = picture(number, seed)
  how = options(number, x)
  data = cae_jax.compress(x, keep_hidden_colour=True, **how)
  y = cae_jax.decompress(data)
  assert (y.shape, y.dtype) == (x.shape, x.dtype), number
  most = {"lossless": 0, "near_lossless": 2}.get(next(iter(how)))
  if most is not None:
    assert np.abs(y.astype(int) - x).max() <= most, number
  return data


def resident_mib() -> float:
  """Reads what the process has in memory."""
  pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
  return pages * 4096 / 2**20


def run(files: int, threads: int, seed: int) -> dict[str, float]:
  """Goes through so many files on so many threads: seconds, and memory in MiB at tenths."""
  first: dict[int, bytes] = {}
  lock = threading.Lock()

  def once(i: int) -> None:
    number = i % PICTURES
    data = there_and_back(number, seed)
    with lock:
      known = first.setdefault(number, data)
    assert data == known, f"picture {number} became another file"

  start, memory = time.monotonic(), []
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    for part in tqdm.tqdm(np.array_split(np.arange(files), 10)):
      list(pool.map(once, part.tolist()))
      memory.append(resident_mib())
  found = {f"mib_at_{10 * (i + 1)}_percent": round(mib, 1) for i, mib in enumerate(memory[:10])}
  return {"files": files, "seconds": round(time.monotonic() - start, 1), **found}


def main() -> int:
  """Runs by command line; status 1 if memory grew."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--files", type=int, default=10000)
  parser.add_argument("--threads", type=int, default=1)
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args()
  found = run(args.files, args.threads, args.seed)
  print(found)
  memory = [value for name, value in found.items() if name.startswith("mib")]
  growth = max(memory[len(memory) // 2 :]) - memory[len(memory) // 2 - 1]
  print(f"the second half grew by {growth:.1f} MiB")
  return int(growth > GROWTH_MIB)


if __name__ == "__main__":
  sys.exit(main())
