"""Bits of samples under the distributions of `distribution`, for training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from cae_jax.models.lossless import distribution


def _normal(x: jax.Array) -> jax.Array:
  return 0.5 * erfc(x * -np.float32(0.5**0.5))


def bits(error: jax.Array, log_scale: jax.Array, shape: jax.Array, edge: Any = 0) -> jax.Array:
  """Computes the information content of samples.

  Args:
    error: [...] float, samples less their means.
    log_scale: same shape, log2, clipped to the range of the tables.
    shape: same shape, clipped to [0, 3].
    edge: same shape, 1 or -1 for a sample that is the largest or smallest there can be: it has the
      probability of all that lies beyond.
  """
  scale = jnp.exp2(jnp.clip(log_scale, distribution.LOWEST, distribution.HIGHEST))
  shape = jnp.clip(shape, 0, distribution.LARGEST_SHAPE)
  # A scale of next to nothing leaves no gradient far out; the floor must not hide all of it.
  mass = distribution.mix(distribution.masses(error, scale, jnp, _normal, edge), shape, jnp)
  return -jnp.log2(jnp.maximum(mass, 0) * (1 - distribution.FLOOR) + distribution.FLOOR)


def rounded(mean: jax.Array, log_scale: jax.Array, shape: jax.Array) -> tuple[jax.Array, ...]:
  """Rounds to the table that a sample is coded with; the mean is in eighths of a grey level."""
  step = lambda x, parts: jnp.floor(x * parts + 0.5) / parts
  scale = (
    step(
      jnp.clip(log_scale, distribution.LOWEST, distribution.HIGHEST) - distribution.LOWEST,
      distribution.PER_OCTAVE,
    )
    + distribution.LOWEST
  )
  return (
    step(mean, 1),
    scale,
    step(jnp.clip(shape, 0, distribution.LARGEST_SHAPE), distribution.SHAPES_PER_UNIT),
  )
