"""The images read last, each decoded once however many threads ask for it at the same time."""

import collections
import concurrent.futures
import threading

import numpy as np

from cae_jax.data.views import ImageSource

_MAX_BYTES = 2**30


class RecentImages:
  """Keeps the images read last: up to a number of them, or a gibibyte."""

  def __init__(self, source: ImageSource, sizes: np.ndarray, count: int):
    mean_bytes = 3 * sizes.prod(axis=1).mean()
    self._source = source
    self._count = max(1, min(count, int(_MAX_BYTES / mean_bytes)))
    self._images: collections.OrderedDict[int, concurrent.futures.Future] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()

  def read(self, index: int) -> np.ndarray:
    """Returns an image, uint8 [H, W, 3]; one that fails to be read is tried anew the next time."""
    with self._lock:
      image = self._images.get(index)
      ours = image is None
      if image is None:
        image = self._images[index] = concurrent.futures.Future()
      self._images.move_to_end(index)
      if len(self._images) > self._count:
        self._images.popitem(last=False)
    if ours:
      self._decode(index, image)
    return image.result()

  def _decode(self, index: int, image: concurrent.futures.Future) -> None:
    try:
      image.set_result(self._source[index]["image"])
    except BaseException as error:
      with self._lock:
        if self._images.get(index) is image:
          del self._images[index]
      image.set_exception(error)
