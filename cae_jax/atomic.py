"""Files that are written whole or not at all."""

import contextlib
import errno
import json
import os
import pathlib
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

TEMPORARY = ".tmp-"  # how the names of unfinished files begin


@contextlib.contextmanager
def replace_atomically(
  path: str | os.PathLike, *, overwrite: bool = True
) -> Iterator[pathlib.Path]:
  """Gives a temporary path that becomes `path` at the end of the block.

  Readers see the old file or the whole new one. If the block raises, the temporary file is removed
  and `path` stays as it was. A symbolic link stays one and its target is written; a file that was
  there keeps its mode. What is no regular file (a pipe, /dev/stdout) gets the bytes at the end of
  the block, and keeps what it got if it breaks.

  Args:
    path: the file to write; its folder must exist.
    overwrite: False leaves a file that is there alone, even one that another process creates
      during the block. A pipe or a device holds nothing to be lost and is always written.
  Yields:
    A path with the same suffix; an empty file, in the same folder if `path` is a regular file.
  Raises:
    FileExistsError: there is such a file and `overwrite` is False; before the block if it can be
      known by then, else at its end.
    FileNotFoundError: the folder does not exist.
    IsADirectoryError: `path` is a folder.
    OSError: any other of the system, within the block, too; it names `path`, if it named no file or
      the temporary one.
  """
  with _named(path):
    target = _follow_links(pathlib.Path(path))
    mode = _mode(target)
    if _is_poured_into(target, mode):
      with _pour_into(target) as temporary:
        yield temporary
      return
    if mode is not None and not overwrite:
      raise _system_error(errno.EEXIST, path)
    if not target.parent.is_dir():
      raise _system_error(errno.ENOENT, target.parent)
    # No more of the name than its suffix: a long name must not become too long.
    temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{target.suffix}")
    try:
      _create(temporary, mode)
      yield temporary
      if mode is not None:
        temporary.chmod(mode & 0o777)
      if overwrite:
        os.replace(temporary, target)
      else:
        _put_if_absent(temporary, target)
    finally:
      temporary.unlink(missing_ok=True)


def check_allowed(path: str | os.PathLike) -> None:
  """Raises PermissionError if `replace_atomically` may not write there, before what takes long."""
  target = _follow_links(pathlib.Path(path))
  folder = target.parent
  if not folder.is_dir():
    return  # `replace_atomically` says so
  if not _is_poured_into(target, _mode(target)) and not os.access(folder, os.W_OK | os.X_OK):
    raise _system_error(errno.EACCES, path)


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
  """Gives the system's errors that name no file, or an unfinished one, the name of `path`."""
  try:
    yield
  except OSError as error:
    if error.errno is not None and (error.filename is None or TEMPORARY in str(error.filename)):
      error.filename, error.filename2 = os.fspath(path), None
    raise


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes a text file whole or not at all, in UTF-8; raises as `replace_atomically`."""
  with replace_atomically(path) as temporary:
    temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes what JSON can say, indented, whole or not at all; raises as `replace_atomically`."""
  write_text(path, json.dumps(value, indent=2) + "\n")


def _follow_links(path: pathlib.Path) -> pathlib.Path:
  """The path behind all links of `path`, which need not exist.

  Stops at a link of /proc, such as that behind /dev/stdout: it names an open file, of which its
  text may be no path.
  """
  _mode(path)  # raises if links form a circle
  while True:
    path = pathlib.Path(os.path.realpath(path.parent), path.name)
    if _is_open_file(path) or not path.is_symlink():
      return path
    path = path.parent / path.readlink()


def _is_open_file(path: pathlib.Path) -> bool:
  return path.parts[:2] == ("/", "proc")


def _mode(path: pathlib.Path) -> int | None:
  """The mode of what is there, links followed; None if nothing is."""
  try:
    return path.stat().st_mode
  except FileNotFoundError:
    return None


def _is_poured_into(target: pathlib.Path, mode: int | None) -> bool:
  return mode is not None and (not stat.S_ISREG(mode) or _is_open_file(target))


@contextlib.contextmanager
def _pour_into(target: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a temporary path whose bytes are written into a pipe, a device or an open file."""
  if target.is_dir():
    raise _system_error(errno.EISDIR, target)
  with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
    temporary = pathlib.Path(folder, f"file{target.suffix}")
    yield temporary
    with temporary.open("rb") as source, target.open("wb") as sink:
      shutil.copyfileobj(source, sink)


def _create(path: pathlib.Path, mode: int | None) -> None:
  """Creates an empty file that nobody reads who may not read what it will replace."""
  permissions = 0o666 if mode is None else mode & 0o777 | stat.S_IWUSR
  os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, permissions))


def _put_if_absent(temporary: pathlib.Path, target: pathlib.Path) -> None:
  """Gives a file the name `target`; exactly one of several processes succeeds."""
  try:
    os.link(temporary, target)
  except FileExistsError:
    raise _system_error(errno.EEXIST, target) from None
  except OSError:  # a file system without links: the name is taken first, the bytes follow
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
      os.replace(temporary, target)
    except OSError:
      target.unlink(missing_ok=True)  # an empty file would pass for one that is done
      raise


def _system_error(code: int, path: str | os.PathLike) -> OSError:
  return OSError(code, os.strerror(code), os.fspath(path))
