"""Generalised divisive normalisation (Ballé et al. 2016, arXiv:1511.06281)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.models.quantization import clip_inward

_PEDESTAL = 2.0**-36
_BETA_MIN = 1e-6
_GAMMA_START = 0.1


class GDN(nn.Module):
  """y_i = x_i / sqrt(beta_i + sum_j gamma_ji x_j^2), or times that root if `inverse`.

  [..., C] -> [..., C]. beta and gamma are kept as roots, as in TensorFlow Compression and
  CompressAI: squares stay positive, and a step of the optimiser moves a small gamma, of which there
  are C^2, by little. The roots have a bound near zero that the gradient can lift them off from.
  """

  inverse: bool = False

  @nn.compact
  def __call__(self, x):
    channels = x.shape[-1]
    beta = self.param("beta", lambda _: jnp.full(channels, _to_root(1.0), jnp.float32))
    gamma = self.param("gamma", lambda _: jnp.sqrt(_GAMMA_START * jnp.eye(channels) + _PEDESTAL))
    return normalise(x, squared(beta, _BETA_MIN), squared(gamma), self.inverse)


def normalise(x: jax.Array, beta: jax.Array, gamma: jax.Array, inverse: bool = False) -> jax.Array:
  """Normalises x [..., C] by beta [C] > 0, gamma [C, C] >= 0 (inputs first), in x's dtype."""
  energy = jnp.square(x) @ gamma.astype(x.dtype) + beta.astype(x.dtype)
  return x * (jnp.sqrt(energy) if inverse else jax.lax.rsqrt(energy))


def squared(root: jax.Array, minimum: float = 0.0) -> jax.Array:
  """Returns root^2, at least `minimum`, with a gradient at the bound if it leads upwards."""
  return jnp.square(clip_inward(root, _to_root(minimum), math.inf)) - _PEDESTAL


def _to_root(value: float) -> float:
  return math.sqrt(value + _PEDESTAL)
