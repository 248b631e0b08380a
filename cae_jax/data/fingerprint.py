"""A key of what a folder holds, which stays the same when files are copied, moved or touched."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import time

from cae_jax.atomic import write_text
from cae_jax.data import listing

# A file that changed so lately may change again without a trace in its size and time.
_SETTLED_NS = 2 * 10**9

# Size in bytes, time of the last change in ns (of content or attributes), SHA-256 of the content.
_Entry = list


def fingerprint(source_dir: str | os.PathLike, index_dir: pathlib.Path) -> str:
  """Makes a key of the names and contents of a folder's images and shards.

  Reading them all takes as long as their bytes do, so their hashes are kept in an index: a file
  is read again only where its size or time differs from what the index has.

  Args:
    source_dir: a folder, or one tar file.
    index_dir: where indexes are kept, one for each folder; made if need be.
  Returns:
    16 hex digits.
  Raises:
    FileNotFoundError, ImageError: as `listing.list_files`.
  """
  paths = {listing.relative_name(p, source_dir): p for p in listing.list_files(source_dir)}
  place = hashlib.sha256(os.fsencode(pathlib.Path(source_dir).resolve())).hexdigest()[:16]
  index = index_dir / f"{place}.json"
  known = _read(index)
  with concurrent.futures.ThreadPoolExecutor() as pool:
    entries = pool.map(lambda name: _entry(paths[name], known.get(name)), paths)
    now = dict(zip(paths, entries))
  _write(index, now, known)
  digest = hashlib.sha256()
  for name, (_, _, content) in sorted(now.items()):
    digest.update(os.fsencode(name) + b"\0" + content.encode())
  return digest.hexdigest()[:16]


def _entry(path: pathlib.Path, known: _Entry | None) -> _Entry:
  """Returns the entry of a file: the known one if its size and time are what they were."""
  try:
    stat = path.stat()
    if known and known[:2] == [stat.st_size, stat.st_ctime_ns]:
      return known
    with path.open("rb") as file:
      return [stat.st_size, stat.st_ctime_ns, hashlib.file_digest(file, "sha256").hexdigest()]
  except OSError as error:  # to be left out of the data set, with a word
    return [0, 0, f"unreadable: {error.errno}"]


def _read(index: pathlib.Path) -> dict[str, _Entry]:
  try:
    return json.loads(index.read_text(encoding="ascii"))
  except (OSError, ValueError):  # not there, or broken: all files are read
    return {}


def _write(index: pathlib.Path, now: dict[str, _Entry], known: dict[str, _Entry]) -> None:
  last = time.time_ns() - _SETTLED_NS
  settled = {name: entry for name, entry in now.items() if 0 < entry[1] < last}
  if settled == known:
    return
  index.parent.mkdir(parents=True, exist_ok=True)
  write_text(index, json.dumps(settled))
