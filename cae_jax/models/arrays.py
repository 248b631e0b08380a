"""Functions of arrays of NumPy or JAX, which networks are made of in training and for files."""

from typing import Any

import numpy as np

_MOST_NUMBERS = 2**16  # of a sum that is added to: it should stay in the caches


def space_to_depth(x: Any, block: int) -> Any:
  """Moves blocks to channels: [..., H, W, C] -> [..., H/block, W/block, block²*C], rows first."""
  *batch, height, width, channels = x.shape
  check_multiple(height, width, block)
  x = x.reshape(*batch, height // block, block, width // block, block, channels)
  x = x.swapaxes(-4, -3)
  return x.reshape(*batch, height // block, width // block, block * block * channels)


def check_multiple(height: int, width: int, block: int) -> None:
  """Raises ValueError unless both sides are multiples of a block's."""
  if height % block or width % block:
    raise ValueError(
      f"expected height and width to be multiples of {block}, got {height}x{width}; "
      "pad with cae_jax.images.tiling.pad_to_multiple first"
    )


def depth_to_space(x: Any, block: int) -> Any:
  """Undoes `space_to_depth`: [..., h, w, block*block*C] -> [..., h*block, w*block, C]."""
  *batch, height, width, depth = x.shape
  channels, rest = divmod(depth, block * block)
  if rest:
    raise ValueError(f"expected a multiple of {block * block} channels, got {depth}")
  x = x.reshape(*batch, height, width, block, block, channels)
  x = x.swapaxes(-4, -3)
  return x.reshape(*batch, height * block, width * block, channels)


def namespace(*arrays: Any) -> Any:
  """Returns the module whose functions take these arrays: NumPy only if all of them are of it."""
  return next((a for a in arrays if not isinstance(a, np.ndarray)), arrays[0]).__array_namespace__()


def polynomial(coefficients: Any, tradeoff: Any, ndim: int = 4) -> Any:
  """Evaluates c0 + c1 u + ...: coefficients [N, C], u [B] -> [B, 1, ..., 1, C] of `ndim` axes."""
  xp = namespace(tradeoff, coefficients)
  powers = xp.stack([tradeoff**n for n in range(len(coefficients))], axis=-1)
  return xp.expand_dims(powers @ coefficients, tuple(range(1, ndim - 1)))


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """Convolves a map of NumPy, with zeros around it: [1, h, w, C], [k, k, C, F] -> [1, h, w, F].

  Sums products of shifted views of the map, one for each of the kernel's places.
  """
  (_, height, width, channels), (side, *_, features) = x.shape, kernel.shape
  if side == 1:
    return x @ kernel[0, 0]
  radius = side // 2
  # The zeros behind a row are also those before the next one.
  stride = width + radius
  flat = np.zeros(((height + 2 * radius) * stride + 2 * radius, channels), x.dtype)
  inside = flat[radius * (stride + 1) :][: height * stride].reshape(height, stride, channels)
  inside[:, :width] = x[0]
  shifts = [i * stride + j for i in range(side) for j in range(side)]
  matrices = kernel.reshape(-1, channels, features)
  result = np.empty((height * stride, features), x.dtype)
  together = max(_MOST_NUMBERS // features, 1)
  for start in range(0, len(result), together):
    part = result[start : start + together]
    products = (flat[start + shift :][: len(part)] @ m for shift, m in zip(shifts, matrices))
    part[...] = next(products)
    for product in products:
      part += product
  return result.reshape(1, height, stride, features)[:, :, :width]
