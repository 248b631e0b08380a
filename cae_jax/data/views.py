"""Images by index, and sources made of others: some of them, kept in memory, or rescaled."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypedDict

import numpy as np
from PIL import Image

from cae_jax.errors import UsageError


class SplitError(UsageError):
  """The data set has no such split: names those that it has."""


class Example(TypedDict):
  """An image, uint8 [H, W, 3], and its name, unique in its data set."""

  image: np.ndarray
  name: str


class ImageSource(Protocol):
  """Images by index or one after the other; may be read from many threads at once.

  A source may also tell of all its images without decoding them: `sizes()`, int [N, 2] of heights
  and widths; `names()`, N strings; `digests()`, the `pixel_digest` of each. Use `image_sizes`,
  `image_names` and `image_digests`, which decode where a source cannot tell.
  """

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Example: ...

  def __iter__(self) -> Iterator[Example]:
    return map(self.__getitem__, range(len(self)))


def image_sizes(source: ImageSource) -> np.ndarray:
  """Returns heights and widths of all images, int64 [N, 2]."""
  if hasattr(source, "sizes"):
    return source.sizes()
  sizes = [example["image"].shape[:2] for example in _each(source)]
  return np.asarray(sizes, np.int64).reshape(-1, 2)


def image_names(source: ImageSource) -> list[str]:
  """Returns the names of all images."""
  if hasattr(source, "names"):
    return source.names()
  return [example["name"] for example in _each(source)]


def image_digests(source: ImageSource) -> list[bytes]:
  """Returns the `pixel_digest` of every image; of rescaled ones, that of the original."""
  if hasattr(source, "digests"):
    return source.digests()
  return [pixel_digest(example["image"]) for example in _each(source)]


def pixel_digest(image: np.ndarray) -> bytes:
  """Makes 32 bytes that tell an image's pixels from others', whatever file they came from.

  Args:
    image: uint8 [H, W, 3].
  """
  digest = hashlib.sha256(np.array(image.shape, "<u4").tobytes())
  digest.update(np.ascontiguousarray(image).data)
  return digest.digest()


def _each(source: ImageSource) -> Iterator[Example]:
  # By index: a source of the user's own may have no end that iteration would notice.
  return map(source.__getitem__, range(len(source)))


def chosen(source: ImageSource, indexes: Sequence[int]) -> ImageSource:
  """Makes a source of some of the images, in the order of the indexes."""
  return _ChosenSource(source, indexes)


def pairs(source: ImageSource) -> Sequence[tuple[str, np.ndarray]]:
  """Shows a source as a sequence of (name, image), each decoded whenever it is asked for.

  A large data set is gone through as often as need be without being held in memory.
  """
  return _Pairs(source)


def cached(source: ImageSource, max_bytes: int) -> ImageSource:
  """Keeps decoded images in memory, so that each is decoded once.

  The images that come first stay, up to the bound, and the others are decoded at every use: under
  a shuffled order, where every image is used once an epoch, no other rule finds more in the cache.

  Args:
    source: the images.
    max_bytes: bound on the bytes of the pixels kept.
  Returns:
    The same images, read-only arrays.
  Raises:
    UsageError: the bound is negative.
  """
  if max_bytes < 0:
    raise UsageError(f"expected max_bytes of 0 or more, got {max_bytes}")
  return _CachedSource(source, max_bytes)


def rescaled(source: ImageSource, height: int, width: int) -> ImageSource:
  """Rescales every image to one size by a Lanczos filter: the paper's step to 512 x 768.

  A portrait image is turned by a quarter to landscape (or the other way round) rather than
  squashed, and one that has the size already is left as it is: Kodak is never resampled.

  Args:
    source: the images.
    height: height to make, pixels.
    width: width to make, pixels.
  Returns:
    The same images, uint8 [height, width, 3] each.
  Raises:
    UsageError: the height or width is not positive.
  """
  if min(height, width) < 1:
    raise UsageError(f"expected a positive size, got {height} x {width}")
  return _RescaledSource(source, height, width)


class _Pairs(Sequence):
  def __init__(self, source: ImageSource):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return _Pairs(chosen(self._source, range(len(self))[index]))
    example = self._source[range(len(self))[index]]
    return example["name"], example["image"]


class _View(ImageSource):
  """Tells of images what the source that it is made of tells."""

  def __init__(self, source: ImageSource):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def sizes(self) -> np.ndarray:
    return image_sizes(self._source)

  def names(self) -> list[str]:
    return image_names(self._source)

  def digests(self) -> list[bytes]:
    return image_digests(self._source)


class _ChosenSource(_View):
  def __init__(self, source: ImageSource, indexes: Sequence[int]):
    super().__init__(source)
    self._indexes = indexes

  def __len__(self) -> int:
    return len(self._indexes)

  def __getitem__(self, index: int, /) -> Example:
    return self._source[self._indexes[index]]

  def sizes(self) -> np.ndarray:
    return super().sizes()[list(self._indexes)]

  def names(self) -> list[str]:
    return self._of(super().names())

  def digests(self) -> list[bytes]:
    return self._of(super().digests())

  def _of(self, items: list[Any]) -> list[Any]:
    return [items[index] for index in self._indexes]


class _CachedSource(_View):
  def __init__(self, source: ImageSource, max_bytes: int):
    super().__init__(source)
    self._bytes_left = max_bytes
    self._kept: dict[int, Example] = {}
    self._lock = threading.Lock()

  def __getitem__(self, index: int, /) -> Example:
    index = range(len(self))[index]  # one key for -1 and the last; IndexError beyond
    example = self._kept.get(index)
    if example is None:
      # Not under the lock: two threads may decode the same image once, none waits for another.
      example = self._source[index]
      example["image"].setflags(write=False)
      self._keep(index, example)
    return example

  def _keep(self, index: int, example: Example) -> None:
    with self._lock:
      if index not in self._kept and example["image"].nbytes <= self._bytes_left:
        self._bytes_left -= example["image"].nbytes
        self._kept[index] = example


class _RescaledSource(_View):
  def __init__(self, source: ImageSource, height: int, width: int):
    super().__init__(source)
    self._height, self._width = height, width

  def __getitem__(self, index: int, /) -> Example:
    example = self._source[index]
    return {"image": self._rescale(example["image"]), "name": example["name"]}

  def sizes(self) -> np.ndarray:
    return np.tile(np.array([self._height, self._width], np.int64), (len(self), 1))

  def _rescale(self, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if (height > width) != (self._height > self._width) and height != width:
      image = np.rot90(image)
    if image.shape[:2] == (self._height, self._width):
      return np.ascontiguousarray(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((self._width, self._height), Image.Resampling.LANCZOS))
