"""Rounding of latents, for training and for coding."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def straight_through(x: jax.Array, x_hat: jax.Array) -> jax.Array:
  """The value of `x_hat` with the gradient of `x` (Bengio et al. 2013, arXiv:1308.3432)."""
  return x + jax.lax.stop_gradient(x_hat - x)


def quantize_uniform(y: ArrayLike, low: ArrayLike, high: ArrayLike, bits: int) -> jax.Array:
  """Indexes of the nearest of 2^bits evenly spaced levels from `low` to `high`, both included.

  Args:
    y: [..., M] float; values outside [low, high] take the nearest end.
    low, high: [M] float, high > low.
    bits: 1 to 16.
  Returns:
    [..., M] int32 in [0, 2^bits - 1].
  """
  levels = 2**bits - 1
  low, high = jnp.asarray(low), jnp.asarray(high)
  position = (jnp.asarray(y) - low) / (high - low) * levels
  return jnp.clip(jnp.round(position), 0, levels).astype(jnp.int32)


def dequantize_uniform(indexes: ArrayLike, low: ArrayLike, high: ArrayLike, bits: int) -> jax.Array:
  """The levels of `quantize_uniform`: [..., M] int32 -> [..., M] float32."""
  low, high = jnp.asarray(low), jnp.asarray(high)
  return low + jnp.asarray(indexes, jnp.float32) * ((high - low) / (2**bits - 1))
