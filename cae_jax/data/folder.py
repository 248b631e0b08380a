"""Photographs of a folder read as they are, for runs that keep all of them decoded anyway.

Other runs read the data set `photos`, which TFDS prepares once (`sources`): this needs no
preparation, but holds the encoded files in memory.
"""

import concurrent.futures
import functools
import os
import pathlib

import numpy as np

from cae_jax.data import listing
from cae_jax.data.views import Example, ImageSource, pixel_digest
from cae_jax.errors import UsageError
from cae_jax.images import files


class FolderSource(ImageSource):
  """The photographs of a split of a folder of images or tar shards, in the order of their names."""

  def __init__(self, source_dir: str | os.PathLike, split: str):
    """Reads the files, undecoded.

    Args:
      source_dir: folder, or one tar file.
      split: see `listing.split_of`.
    Raises:
      FileNotFoundError: there is no such folder.
      UsageError: it has no photographs of that split.
      OSError: a file cannot be read.
    """
    self._files: list[tuple[str, bytes]] = []
    for path in listing.list_files(source_dir):
      if listing.split_of(listing.relative_name(path, source_dir)) == split:
        self._files += _read(path, source_dir)
    if not self._files:
      raise UsageError(
        f"{source_dir}: no photographs of split {split!r}; its files go by their names (valid.tar, "
        "valid/a.png)"
      )

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int, /) -> Example:
    name, data = self._files[index]
    try:
      return {"image": files.read_rgb(data), "name": name}
    except files.ImageError as error:
      raise files.ImageError(f"{name}: {error}") from error

  def sizes(self) -> np.ndarray:
    return np.array([_size(*file) for file in self._files], np.int64)

  def names(self) -> list[str]:
    return [name for name, _ in self._files]

  def digests(self) -> list[bytes]:
    return self._digests

  @functools.cached_property
  def _digests(self) -> list[bytes]:
    """Decodes all photographs, on all cores."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      return list(pool.map(lambda i: pixel_digest(self[i]["image"]), range(len(self))))


def _read(path: pathlib.Path, source_dir: str | os.PathLike) -> list[tuple[str, bytes]]:
  members = list(listing.read_members(path, source_dir))
  for _, data in members:
    if isinstance(data, OSError):
      raise data
  return members  # type: ignore[return-value]  # errors have been raised


def _size(name: str, data: bytes) -> tuple[int, int]:
  """Height and width, from the file's head."""
  try:
    return files.upright_size(data)
  except files.ImageError as error:
    raise files.ImageError(f"{name}: {error}") from error
