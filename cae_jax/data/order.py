"""The order in which patches are taken from images: endless, and open at any place."""

from collections.abc import Callable

import numpy as np

VISITS_PER_WINDOW = 32
_ORDER, _DRAWS = 0, 1  # what random numbers are for


def visits(
  sizes: np.ndarray, patch_size: int, patches_per_decode: int
) -> tuple[np.ndarray, np.ndarray]:
  """Divides the patches of an epoch into visits to an image.

  An image gives as many patches as tile its area, rounded, and at least one; a visit takes
  `patches_per_decode` of them, the last visit to an image those that are left.

  Args:
    sizes: int [N, 2], heights and widths.
    patch_size: pixels.
    patches_per_decode: patches a visit, at least 1.
  Returns:
    int64 [V] indexes of images, ascending, and int64 [V] numbers of patches.
  """
  patches = np.maximum(1, np.rint(sizes.prod(axis=1) / patch_size**2)).astype(np.int64)
  per_image = -(-patches // patches_per_decode)
  images = np.repeat(np.arange(len(sizes)), per_image)
  counts = np.full(len(images), patches_per_decode)
  counts[np.cumsum(per_image) - 1] = patches - (per_image - 1) * patches_per_decode
  return images, counts


def epoch_order(images: np.ndarray, counts: np.ndarray, seed: int, epoch: int) -> np.ndarray:
  """Lists the images of an epoch's patches: visits in random order, patches mixed in windows.

  A window has the patches of about 32 visits, so that the images at hand are few and the patches of
  a batch are still of different images.

  Args:
    images, counts: the visits.
    seed: 0 to 2**32 - 1.
    epoch: 0 or more; the order depends on it and the seed.
  Returns:
    int64 [M], indexes of images; each as often as its visits' counts add up to.
  """
  rng = _generator(seed, _ORDER, epoch)
  order = rng.permutation(len(images))
  patches = np.repeat(images[order], counts[order])
  window = np.arange(len(patches)) // (VISITS_PER_WINDOW * counts.max())
  return patches[np.argsort(window + rng.random(len(patches)))]


def endless(
  order: Callable[[int], np.ndarray], epoch_length: int, numbers: np.ndarray
) -> np.ndarray:
  """Elements `numbers` (int64 [N], 0 or more) of all epochs' orders, one after another."""
  epochs, positions = np.divmod(numbers, epoch_length)
  result = np.empty_like(positions)
  for epoch in np.unique(epochs):
    result[epochs == epoch] = order(int(epoch))[positions[epochs == epoch]]
  return result


def draws(seed: int, batch_number: int, shape: tuple[int, ...]) -> np.ndarray:
  """Draws the random numbers in [0, 1) of a batch: float64 of the shape, by seed and number."""
  return _generator(seed, _DRAWS, batch_number).random(shape)


def _generator(seed: int, purpose: int, number: int) -> np.random.Generator:
  """Makes a random generator whose key says all it depends on."""
  key = np.array([seed + (purpose << 32), number], np.uint64)
  return np.random.Generator(np.random.Philox(key=key))
