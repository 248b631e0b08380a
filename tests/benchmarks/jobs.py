"""What `cae compress FOLDER --jobs=N` gains: two folders' worth of work in turns, one job and N.

  python -m tests.benchmarks.jobs [--source_dir=PHOTOS] [--jobs=2] [--repeats=1]

Without PHOTOS it makes 24 images of 768 x 512 pixels. What is gained by the clock says something
only of a machine that does nothing else, with a core for each job; CPU seconds say what jobs cost
each other.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cae_jax.images.files import write_image
from tests.benchmarks.codec import picture

_COUNT = 24


def main() -> int:
  """Runs by command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--source_dir", type=Path)
  parser.add_argument("--jobs", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=1)
  args = parser.parse_args()
  print(f"Load {os.getloadavg()[0]:.1f} before, on {len(os.sched_getaffinity(0))} cores.\n")
  print("| jobs | seconds by the clock | CPU seconds |\n|---|---|---|", flush=True)
  with tempfile.TemporaryDirectory() as name:
    photos = args.source_dir or _made_photos(Path(name) / "photos")
    _compress([next(photos.glob("*.png"))], Path(name), 1)  # compiles
    found: dict[int, list[tuple[float, float]]] = {1: [], args.jobs: []}
    for _ in range(args.repeats):
      for jobs, times in found.items():
        times.append(_compress([photos], Path(name), jobs))
  medians = {jobs: [statistics.median(column) for column in zip(*t)] for jobs, t in found.items()}
  for jobs, (wall, cpu) in medians.items():
    print(f"| {jobs} | {wall:.1f} | {cpu:.1f} |")
  clock, cpu = (many / one for many, one in zip(medians[args.jobs], medians[1]))
  print(f"\n{args.jobs} jobs take {clock:.2f} of the time of one, {cpu:.2f} of its CPU seconds.")
  print(f"Load {os.getloadavg()[0]:.1f} after.")
  return 0


def _made_photos(folder: Path) -> Path:
  folder.mkdir()
  for number in range(_COUNT):
    write_image(folder / f"{number}.png", picture(512, 768, number))
  return folder


def _compress(sources: list[Path], work: Path, jobs: int) -> tuple[float, float]:
  """Seconds by the clock, and CPU seconds of all processes."""
  command = [sys.executable, "-m", "cae_jax.cli", "compress", *map(str, sources)]
  command += [f"--output_dir={work / 'out'}", f"--jobs={jobs}", "--bpp=0.3", "--force"]
  env = {**os.environ, "CAE_JAX_CACHE_DIR": str(work / "cache")}
  before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
  subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
  wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return wall, cpu


if __name__ == "__main__":
  sys.exit(main())
