"""What a worker of `experiments.compress_dataset` costs: CPU seconds and memory, by kind of work.

  python -m tests.benchmarks.bulk PHOTO...

Prints an object a line: of finding images first; then, of each kind of work on one core, the start
of a process, each photograph after the first, and the most memory. The photographs should have one
size: the first of a size compiles programs.
"""

import argparse
import io
import itertools
import json
import pickle
import random
import resource
import subprocess
import sys
import tarfile
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
  if not args.kind:
    print(json.dumps(_planning()), flush=True)
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


def _planning(files: int = 100_000, members: int = 10_000, records: int = 2000) -> dict[str, float]:
  """CPU seconds of finding image files and members of a tar shard, and of reading shards' names."""
  from cae_jax.bulk import parts
  from cae_jax.coding.bitstream import Header, Kind, pack
  from cae_jax.data import listing, shards

  with tempfile.TemporaryDirectory() as text:
    folder, times = Path(text), []
    (folder / "files").mkdir()
    for number in range(files):
      (folder / "files" / f"{number:012d}.png").touch()
    with tarfile.open(folder / "t.tar", "w") as archive:
      for number in range(members):
        entry = tarfile.TarInfo(f"{number:012d}.jpg")
        entry.size = 100_000
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    (folder / "shards").mkdir()
    header = Header("context", bytes(8), Kind.RGB, 512, 768, bytes(2))
    label = shards.Label.of(f"{0:012d}.jpg", bytes(8)).metadata
    file = pack(header, [random.Random(0).randbytes(25_000)], label)
    shards.write_shard(folder / "shards" / f"a{shards.SUFFIX}", [file] * records)

    for work in (
      lambda: parts.of_folder(folder / "files", 1000),
      lambda: listing.count_members(folder / "t.tar"),
      lambda: shards.ShardSource(folder / "shards", bytes).names(),  # type: ignore[arg-type]
    ):
      start = time.process_time()
      found = work()
      times.append(time.process_time() - start)
      if isinstance(found, list) and not isinstance(found[0], str):
        pickled = len(pickle.dumps(found))
  return {
    "list_file_us": round(times[0] / files * 1e6, 1),
    "list_file_bytes": round(pickled / files, 1),
    "tar_member_us": round(times[1] / members * 1e6, 1),
    "index_record_us": round(times[2] / records * 1e6, 1),
  }


def _steps(times: list[float]) -> list[float]:
  return [after - before for before, after in itertools.pairwise(times)]


def _mean(seconds: list[float]) -> float | None:
  return round(sum(seconds) / len(seconds), 3) if seconds else None


if __name__ == "__main__":
  sys.exit(main())
