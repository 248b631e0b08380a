"""What a worker of `experiments.compress_dataset` costs: CPU seconds and memory, by kind of work.

  python -m tests.benchmarks.bulk PHOTO...

Prints an object a line, of one core: the start of a process, each photograph after the first, and
the most memory. Photographs of one size say most: of another size the first compiles programs.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_KINDS = {
  "bpp=0.5": {"bpp": 0.5},
  "quality=50": {"quality": 50},
  "effort=1": {"quality": 50, "effort": 1},
  "lossless": {"lossless": True},
}


def main() -> int:
  """Measures each kind of work in a process of its own."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
  parser.add_argument("--kind", choices=_KINDS, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.kind:
    return _measure(args.kind, args.photos)
  for kind in _KINDS:
    command = [sys.executable, "-m", "tests.benchmarks.bulk", f"--kind={kind}", *sys.argv[1:]]
    subprocess.run(command, check=True)
  return 0


def _measure(kind: str, photos: list[Path]) -> int:
  from cae_jax.bulk import jobs, parts

  jobs.prepare_process()
  imported = time.process_time()
  with tempfile.TemporaryDirectory() as folder:
    shards, back = Path(folder, "shards"), Path(folder, "back")
    compress, decompress = jobs.Compression(shards, _KINDS[kind]), jobs.Decompression(back)
    seconds, results = [time.process_time()], []
    for number, photo in enumerate(photos):
      images = parts.ImageFiles(photo.parent, (photo.name,))
      results.append(compress(parts.Part(f"{number:05d}", images, 0, None)))
      seconds.append(time.process_time())
    decoded = [time.process_time()]
    for shard in sorted(shards.glob("*.array_record")):
      decompress(shard)
      decoded.append(time.process_time())
  first, *others = _steps(seconds)
  first_decoded, *others_decoded = _steps(decoded)
  print(
    json.dumps(
      {
        "kind": kind,
        "images": len(photos),
        "import_s": round(imported, 2),
        "first_image_s": round(first, 2),
        "image_s": _mean(others),
        "first_decoded_s": round(first_decoded, 2),
        "decoded_s": _mean(others_decoded),
        "pixels": sum(result.pixels for result in results) // len(results),
        "cae_bytes": sum(result.cae_bytes for result in results) // len(results),
        "most_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
      }
    ),
    flush=True,
  )
  return 0


def _steps(times: list[float]) -> list[float]:
  return [after - before for before, after in itertools.pairwise(times)]


def _mean(seconds: list[float]) -> float | None:
  return round(sum(seconds) / len(seconds), 3) if seconds else None


if __name__ == "__main__":
  sys.exit(main())
