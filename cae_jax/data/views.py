"""Images by index, and sources made of others: kept in memory, or rescaled."""

import threading
from collections.abc import Iterator
from typing import Protocol, TypedDict

import numpy as np
from PIL import Image


class Example(TypedDict):
  """An image, uint8 [H, W, 3], and its name, unique in its data set."""

  image: np.ndarray
  name: str


class ImageSource(Protocol):
  """Images by index or one after the other; may be read from many threads at once.

  A source may also have `sizes()`, int [N, 2] of heights and widths without decoding.
  """

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Example: ...

  def __iter__(self) -> Iterator[Example]:
    return map(self.__getitem__, range(len(self)))


def image_sizes(source: ImageSource) -> np.ndarray:
  """Heights and widths of all images, int64 [N, 2]; decodes them if the source cannot tell."""
  if hasattr(source, "sizes"):
    return source.sizes()
  return decoded_sizes(source)


def decoded_sizes(source: ImageSource) -> np.ndarray:
  """The same by decoding every image."""
  # By index: a source of the user's own may have no end that iteration would notice.
  sizes = [source[index]["image"].shape[:2] for index in range(len(source))]
  return np.asarray(sizes, np.int64).reshape(-1, 2)


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
    ValueError: the bound is negative.
  """
  if max_bytes < 0:
    raise ValueError(f"expected max_bytes of 0 or more, got {max_bytes}")
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
    ValueError: the height or width is not positive.
  """
  if min(height, width) < 1:
    raise ValueError(f"expected a positive size, got {height} x {width}")
  return _RescaledSource(source, height, width)


class _CachedSource(ImageSource):
  def __init__(self, source: ImageSource, max_bytes: int):
    self._source = source
    self._bytes_left = max_bytes
    self._kept: dict[int, Example] = {}
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int, /) -> Example:
    index = range(len(self))[index]  # one key for -1 and the last; IndexError beyond
    example = self._kept.get(index)
    if example is None:
      # Not under the lock: two threads may decode the same image once, none waits for another.
      example = self._source[index]
      example["image"].setflags(write=False)
      self._keep(index, example)
    return example

  def sizes(self) -> np.ndarray:
    return image_sizes(self._source) if hasattr(self._source, "sizes") else decoded_sizes(self)

  def _keep(self, index: int, example: Example) -> None:
    with self._lock:
      if index not in self._kept and example["image"].nbytes <= self._bytes_left:
        self._bytes_left -= example["image"].nbytes
        self._kept[index] = example


class _RescaledSource(ImageSource):
  def __init__(self, source: ImageSource, height: int, width: int):
    self._source = source
    self._height, self._width = height, width

  def __len__(self) -> int:
    return len(self._source)

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
