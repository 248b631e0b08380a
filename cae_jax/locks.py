"""Folders that one process at a time works in."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from cae_jax.errors import UsageError
from cae_jax.paths import make_folder, shown

_NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path, kind: str, instead: str, say: Callable[[str], None]) -> Iterator[None]:
  """Keeps others out of a folder, which is made if need be, until the block ends.

  The lock is the kernel's, so it ends with its process however that ends; what the file says is
  only for people.

  Args:
    folder: to work in.
    kind: of work, in a word.
    instead: what names a folder, to be given another one.
    say: takes a line on a lock that a killed process left, or on a folder that cannot be locked.
  Raises:
    UsageError: another process or thread is at work there; says which.
  """
  file = _acquire(folder, kind, instead, say)
  try:
    yield
  finally:
    file.truncate(0)
    file.close()


def _acquire(folder: Path, kind: str, instead: str, say: Callable[[str], None]) -> IO[str]:
  """The lock's file, locked, with a line about this process in it."""
  make_folder(folder)
  file = (folder / _NAME).open("a+")
  file.seek(0)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    holder = _described(file.read()) or "which does not say its name"
    file.close()
    raise UsageError(
      f"{shown(folder)}: another {kind} is at work here ({holder}); wait for its end, or give "
      f"another {instead}"
    ) from None
  except OSError as error:
    say(f"{shown(folder)} cannot be locked ({error.strerror}); let no second {kind} work there")
  if killed := _described(file.read()):
    say(
      f"{shown(folder)}: the {kind} before ({killed}) has not ended in good order; going on in its "
      "place"
    )
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
