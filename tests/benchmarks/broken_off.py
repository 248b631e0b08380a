"""Breaks off `cae` at any moment: no file is ever half there, and no original is lost.

  python -m tests.benchmarks.broken_off --count=200 [--seed=0] [--record=FILE]

`cae compress` and `cae decompress` work on a folder of small pictures, into an empty folder or,
with `--force`, over files that are there, while

- the disk fills (a small tmpfs, where mounting one is allowed; else files may not grow beyond a
  random size, RLIMIT_FSIZE),
- the output folder vanishes,
- Ctrl-C, SIGTERM or SIGKILL comes.

After each, the pictures are as they were; every file in the output folder is the old one or the
whole new one, to the last byte; nothing else is left there, hidden files after SIGKILL excepted;
and the command has ended with a message at most, never with a traceback. With a record it goes on
from there if it was stopped.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cae_jax import cli
from cae_jax.atomic import replace_atomically
from cae_jax.commands import loading
from cae_jax.images.files import write_image
from tests.benchmarks import trouble
from tests.golden import FOLDER

TROUBLES = ("full disk", "no folder", "SIGINT", "SIGTERM", "SIGKILL")
PICTURES = 5
_WEIGHTS = FOLDER / "lossless.safetensors"  # tiny ones, which need no JAX
_DISK_MIB = 1
_LONGEST_S = 300.0
_STATUSES = {
  "full disk": {2},
  "no folder": {2},
  "SIGINT": {130},
  "SIGTERM": {-signal.SIGTERM, 143},
  "SIGKILL": {-signal.SIGKILL},
}


@dataclasses.dataclass
class Record:
  """What has been done so far.

  Attributes:
    seed: of everything.
    count: of commands.
    outcomes: "TROUBLE: cut" or, of those that were at their end already, "TROUBLE: finished".
    leftovers: hidden files after SIGKILL.
  """

  seed: int = 0
  count: int = 0
  outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
  leftovers: int = 0

  def save(self, path: Path | None) -> None:
    """Writes it, if there is a place."""
    if path is not None:
      with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Task:
  """A command, and what it makes.

  Attributes:
    command: of `cae`, with its options.
    sources: its files, in a folder of theirs.
    made: bytes of each file that it makes, by name.
    old: bytes of other files of these names.
  """

  command: tuple[str, ...]
  sources: Path
  made: dict[str, bytes]
  old: dict[str, bytes]

  def run(self, target: Path, *more: str) -> int:
    """Runs it in this process; returns the exit status."""
    arguments = [str(self.sources), f"--output-dir={target}", f"--weights={_WEIGHTS}", *more]
    return cli.main([*self.command, *arguments])


def tasks(folder: Path) -> list[Task]:
  """Makes pictures, files of them, and what is to be made of both."""
  loading.load_codec(str(_WEIGHTS))  # once, for all that are forked
  pictures = folder / "pictures"
  pictures.mkdir()
  for i in range(PICTURES):
    grain = np.random.default_rng(i).integers(0, 9, (20, 24 + 8 * i, 3))
    write_image(pictures / f"{i}.png", (grain + np.arange(20)[:, None, None] * 10).astype(np.uint8))
  compress = lambda *how: Task(("compress", *how), pictures, {}, {})
  files = {}
  for name, how in (("exact", "--lossless"), ("near", "--near_lossless=3")):
    assert compress(how).run(folder / name) == 0
    files[name] = _contents(folder / name)
  decompress = lambda name: Task(("decompress", "--format=ppm"), folder / name, {}, {})
  for name in ("exact", "near"):
    assert decompress(name).run(folder / f"of_{name}") == 0
    files[f"of_{name}"] = _contents(folder / f"of_{name}")
  return [
    dataclasses.replace(compress("--lossless"), made=files["exact"], old=files["near"]),
    dataclasses.replace(decompress("exact"), made=files["of_exact"], old=files["of_near"]),
  ]


def _contents(folder: Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(folder: Path, count: int, seed: int, path: Path | None = None) -> Record:
  """Breaks off so many commands, those of the record included.

  Args:
    folder: an empty one.
    count: how many.
    seed: of everything; what the moments hit depends on the machine, too.
    path: of the record; none is kept if not given.
  Raises:
    AssertionError: a file was half there, an original lost, or the command ended in another way.
  """
  record = Record(seed)
  if path is not None and path.exists():
    record = Record(**json.loads(path.read_text(encoding="utf-8")))
  with contextlib.redirect_stdout(io.StringIO()):
    todo = tasks(folder)
  seconds = _duration(todo[0], folder)
  mounts = trouble.can_mount(folder)
  while record.count < count:
    rng = np.random.default_rng([seed, record.count])
    name = TROUBLES[record.count % len(TROUBLES)]
    task = todo[rng.integers(len(todo))]
    before = _contents(task.sources)
    target = folder / "target"
    if name == "full disk" and mounts:
      with trouble.small_disk(folder / "disk", _DISK_MIB) as disk:
        outcome = _break_off(task, name, folder, disk / "out", seconds, rng, record)
    else:
      outcome = _break_off(task, name, folder, target, seconds, rng, record)
      shutil.rmtree(target, ignore_errors=True)
    assert _contents(task.sources) == before, "an original is lost"
    record.count += 1
    record.outcomes[outcome] = record.outcomes.get(outcome, 0) + 1
    record.save(path)
  return record


def _duration(task: Task, folder: Path) -> float:
  """Seconds that a task takes."""
  start = time.monotonic()
  child = trouble.Child(lambda: task.run(folder / "timed"), folder / "log")
  assert child.wait(_LONGEST_S) == 0, child.words
  return time.monotonic() - start


def _break_off(
  task: Task,
  name: str,
  folder: Path,
  target: Path,
  seconds: float,
  rng: np.random.Generator,
  record: Record,
) -> str:
  """Runs a task, makes trouble at a random moment, and looks at what is left."""
  there = {}
  if rng.random() < 0.5:
    target.mkdir()
    there = task.old
    for file, data in there.items():
      (target / file).write_bytes(data)
  limit = int(rng.integers(sum(map(len, task.made.values())) // PICTURES))
  is_disk = target.parent.name == "disk"

  def work() -> int:
    if name == "full disk" and not is_disk:
      signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
      resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return task.run(target, *["--force"] * bool(there))

  child = trouble.Child(work, folder / "log")
  child.wait(rng.uniform(0, seconds))
  if name == "full disk" and is_disk:
    trouble.fill_disk(target.parent / "ballast", leaving=limit)
  elif name == "no folder":
    shutil.rmtree(target, ignore_errors=True)
  elif name.startswith("SIG"):
    child.signal(getattr(signal, name))
  status = child.wait(_LONGEST_S)
  assert status in {0} | _STATUSES[name], (name, status, child.words)
  assert "Traceback" not in child.words, child.words
  left = _contents(target) if target.is_dir() else {}
  hidden = [file for file in left if file.startswith(".")]
  assert not hidden or name == "SIGKILL", (name, hidden)
  record.leftovers += len(hidden)
  for file in left.keys() - set(hidden):
    assert left[file] in (task.made[file], there.get(file)), f"{name}: {file} is half there"
  if name != "no folder":
    assert left.keys() >= there.keys(), f"{name}: an old file is lost"
  if status == 0 and name != "no folder":
    assert left == task.made, name
  return f"{name}: {'finished' if status == 0 else 'cut'}"


def main() -> int:
  """Runs by command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--count", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--record", type=Path, help="a JSON file to write and to go on with")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    record = run(Path(folder), args.count, args.seed, args.record)
  for outcome, times in sorted(record.outcomes.items()):
    print(f"{outcome:22} {times:6}")
  print(f"{record.count} commands, {record.leftovers} hidden files left by SIGKILL")
  return 0


if __name__ == "__main__":
  sys.exit(main())
