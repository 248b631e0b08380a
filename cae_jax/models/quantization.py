"""Rounding of latents, for training and for coding."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def straight_through(x: jax.Array, x_hat: jax.Array) -> jax.Array:
  """Returns the value of `x_hat` with the gradient of `x` (Bengio et al. 2013, arXiv:1308.3432)."""
  return x + jax.lax.stop_gradient(x_hat - x)


def unit_noise(key: jax.Array, like: jax.Array) -> jax.Array:
  """Draws uniform noise in [-1/2, 1/2) of an array's shape: rounding, relaxed, in the rate."""
  return jax.random.uniform(key, like.shape, like.dtype, -0.5, 0.5)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def clip_inward(x: jax.Array, low: float, high: float) -> jax.Array:
  """Clips as `jnp.clip` does, with gradients that let what lies outside come back.

  The gradient also passes where x is outside and a step down it leads towards the range: the
  "identity_if_towards" of the bounds in TensorFlow Compression. Under a plain clip, latents that
  have once left the range learn nothing more.
  """
  return jnp.clip(x, low, high)


def _clip_inward_fwd(x, low, high):
  return jnp.clip(x, low, high), x


def _clip_inward_bwd(low, high, x, gradient):
  inward = ((x >= low) | (gradient < 0)) & ((x <= high) | (gradient > 0))
  return (jnp.where(inward, gradient, 0),)


clip_inward.defvjp(_clip_inward_fwd, _clip_inward_bwd)


def quantize_uniform(y: ArrayLike, low: ArrayLike, high: ArrayLike, bits: int) -> jax.Array:
  """Finds the nearest of 2^bits evenly spaced levels from `low` to `high`, both included.

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
  """Returns the levels of `quantize_uniform`: [..., M] int32 -> [..., M] float32."""
  low, high = jnp.asarray(low), jnp.asarray(high)
  return low + jnp.asarray(indexes, jnp.float32) * ((high - low) / (2**bits - 1))
