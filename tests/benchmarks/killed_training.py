"""Kills a training again and again, and fills its disk: it ends as if nobody had touched it.

  python -m tests.benchmarks.killed_training --kills=50 [--full_disks=5] [--seed=0] [--record=FILE]

Runs `experiments.train` on a few small pictures once to its end, and then over and over with
SIGKILL at random moments, every second one within the writing of a checkpoint, each time resuming
with the same command. Whenever a run gets to its end its last checkpoint, its weights and its log
must be those of the uncut run, to the last bit; no step that a complete checkpoint held may ever be
lost. A run whose disk (a small tmpfs, which needs the right to mount one) is filled at a random
moment must end with a message, and go on when there is space again. With a record it goes on from
there if it was stopped. Processes are forked from one that has imported everything.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from cae_jax.atomic import replace_atomically
from cae_jax.images.files import write_image
from cae_jax.metrics_file import read_metrics
from cae_jax.weights import load_weights
from experiments import cli, train
from tests import tiny_run
from tests.benchmarks import trouble

STEPS, EVERY = 24, 4  # of which a checkpoint is kept
_FLAGS = (
  *tiny_run.FLAGS,
  "--log_every=4",
  "--test_split=",
  f"--validate_every={EVERY}",
  f"--steps={STEPS}",
)
_DISK_MIB = 8
_LONGEST_S = 600.0  # of a run that nobody kills


Train = Callable[[Path, Path], int]


@dataclasses.dataclass
class Record:
  """What has been done so far.

  Attributes:
    seed: of the moments.
    kills: by SIGKILL.
    within_writes: those of them that left a checkpoint half written.
    before_any: those of them that came before the first checkpoint was complete.
    finished: runs that got to their end after kills, with the right result.
    full_disks: runs that ended with a message on a full disk.
    finished_on_disks: those of them that had the right result in the end.
  """

  seed: int = 0
  kills: int = 0
  within_writes: int = 0
  before_any: int = 0
  finished: int = 0
  full_disks: int = 0
  finished_on_disks: int = 0

  def save(self, path: Path | None) -> None:
    """Writes it, if there is a place."""
    if path is not None:
      with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def program(source_dir: Path, workdir: Path) -> int:
  """Trains the paper's network on small pictures by `experiments.train`; returns its status."""
  for i, name in enumerate(("a", "b", "c", "valid", "test")):
    if not (path := source_dir / f"{name}.png").exists():
      write_image(path, _picture(i))
  return cli.run(
    train.main, train.define_flags, [*_FLAGS, f"--source_dir={source_dir}", f"--workdir={workdir}"]
  )


