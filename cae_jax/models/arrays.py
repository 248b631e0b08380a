"""Functions of arrays of NumPy or JAX, which networks are made of in training and for files."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

# Applies a function to each item, perhaps to several at the same time; as the built-in map.
Map = Callable[[Callable, Iterable], Iterable]
_MOST_NUMBERS = 2**16  # that are made of a part
_SHARES = 4  # parts come in multiples of these, so that two or four cores have as much to do


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


def parts(length: int, numbers: int, most: int = _MOST_NUMBERS) -> list[slice]:
  """Cuts a run into parts so small that what is made of each stays in the caches.

  Args:
    length: items of the run.
    numbers: that are made of an item.
    most: that may be made of a part.
  """
  count = -(-length * numbers // (most * _SHARES)) * _SHARES
  size = max(-(-length // max(count, 1)), 1)
  return [slice(i, min(i + size, length)) for i in range(0, length, size)]
