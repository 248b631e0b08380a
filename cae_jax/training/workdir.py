"""The folder of a run: whether it holds one, and that only one process writes to it."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cae_jax.errors import UsageError
from cae_jax.training import sharding
from cae_jax.training.reporting import say

_LOCK = ".lock"
# The threads of this process that hold a folder.
_holders: dict[Path, int] = {}


def holds_run(workdir: str | Path) -> bool:
  """Says whether a run has left anything there: a checkpoint, a log line, weights."""
  workdir = Path(workdir)
  written = any((workdir / name).exists() for name in ("metrics.jsonl", "weights.safetensors"))
  return written or any(path.name.isdecimal() for path in workdir.glob("checkpoints/*"))


@contextlib.contextmanager
def locked(workdir: str | Path) -> Iterator[None]:
  """Keeps other runs out of a folder, which is made if need be, until the block ends.

  Of several processes that train together the first one holds the lock, and every one takes part
  in the call. Entered again in the same thread it changes nothing. The lock is the kernel's, so it
  ends with its process however that ends; what the file says is only for people.

  Raises:
    UsageError: another process or thread is at work there; says which. On other processes than the
      first: Error.
  """
  folder = Path(workdir).resolve()
  if _holders.get(folder) == threading.get_ident():
    yield
    return
  files: list[IO[str]] = []
  sharding.on_first_process(lambda: files.append(_acquire(folder)))
  _holders[folder] = threading.get_ident()
  try:
    yield
  finally:
    del _holders[folder]
    for file in files:
      file.truncate(0)
      file.close()


def _acquire(folder: Path) -> IO[str]:
  """The lock's file, locked, with a line about this process in it."""
  folder.mkdir(parents=True, exist_ok=True)
  file = (folder / _LOCK).open("a+")
  file.seek(0)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    holder = _described(file.read()) or "which does not say its name"
    file.close()
    raise UsageError(
      f"{folder}: another run is at work here ({holder}); wait for its end, or give another workdir"
    ) from None
  except OSError as error:
    say(f"{folder} cannot be locked ({error.strerror}); let no second run work there")
  if killed := _described(file.read()):
    say(f"{folder}: the run before ({killed}) has not ended in good order; going on in its place")
  file.truncate(0)
  started = time.strftime("%Y-%m-%d %H:%M:%S")
  file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started}))
  file.flush()
  return file


def _described(line: str) -> str:
  """What a lock's file says about its process; empty where it says nothing."""
  try:
    about = json.loads(line)
    return "process {pid} on {host}, since {started}".format(**about)
  except (ValueError, KeyError, TypeError):
    return ""