class _Training:
  """A training in a folder, each time in a process of its own."""

  def __init__(self, train: Train, folder: Path, workdir: Path):
    self.workdir, self._train, self._folder = workdir, train, folder
    self._before: set[int] = set()

  def start(self) -> trouble.Child:
    """Begins, or goes on."""
    self._before = self.steps()
    return trouble.Child(self._run, self._folder / "log")

  def _run(self) -> int:
    jax.config.update("jax_compilation_cache_dir", str(self._folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    return self._train(self._folder / "pictures", self.workdir)

  def steps(self) -> set[int]:
    """Steps of complete checkpoints."""
    return {int(path.name) for path in self._entries() if path.name.isdecimal()}

  @property
  def step(self) -> int:
    """Of the newest complete checkpoint; 0 before the first."""
    return max(self.steps(), default=0)

  def is_writing(self) -> bool:
    """Says whether there is a checkpoint that is not complete."""
    return any("tmp" in path.name for path in self._entries())

  def _entries(self) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
      return [*(self.workdir / "checkpoints").iterdir()]
    return []

  def check(self, log: str) -> None:
    """Nothing is lost of what was there before the start, and it was there that it went on."""
    before, after = self._before, self.steps()
    newest = max(before, default=0)
    assert self.step >= newest, (before, after)
    assert len(after) >= min(len(before), 2), (before, after)
    assert not [path for path in self._entries() if path.name.endswith("damaged")], log
    assert "cannot be read" not in log, log
    resumed = re.findall(r"resuming at step (\d+)", log)
    assert resumed in ([], [str(newest)]), log

  def result(self) -> dict[str, str]:
    """Digests of the last checkpoint, of the weights if there are any, of the log but for times."""
    assert self.step == STEPS
    child = trouble.Child(self._print_digest, self._folder / "log")
    assert child.wait(_LONGEST_S) == 0, child.words
    figures = [
      {name: value for name, value in line.items() if name != "steps_per_s"}
      for line in read_metrics(self.workdir / "metrics.jsonl")
    ]
    weights = self.workdir / "weights.safetensors"
    return {
      "state": child.words.splitlines()[-1],
      "weights": load_weights(weights).hash().hex() if weights.exists() else "",
      "log": hashlib.sha256(json.dumps(figures).encode()).hexdigest(),
    }

  def _print_digest(self) -> int:
    tree = ocp.StandardCheckpointer().restore(self.workdir / "checkpoints" / str(STEPS) / "state")
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode() + np.asarray(leaf).tobytes())
    print(digest.hexdigest())
    return 0


def run(
  folder: Path,
  kills: int,
  full_disks: int,
  seed: int,
  path: Path | None = None,
  train: Train = program,
) -> Record:
  """Kills so many runs, and fills so many disks, those of the record included.

  Args:
    folder: an empty one.
    kills, full_disks: how many.
    seed: of the moments; what they hit depends on the machine, too.
    path: of the record; none is kept if not given.
    train: trains to step 24 in a folder of its own, given one for data, too; returns its status.
  Raises:
    AssertionError: anything was lost, or another result came out.
  """
  record = Record(seed)
  if path is not None and path.exists():
    record = Record(**json.loads(path.read_text(encoding="utf-8")))
  (folder / "pictures").mkdir()
  make = functools.partial(_Training, train, folder)
  uncut = make(folder / "uncut")
  pace = _pace(uncut)
  expected = uncut.result()
  numbers = itertools.count()
  while record.kills < kills:
    training = make(folder / f"killed-{next(numbers)}")
    _kill_to_the_end(training, record, kills, pace, path)
    assert training.result() == expected, training.workdir
    record.finished += 1
    record.save(path)
  while record.full_disks < full_disks:
    with trouble.small_disk(folder / "disk", _DISK_MIB) as disk:
      training = make(disk / "full")
      _fill_to_the_end(training, record, full_disks, pace, path)
      assert training.result() == expected, "a full disk has changed it"
    record.finished_on_disks += 1
    record.save(path)
  return record


class _Pace(NamedTuple):
  """Seconds to the first checkpoint, and then from one to the next."""

  start: float
  checkpoint: float


def _pace(uncut: _Training) -> _Pace:
  """Lets a run get to its end undisturbed, and looks at the clock."""
  begin = time.monotonic()
  child = uncut.start()
  child.wait(_LONGEST_S, uncut.steps)
  first = time.monotonic()
  assert child.wait(_LONGEST_S) == 0, child.words
  return _Pace(first - begin, (time.monotonic() - first) * EVERY / STEPS)


def _wait(training: _Training, child: trouble.Child, pace: _Pace, rng: np.random.Generator) -> None:
  """Waits for a random moment: before the next checkpoint, or after some of those to come."""
  here = training.step
  goal = here + EVERY * int(rng.integers(1 + (STEPS - here) // EVERY))
  if goal > here:
    child.wait(_LONGEST_S, lambda: training.step >= goal)
  child.wait(rng.uniform(0, pace.checkpoint if goal > here else pace.start))


def _kill_to_the_end(
  training: _Training, record: Record, kills: int, pace: _Pace, path: Path | None
) -> None:
  """Starts a training until it gets to its end, and kills it as long as kills are left."""
  while True:
    child = training.start()
    if record.kills < kills:
      rng = np.random.default_rng([record.seed, record.kills, record.finished])
      _wait(training, child, pace, rng)
      if record.kills % 2:
        child.wait(_LONGEST_S, training.is_writing)
        time.sleep(rng.uniform(0, 0.02))
      child.signal(signal.SIGKILL)
    status = child.wait(_LONGEST_S)
    training.check(child.words)
    if status == 0:
      return
    assert status == -signal.SIGKILL, child.words
    record.kills += 1
    record.within_writes += training.is_writing()
    record.before_any += not training.steps()
    record.save(path)


def _fill_to_the_end(
  training: _Training, record: Record, full_disks: int, pace: _Pace, path: Path | None
) -> None:
  """Starts a training until it gets to its end, and fills its disk as long as some are left."""
  ballast = training.workdir.with_name("ballast")
  while True:
    child = training.start()
    if record.full_disks < full_disks:
      rng = np.random.default_rng([record.seed, record.full_disks, record.finished_on_disks])
      _wait(training, child, pace, rng)
      trouble.fill_disk(ballast, leaving=int(rng.integers(1 << 16)))
    status = child.wait(_LONGEST_S)
    assert status is not None, "it hangs on a full disk"
    ballast.unlink(missing_ok=True)
    training.check(child.words)
    if status == 0:
      return
    assert status == 2, child.words
    assert "Traceback" not in child.words, child.words
    record.full_disks += 1
    record.save(path)


def _picture(seed: int) -> np.ndarray:
  """Smooth colours: uint8 [48, 64, 3]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:48, :64] / 48
  waves = [np.sin(rng.normal(size=2) @ [y.ravel(), x.ravel()] * 4 + c) for c in range(3)]
  return (np.stack(waves, -1).reshape(48, 64, 3) * 60 + 128).astype(np.uint8)


def main() -> int:
  """Runs by command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=50)
  parser.add_argument("--full_disks", type=int, default=0)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--record", type=Path, help="a JSON file to write and to go on with")
  args = parser.parse_args()
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    record = run(Path(folder), args.kills, args.full_disks, args.seed, args.record)
  print(f"{record} in {time.monotonic() - start:.0f} s")
  return 0


if __name__ == "__main__":
  sys.exit(main())
