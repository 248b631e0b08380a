"""Images of folders and tar shards at their own depth."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from cae_jax.data import listing
from cae_jax.images import files


class ExactImages(Sequence):
  """The images of a folder as (name, image) pairs, decoded whenever they are asked for.

  Images are uint8 or uint16, [H, W] or [H, W, 2 to 4]: the samples of the files.
  """

  def __init__(self, source_dir: str | os.PathLike):
    """Reads the files, undecoded.

    Args:
      source_dir: a folder of images or tar shards, or one tar file.
    Raises:
      FileNotFoundError: there is no such folder.
      ImageError: there are no images in it, or a tar shard is broken.
      OSError: a file cannot be read.
    """
    self._files: list[tuple[str, bytes]] = []
    for path in listing.list_files(source_dir):
      for name, data in listing.read_members(path, source_dir):
        if isinstance(data, OSError):
          raise data
        self._files.append((name, data))

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index):
    """Decodes one image.

    Raises:
      ImageError: it is broken, or some of its bits would be lost.
    """
    name, data = self._files[index]
    try:
      return name, files.read_image(data, exact=True).pixels
    except files.ImageError as error:
      raise files.ImageError(f"{name}: {error}") from error

  def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
    return map(self.__getitem__, range(len(self)))


class Some(Sequence):
  """Some of a sequence of images, by their indexes; each is decoded whenever it is asked for."""

  def __init__(self, images: Sequence[tuple[str, np.ndarray]], indexes: Sequence[int]):
    self._images = images
    self._indexes = indexes

  def __len__(self) -> int:
    return len(self._indexes)

  def __getitem__(self, index):
    return self._images[self._indexes[index]]
