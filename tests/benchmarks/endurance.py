"""Compresses and decompresses for long, in many threads, in many processes: nothing changes.

  python -m tests.benchmarks.endurance memory --files=10000
  python -m tests.benchmarks.endurance threads --minutes=10 --threads=8
  python -m tests.benchmarks.endurance pools --files=200 --jobs=4

Small pictures of all kinds and sizes go through `cae_jax.compress` and `decompress`, lossy,
near-lossless and exact by turns; what exact and near-lossless files promise must hold.

- memory: one process, one file after the other; the memory at the end must be that after the first
  tenth.
- threads: in all threads at once, whatever picture comes, must become the file and the picture
  that it became in one thread before.
- pools: processes that were forked (before this one has used JAX, as the codec asks for), those
  that were spawned, and this one must make the same files and pictures.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import tqdm

import cae_jax

PICTURES = 48
GROWTH_MIB = 32  # what arenas of malloc may do
_SHAPES = ((5, 7), (8, 6, 3), (1, 1, 3), (4, 9, 4), (17, 12), (6, 3, 3))


@dataclasses.dataclass(frozen=True)
class Trip:
  """What became of a picture.

  Attributes:
    file: SHA-256 of the file.
    picture: SHA-256 of the decoded samples.
  """

  file: str
  picture: str


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
  ways: list[dict] = [{"quality": 40}, {"lossless": True}, {"near_lossless": 2}]
  return ways[number % 3] if x.dtype == np.uint8 else ways[1 + number % 2]


def there_and_back(number: int, seed: int) -> Trip:
  """Compresses and decompresses a picture; raises AssertionError if it is not what was promised."""
  x = picture(number, seed)
  how = options(number, x)
  data = cae_jax.compress(x, keep_hidden_colour=True, **how)
  y = cae_jax.decompress(data)
  assert (y.shape, y.dtype) == (x.shape, x.dtype), number
  most = {"lossless": 0, "near_lossless": 2}.get(next(iter(how)))
  if most is not None:
    assert np.abs(y.astype(int) - x).max() <= most, number
  return Trip(hashlib.sha256(data).hexdigest(), hashlib.sha256(y.tobytes()).hexdigest())


def resident_mib() -> float:
  """Reads what the process has in memory."""
  pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
  return round(pages * 4096 / 2**20, 1)


def memory(files: int, seed: int = 0) -> dict[str, float]:
  """Goes through so many files: resident MiB after each tenth of them, by number of files.

  Raises:
    AssertionError: a picture became another file than before, or the memory has grown after the
      first tenth.
  """
  first: dict[int, Trip] = {}
  found = {}
  for done in tqdm.trange(1, files + 1, mininterval=60):
    number = done % PICTURES
    trip = there_and_back(number, seed)
    assert trip == first.setdefault(number, trip), f"picture {number} became another file"
    if done % (files // 10) == 0:
      found[f"mib_after_{done}"] = resident_mib()
      tqdm.tqdm.write(json.dumps(found))
  begin, *later = found.values()
  assert max(later) - begin <= GROWTH_MIB, found
  return found


def threads(minutes: float, count: int, seed: int = 0) -> dict[str, float]:
  """Goes through files in so many threads at once, for so long: how many files.

  Raises:
    AssertionError: a thread made another file or picture than one thread alone.
  """
  alone = [there_and_back(number, seed) for number in range(PICTURES)]
  end = time.monotonic() + 60 * minutes

  def work(thread: int) -> int:
    rng = np.random.default_rng([seed, thread])
    for done in itertools.count():
      if time.monotonic() > end:
        return done
      number = int(rng.integers(PICTURES))
      assert there_and_back(number, seed) == alone[number], f"picture {number} became another"
    raise AssertionError

  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    done = list(pool.map(work, range(count)))
  assert min(done) > 0, done
  return {"threads": count, "minutes": minutes, "files": sum(done)}


def pools(files: int, jobs: int, seed: int = 0) -> dict[str, float]:
  """Goes through so many files in pools of so many processes each.

  Raises:
    AssertionError: they, or this process, differ.
  """
  trips = {}
  ways = [way for way in ("fork", "spawn") if way in multiprocessing.get_all_start_methods()]
  for way in ways:
    context = multiprocessing.get_context(way)
    with concurrent.futures.ProcessPoolExecutor(jobs, context) as pool:
      trips[way] = list(pool.map(there_and_back, range(files), itertools.repeat(seed)))
  here = [there_and_back(number, seed) for number in range(min(files, PICTURES))]
  for way in ways:
    assert trips[way][: len(here)] == here, f"{way} makes other files"
    assert trips[way] == trips[ways[0]]
  return {"jobs": jobs, **{f"files_by_{way}": len(trips[way]) for way in ways}}


def main() -> int:
  """Runs by command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("what", choices=["memory", "threads", "pools"])
  parser.add_argument("--files", type=int, default=10_000)
  parser.add_argument("--minutes", type=float, default=10.0)
  parser.add_argument("--threads", type=int, default=8)
  parser.add_argument("--jobs", type=int, default=4)
  parser.add_argument("--seed", type=int, default=0)
  args = parser.parse_args()
  start = time.monotonic()
  run = {
    "memory": lambda: memory(args.files, args.seed),
    "threads": lambda: threads(args.minutes, args.threads, args.seed),
    "pools": lambda: pools(args.files, args.jobs, args.seed),
  }
  found = run[args.what]()
  cpu_s = time.process_time()
  print(json.dumps({**found, "seconds": round(time.monotonic() - start), "cpu_s": round(cpu_s)}))
  return 0


if __name__ == "__main__":
  sys.exit(main())
