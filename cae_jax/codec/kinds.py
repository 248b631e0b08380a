"""Kinds of images, and the RGB pictures that a coder makes of them."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from cae_jax.codec import hidden, threads
from cae_jax.coding.bitstream import KIND_16, Kind
from cae_jax.errors import UsageError
from cae_jax.images import metrics

_STRIP = 256  # rows; errors are in float64
_LAYOUTS = "[H, W] grey, [H, W, 3] RGB or, with alpha, [H, W, 2] or [H, W, 4]"
# Ways from other libraries' images to an array, by the first part of their types' names.
_TO_ARRAY = {
  "PIL": 'np.asarray(image.convert("RGB")), or "RGBA", "L", "LA"',
  "torch": "image.permute(1, 2, 0).cpu().numpy(), if it is [C, H, W]",
  "tensorflow": "image.numpy()",
}


class Planes(NamedTuple):
  """An image as the codec takes it apart.

  Attributes:
    kind: of the image.
    rgb: uint8 [H, W, 3], for the coder.
    alpha: uint8 [H, W], or None where the kind has none.
  """

  kind: Kind
  rgb: np.ndarray
  alpha: np.ndarray | None


def take_apart(image: np.ndarray) -> Planes:
  """Takes an image apart into planes, and smooths colours that full transparency hides.

  Args:
    image: uint8 [H, W] grey, [H, W, 2] grey and alpha, [H, W, 3] RGB or [H, W, 4] RGBA; of NumPy or
      JAX.
  Raises:
    UsageError: another type or shape.
  """
  image = as_array(image)
  kind = kind_of(image)
  channels = image[..., None] if kind == Kind.GREY else image
  alpha, colours = alpha_of(image), channels
  if alpha is not None:
    colours = hidden.smooth(channels[..., :-1], alpha > 0)
  return Planes(kind, np.broadcast_to(colours, (*image.shape[:2], 3)), alpha)


def put_together(planes: Planes) -> np.ndarray:
  """Makes an image, uint8 of the kind's shape, of decoded planes; grey is the channels' mean."""
  colours = planes.rgb
  if planes.kind in (Kind.GREY, Kind.GREY_ALPHA):
    colours = ((colours.sum(axis=2, keepdims=True, dtype=np.uint16) + 1) // 3).astype(np.uint8)
  if planes.alpha is not None:
    return np.concatenate([colours, planes.alpha[..., None]], axis=2)
  return colours[..., 0] if planes.kind == Kind.GREY else colours


def has_alpha(kind: Kind) -> bool:
  """Says whether images of this kind have a plane of opacity."""
  return kind.channels in (2, 4)


def alpha_of(image: np.ndarray) -> np.ndarray | None:
  """Returns the opacity [H, W] of an image of any kind; None if it has none."""
  if image.ndim < 3 or image.shape[2] not in (2, 4):
    return None
  return np.ascontiguousarray(image[..., -1])


def hides_colours(image: np.ndarray) -> bool:
  """Says whether an image has colours other than 0 under full transparency."""
  alpha = alpha_of(image)
  return alpha is not None and bool(image[alpha == 0, :-1].any())


def visible_psnr_db(planes: Planes, rgb_hat: np.ndarray) -> float:
  """Computes the PSNR of decoded colours, without pixels that are fully transparent in `planes`."""
  x, x_hat = (put_together(Planes(planes.kind, rgb, None)) for rgb in (planes.rgb, rgb_hat))
  total, count = 0.0, 0
  for start in range(0, len(x), _STRIP):
    rows = slice(start, start + _STRIP)
    seen = slice(None) if planes.alpha is None else planes.alpha[rows] > 0
    strip, strip_hat = x[rows][seen], x_hat[rows][seen]
    if strip.size:
      total += metrics.mse(strip, strip_hat) * strip.size
      count += strip.size
  return metrics.psnr_from_mse(total / max(count, 1))


def peak_of(dtype: DTypeLike, bits: int | None = None) -> int:
  """Returns the largest value of samples: of so many bits, or else of their type."""
  return int(np.iinfo(dtype).max) if bits is None else (1 << bits) - 1


def visible_ssimulacra2(
  image: np.ndarray, image_hat: np.ndarray, peak: float | None = None
) -> float:
  """Computes the SSIMULACRA2 score of a decoded image, of either type and any kind.

  Grey counts as three equal channels; pixels that are fully transparent count as if they were kept.
  White is at `peak`, that of the type if not given.

  Raises:
    UsageError: the image is too small to have one.
  """
  height, width = image.shape[:2]
  least = metrics.SSIMULACRA2_MIN_SIDE
  if min(height, width) < least:
    raise UsageError(
      f"ssimulacra2 needs an image of at least {least} x {least} pixels, got {width} x {height}; "
      "give a quality or a PSNR"
    )
  x, x_hat = (_as_rgb(colours) for colours in (image, image_hat))
  if has_alpha(kind_of(image, (np.uint8, np.uint16))):
    x_hat = np.where(image[..., -1:] > 0, x_hat, x)
  white = float(peak_of(image.dtype) if peak is None else peak)
  with threads.threads(x.shape[0]) as apply:
    return float(metrics.ssimulacra2(x, x_hat, white, recursive=False, apply=apply))


def _as_rgb(image: np.ndarray) -> np.ndarray:
  """Colours of an image of any kind, [H, W, 3]."""
  channels = image[..., None] if image.ndim == 2 else image
  colours = channels[..., : 1 if channels.shape[2] < 3 else 3]
  return np.broadcast_to(colours, (*image.shape[:2], 3))


def as_array(image: Any) -> np.ndarray:
  """Returns an array of NumPy or JAX as one of NumPy.

  Raises:
    UsageError: it is none; says how to make one of it.
  """
  library = type(image).__module__.partition(".")[0]
  if isinstance(image, np.ndarray) or library in ("jax", "jaxlib"):
    array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
  if library in _TO_ARRAY:
    way_out = f"; give {_TO_ARRAY[library]}"
  elif isinstance(image, (str, os.PathLike)):
    way_out = "; read the file first: cae_jax.images.files.read_image(name).pixels"
  else:
    way_out = "; give np.array(image, np.uint8)" if isinstance(image, (list, tuple)) else ""
  raise UsageError(f"expected an array, uint8 {_LAYOUTS}; got {type(image).__name__}{way_out}")


def kind_of(image: np.ndarray, dtypes: Sequence[type] = (np.uint8,)) -> Kind:
  """Returns the kind of an image.

  Args:
    image: an array.
    dtypes: that it may have, of uint8 and uint16.
  Raises:
    UsageError: another type or shape.
  """
  shape = image.shape
  if image.dtype in dtypes and image.size and image.ndim in (2, 3):
    channels = shape[2] if image.ndim == 3 else 1
    if image.ndim == 2 or channels in (2, 3, 4):
      return Kind(channels | (KIND_16 if image.dtype == np.uint16 else 0))
  names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
  raise UsageError(
    f"expected {names} {_LAYOUTS}; got {image.dtype} {list(shape)}{_way_out(image, dtypes)}"
  )


def _way_out(image: np.ndarray, dtypes: Sequence[type]) -> str:
  kind, shape = image.dtype.kind, image.shape
  if image.dtype == np.uint16 and np.uint16 not in dtypes:
    return (
      "; reduce it to 8 bits, np.round(image / 257).astype(np.uint8), or compress it with "
      "lossless=True or near_lossless=T"
    )
  if kind == "f":
    return "; scale it to 0-255: np.clip(np.round(255 * image), 0, 255).astype(np.uint8)"
  if kind == "b":
    return "; scale it to 0-255: np.where(image, 255, 0).astype(np.uint8)"
  if kind in "iu" and image.dtype not in dtypes:
    return "; if its values are 0-255, give image.astype(np.uint8)"
  if image.ndim == 3 and shape[2] == 1:
    return "; drop the last axis: image[..., 0]"
  if image.ndim == 3 and shape[0] in (1, 2, 3, 4):
    return "; put the channels last: np.moveaxis(image, 0, -1)"
  return "; compress one image after the other" if image.ndim == 4 else ""
