"""Square crops of images: the centre, or one chosen, scaled and flipped by given numbers."""

from collections.abc import Sequence

import numpy as np
from PIL import Image


def center_crop(image: np.ndarray, patch_size: int) -> np.ndarray:
  """Cuts out the middle of an image, reflected where it is smaller than that: uint8 [P, P, 3]."""
  image = reflect_to(image, patch_size)
  top, left = ((side - patch_size) // 2 for side in image.shape[:2])
  return image[top : top + patch_size, left : left + patch_size]


def reflect_to(image: np.ndarray, size: int) -> np.ndarray:
  """Continues an image by reflection below and to the right until no side is under `size`.

  The border pixel is not repeated; a side of one pixel is.
  """
  missing = [max(0, size - side) for side in image.shape[:2]]
  if not any(missing):
    return image
  return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="reflect")


def write_patch(
  patch: np.ndarray, image: np.ndarray, draw: Sequence[float], *, min_scale: float = 1.0
) -> None:
  """Writes a crop of an image, scaled and flipped, all by five numbers.

  Args:
    patch: uint8 [P, P, 3], written to.
    image: uint8 [H, W, 3].
    draw: five numbers in [0, 1): top, left, vertical flip, horizontal flip, scale.
    min_scale: the smallest scale.
  """
  size = patch.shape[0]
  image = reflect_to(image, size)
  # Log-uniform in scale; a crop larger than the image is cut down to its shorter side.
  crop = min(round(size * min_scale ** -draw[4]), *image.shape[:2])
  top, left = (int(u * (side - crop + 1)) for u, side in zip(draw, image.shape[:2]))
  region = image[top : top + crop, left : left + crop]
  if crop != size:
    region = _shrink(region, size)
  if draw[2] < 0.5:
    region = region[::-1]
  if draw[3] < 0.5:
    # Channel by channel: four times as fast as NumPy's reversed copy of triples.
    for channel in range(3):
      patch[..., channel] = region[:, ::-1, channel]
  else:
    patch[...] = region


def _shrink(patch: np.ndarray, size: int) -> np.ndarray:
  picture = Image.fromarray(np.ascontiguousarray(patch))
  return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
