"""Arrays of pixels: which are images, 16 bits to 8, any kind to RGB."""

import numpy as np
from PIL import Image

from cae_jax.errors import Error

Area = tuple[int, int, int, int]  # top, left, height, width

_FOR_PILLOW = {  # modes whose samples Pillow would clip to 0 to 255, and what keeps more of them
  "I": 'image.convert("I;16"), which holds 0 to 65535',
  "F": 'image.convert("L") of samples that you have scaled to 0 to 255',
}


class ImageError(Error, ValueError):
  """A file or an array that is not an image this package can use."""


def check_pixels(pixels: np.ndarray, *, deep: bool = False) -> None:
  """Raises ImageError unless `pixels` is an image that is not empty.

  Args:
    pixels: uint8 [H, W] or [H, W, 1 to 4].
    deep: uint16 will do, too.
  """
  shape, dtype = np.shape(pixels), getattr(pixels, "dtype", type(pixels))
  good_shape = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 2, 3, 4))
  good_type = dtype == np.uint8 or (deep and dtype == np.uint16)
  if not good_type or not good_shape or 0 in shape:
    raise ImageError(
      f"expected uint8 {'or uint16 ' * deep}pixels [H, W] or [H, W, 1 to 4], got {dtype} "
      f"{list(shape)}"
    )


def from_pillow(image: Image.Image) -> np.ndarray:
  """Makes pixels of an image of Pillow: [H, W] or [H, W, 2 to 4] of uint8, or uint16 of I;16.

  Raises:
    ImageError: a mode that has no such pixels.
  """
  mode = image.mode
  if mode in ("P", "PA"):
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
  elif mode == "1":
    image = image.convert("L")
  elif mode in ("L", "RGB") and "transparency" in image.info:  # one colour of it
    image = image.convert("LA" if mode == "L" else "RGBA")
  elif mode not in ("L", "LA", "RGB", "RGBA") and not mode.startswith("I;16"):
    way_out = _FOR_PILLOW.get(mode, 'image.convert("RGB"), or "RGBA", "L", "LA"')
    raise ImageError(f"an image of mode {mode}; give {way_out}")
  pixels = np.asarray(image)
  return pixels.astype(np.uint16) if mode.startswith("I;16") else pixels


def check_size(width: int, height: int) -> None:
  """Raises ImageError if an image is larger than Pillow's limit against decompression bombs."""
  limit = Image.MAX_IMAGE_PIXELS
  if limit is not None and width * height > 2 * limit:
    raise ImageError(f"{width} x {height} pixels, more than Pillow's limit of {2 * limit}")


def to_rgb(pixels: np.ndarray) -> np.ndarray:
  """Makes RGB of all kinds of pixels: grey is replicated, alpha is blended over white.

  Args:
    pixels: uint8 [H, W] or [H, W, 1 to 4].
  Returns:
    uint8 [H, W, 3]; the argument itself if it is RGB already.
  Raises:
    ImageError: another shape or type.
  """
  check_pixels(pixels)
  colours = pixels[..., None] if pixels.ndim == 2 else pixels
  if colours.shape[2] in (2, 4):
    alpha = colours[..., -1:].astype(np.uint32)
    blended = colours[..., :-1] * alpha + 255 * (255 - alpha)
    colours = ((blended + 127) // 255).astype(np.uint8)
  return colours if colours.shape[2] == 3 else np.repeat(colours, 3, axis=2)


def to_8_bits(samples: np.ndarray) -> np.ndarray:
  """Reduces uint16 samples to uint8 by round(v / 257), so that 65535 becomes 255; keeps uint8."""
  if samples.dtype == np.uint8:
    return samples
  return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def turn(samples: np.ndarray, orientation: int) -> np.ndarray:
  """Turns an image upright.

  Args:
    samples: [H, W] or [H, W, C].
    orientation: 1 to 8, as EXIF's tag 274 counts them: where the first row and column are.
  Returns:
    [H, W, ...] or [W, H, ...], contiguous.
  """
  if orientation in (5, 6, 7, 8):
    samples = samples.swapaxes(0, 1)
  if orientation in (2, 3, 6, 7):
    samples = samples[:, ::-1]
  if orientation in (3, 4, 7, 8):
    samples = samples[::-1]
  return np.ascontiguousarray(samples)


def region_after_turn(region: Area, orientation: int, height: int, width: int) -> Area:
  """Finds where a region of an image lies in what `turn` makes of it.

  Args:
    region: top, left, height and width, within the image.
    orientation: as of `turn`.
    height, width: of the image.
  """
  inverse = {6: 8, 8: 6}.get(orientation, orientation)
  return region_before_turn(region, inverse, height, width)


def region_before_turn(region: Area, orientation: int, height: int, width: int) -> Area:
  """Finds where a region of a turned image comes from.

  Args:
    region: top, left, height and width, within what `turn` makes.
    orientation: as of `turn`.
    height, width: of what `turn` makes.
  Returns:
    The region of the image before it was turned.
  """
  top, left, rows, columns = region
  if orientation in (3, 4, 7, 8):
    top = height - top - rows
  if orientation in (2, 3, 6, 7):
    left = width - left - columns
  return (left, top, columns, rows) if orientation in (5, 6, 7, 8) else (top, left, rows, columns)
