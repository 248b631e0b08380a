"""Trouble to make for programs: processes that end at any moment, and small disks that fill."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Child:
  """A function called in a process that was forked, with a log of all that it writes."""

  def __init__(self, function: Callable[[], int], log: Path):
    """Starts it; the function returns its exit status."""
    sys.stdout.flush()
    sys.stderr.flush()
    self.log = log
    self.pid = os.fork()
    if not self.pid:
      _become(function, log)
    self._status: int | None = None

  @property
  def status(self) -> int | None:
    """Exit status, less than 0 if a signal has ended it; None while it is running."""
    if self._status is None:
      pid, status = os.waitpid(self.pid, os.WNOHANG)
      if pid:
        self._status = os.waitstatus_to_exitcode(status)
    return self._status

  def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
    """Waits for its end, at most so long, or until something else is; returns the status."""
    end = time.monotonic() + seconds
    while self.status is None and time.monotonic() < end and not until():
      time.sleep(0.002)
    return self.status

  def signal(self, number: int) -> None:
    """Sends it a signal, unless it has ended."""
    if self.status is None:
      os.kill(self.pid, number)

  @property
  def words(self) -> str:
    """What it has written so far."""
    return self.log.read_text(encoding="utf-8", errors="replace")


def _become(function: Callable[[], int], log: Path) -> None:
  status = 1
  signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where this runs in background
  try:
    with log.open("w") as file:
      os.dup2(file.fileno(), 1)
      os.dup2(file.fileno(), 2)
    status = function()
  except BaseException as error:
    sys.excepthook(type(error), error, error.__traceback__)
  finally:
    with contextlib.suppress(OSError, ValueError):
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def small_disk(path: Path, mib: int) -> Iterator[Path]:
  """Mounts a disk of some megabytes; raises CalledProcessError where that is not allowed."""
  path.mkdir(exist_ok=True)
  command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path)]
  subprocess.run(command, check=True, capture_output=True)
  try:
    yield path
  finally:
    subprocess.run(["umount", "-l", str(path)], check=True)


def can_mount(folder: Path) -> bool:
  """Says whether `small_disk` is allowed here."""
  try:
    with small_disk(folder / "disk", 1):
      return True
  except (OSError, subprocess.CalledProcessError):
    return False


def fill_disk(path: Path, leaving: int) -> None:
  """Writes a file over all of a disk but so many bytes."""
  with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
    while True:
      disk = os.statvfs(path.parent)
      free = disk.f_bavail * disk.f_frsize
      if free <= leaving:
        return
      file.write(bytes(min(free - leaving, 1 << 20)))
