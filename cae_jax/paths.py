"""Paths as people give them to a program, and how they are shown again."""

import os
import re
from pathlib import Path

from cae_jax.errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def user_path(text: str | os.PathLike[str]) -> Path:
  """Makes a path of an argument or a flag, which no shell may have looked at.

  A leading `~` or `~user` is expanded as a shell does it: not where there is no such user.

  Args:
    text: as it was given. Not yet a `Path`, if it may be a URL: that would fold its slashes.
  Raises:
    UsageError: it is empty, a URL, or holds a NUL byte.
  """
  name = os.fspath(text)
  if not name:
    raise UsageError("expected a path, got an empty one (is a variable of the shell not set?)")
  if "\0" in name:
    raise UsageError(f"{shown(name)}: a path cannot hold a NUL byte")
  if _URL.match(name):
    raise UsageError(
      f"{shown(name)}: expected a path, not a URL; fetch the files first, or mount the bucket, and "
      "give the local path"
    )
  return Path(os.path.expanduser(name))


def read_file(path: str | os.PathLike[str]) -> bytes:
  """Reads a file that a user has named.

  Raises:
    UsageError: it is a folder.
    OSError: it cannot be read.
  """
  try:
    return Path(path).read_bytes()
  except IsADirectoryError as error:
    name = shown(path)
    raise UsageError(
      f"{name} is a folder; expected a file: give those in it, as in {Path(name, '*')}"
    ) from error


def make_folder(path: str | os.PathLike[str]) -> None:
  """Makes a folder that a user has named, and those above it, if need be.

  Raises:
    UsageError: a file, or a link that leads nowhere, is where a folder should be.
    OSError: it cannot be made.
  """
  path = Path(path)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except (FileExistsError, NotADirectoryError) as error:
    found = next(each for each in (path, *path.parents) if os.path.lexists(each))
    raise UsageError(f"{shown(found)} is there and is no folder; name another one") from error


def shown(path: str | os.PathLike[str]) -> str:
  r"""Shows a path as one line of printable text: bytes that are no UTF-8 as \xNN."""
  return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(path))


def _escaped(character: str) -> str:
  undecoded = "\udc80" <= character <= "\udcff"  # how Python holds a byte of such a name
  return (
    (chr(ord(character) - 0xDC00) if undecoded else character).encode("unicode_escape").decode()
  )
