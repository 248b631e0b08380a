"""Files on disks and in buckets, read and written whole."""

import contextlib
import os
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from cae_jax import locks
from cae_jax.atomic import TEMPORARY, replace_atomically
from cae_jax.errors import MissingExtraError
from cae_jax.paths import user_path

_BUCKETS = ("gs://", "s3://", "az://")
_LEFTOVER = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{16}(\.[^.]*)?")  # of replace_atomically

# A path on a disk, or one of `etils.epath` in a bucket, which has the same methods.
Place = pathlib.Path


def place(text: str | os.PathLike[str]) -> Place:
  """Makes an absolute path, or a place in a bucket of a URL such as gs://bucket/folder.

  Raises:
    UsageError: it is empty, or another URL.
    MissingExtraError: what reaches buckets is not installed.
  """
  name = os.fspath(text)
  if not name.startswith(_BUCKETS):
    return user_path(name).absolute()
  try:
    from etils import epath
  except ImportError as error:
    raise MissingExtraError(
      f'{name}: buckets need etils, which is not installed: pip install "cae_jax[beam]"'
    ) from error
  return epath.Path(name)


@contextlib.contextmanager
def written(target: Place) -> Iterator[pathlib.Path]:
  """Gives a temporary path on a disk, whose file becomes the target at the end of the block.

  Readers see no part of it. Folders are made as need be. If the block raises, nothing is written.
  """
  target.parent.mkdir(parents=True, exist_ok=True)
  if isinstance(target, pathlib.Path):
    with replace_atomically(target) as temporary:
      yield temporary
    return
  with tempfile.TemporaryDirectory() as folder:
    temporary = pathlib.Path(folder, target.name)
    yield temporary
    # Objects of a bucket come into being when they are closed.
    with temporary.open("rb") as source, target.open("wb") as sink:
      shutil.copyfileobj(source, sink)


@contextlib.contextmanager
def at_hand(source: Place) -> Iterator[pathlib.Path]:
  """Gives a path on a disk that holds the file: itself, or a copy for the time of the block."""
  if isinstance(source, pathlib.Path):
    yield source
    return
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder, source.name)
    with source.open("rb") as original, copy.open("wb") as sink:
      shutil.copyfileobj(original, sink)
    yield copy


def size_of(path: Place) -> int | None:
  """Returns the bytes of a file; None if there is none."""
  try:
    found: Any = path.stat()
  except FileNotFoundError:
    return None
  return found.st_size if isinstance(path, pathlib.Path) else found.length


def stamp(path: Place) -> str:
  """Returns what is another when a file has changed: its size and time; "" if there is none."""
  try:
    found: Any = path.stat()
  except OSError:
    return ""
  if isinstance(path, pathlib.Path):
    return f"{found.st_size} {found.st_mtime_ns}"
  return f"{found.length} {found.mtime}"


@contextlib.contextmanager
def locked(folder: Place) -> Iterator[None]:
  """Keeps other jobs out of a folder on a disk until the block ends; one in a bucket is not locked.

  Raises:
    UsageError: one is at work there.
  """
  if not isinstance(folder, pathlib.Path):
    yield
    return
  with locks.locked(folder, "job", "--output_dir", lambda line: print(line, file=sys.stderr)):
    yield


def remove_leftovers(folder: Place) -> None:
  """Removes what `written` has left in a folder, and in those in it, when it was killed."""
  if isinstance(folder, pathlib.Path):
    for path in folder.rglob(f"{TEMPORARY}*"):
      if _LEFTOVER.fullmatch(path.name) and path.is_file() and not path.is_symlink():
        path.unlink(missing_ok=True)
