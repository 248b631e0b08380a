"""Tells photographs from decoded pictures, for training alone: files need none of it."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.preprocessing import dct_matrix
from cae_jax.models.arrays import space_to_depth
from cae_jax.nhwc import convolve

_SLOPE = 0.2  # of the leaky ReLUs, usual for discriminators
_ITERATIONS = 8
_BLOCK = 4


class PatchDiscriminator(nn.Module):
  """A patch discriminator that sees the latents (Mentzer et al. 2020, HiFiC, arXiv:2006.09965).

      x -> 1/4, whitened: 3x3 -> 1/8: 3x3 -> 1/16: + y_hat, conditions: 3x3 -> 3x3 -> 1x1 -> logits

  It asks whether a picture is a photograph *of which these are the latents*, so a synthesis cannot
  please it by another subject. A logit sees 104 pixels across. Spectral normalisation (Miyato et
  al. 2018) keeps every layer from growing. Resolutions fall by space-to-depth: fast on CPUs. What
  decoders lose is fine and faint, so it first sees frequencies of blocks, each as loud as others:
  of pixels it learns many times more slowly.

  Attributes:
    channels: at 1/4, 1/8 and 1/16 of the resolution.
    latent_features: that y_hat is reduced to.
    dtype: of the convolutions.
  """

  channels: Sequence[int] = (64, 128, 128)
  latent_features: int = 64
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, y_hat: jax.Array, conditions: jax.Array) -> jax.Array:
    """Returns logits [B, H/16, W/16], above 0 where a picture seems a photograph.

    Args:
      x: [B, H, W, 3] in [0, 1].
      y_hat: [B, H/16, W/16, M] in quantisation steps.
      conditions: [B, K], what else a picture depends on, on a scale of one.
    """
    first, second, third = self.channels
    h = whitened(x)
    h = _activation(SpectralConv(first, dtype=self.dtype)(h))
    h = _activation(SpectralConv(second, dtype=self.dtype)(space_to_depth(h, 2)))
    latents = jnp.sign(y_hat) * jnp.log1p(jnp.abs(y_hat))
    latents = _activation(SpectralConv(self.latent_features, 1, dtype=self.dtype)(latents))
    conditions = jnp.broadcast_to(
      conditions[:, None, None].astype(h.dtype), (*latents.shape[:-1], conditions.shape[-1])
    )
    h = jnp.concatenate([space_to_depth(h, 2), latents, conditions], axis=-1)
    for _ in range(2):
      h = _activation(SpectralConv(third, dtype=self.dtype)(h))
    return SpectralConv(1, 1, dtype=self.dtype)(h)[..., 0].astype(jnp.float32)


def whitened(x: jax.Array) -> jax.Array:
  """Takes the cosine transform of 4x4 blocks, scaled to a spread of about 1/2 in photographs.

  There the spread of frequency (i, j) is about 1 / (3 (i + j)) of half the range of the samples.

  Args:
    x: [B, H, W, 3] in [0, 1].
  Returns:
    [B, H/4, W/4, 48].
  """
  n, rows = np.arange(_BLOCK), dct_matrix(_BLOCK)
  gains = np.maximum(1.5 * (n[:, None] + n), 0.25)
  basis = np.einsum("ij,ip,jq,cd->pqcijd", gains, rows, rows, np.eye(3))
  return space_to_depth(2 * x - 1, _BLOCK) @ basis.reshape(3 * _BLOCK**2, -1).astype(np.float32)


class SpectralConv(nn.Module):
  """A convolution whose kernel, as a matrix [k * k * C_in, C_out], has a largest stretch of one."""

  features: int
  kernel_size: int = 3
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    kernel = kernel / largest_singular_value(kernel.reshape(-1, self.features))
    x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
    return convolve(x, kernel) + bias


def largest_singular_value(matrix: jax.Array) -> jax.Array:
  """Estimates the largest singular value of [m, n] from below, by power iteration; differentiable.

  It starts from the same vector at every call instead of carrying one along: nothing that a
  resumed run would have to remember.
  """
  start = np.random.default_rng(0).normal(size=matrix.shape[1])
  fixed, right = jax.lax.stop_gradient(matrix), jnp.asarray(start, matrix.dtype)
  for _ in range(_ITERATIONS):
    left = _unit(fixed @ right)
    right = _unit(fixed.T @ left)
  return left @ (matrix @ right)


def _unit(vector):
  return vector * jax.lax.rsqrt(jnp.sum(jnp.square(vector)) + 1e-12)


def _activation(x):
  return jnp.maximum(x, _SLOPE * x)
