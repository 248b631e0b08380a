"""Analysis and synthesis by a linear block transform with a network beside it.

Latents have two resolutions. The C coarse ones are low frequencies of 16x16 blocks, the F fine ones
the other frequencies of 8x8 blocks; as one array y [B, H/16, W/16, C + 4F], fine ones last, in the
order of `space_to_depth`.

The linear path starts as a KLT: a transform codec that works before the first step. The network
starts at zero and learns what a linear map of single blocks cannot do. All convolutions run at 1/8
and 1/16 of the resolution, between space-to-depth rearrangements.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.arrays import space_to_depth
from cae_jax.models.context.analysis import analyse_blocks, analysis_matrix
from cae_jax.models.context.synthesis import (
  BLOCK,
  PEAK,
  SAMPLES,
  activation,
  condition,
  synthesis_matrix,
  synthesise_features,
  synthesise_pixels,
)
from cae_jax.models.layers import initializer


class ConditionalConv(nn.Module):
  """A convolution whose output is scaled and shifted by polynomials of the trade-off.

  x [B, h, w, C], tradeoff [B] -> [B, h, w, features]. At the start the polynomials do
  nothing; with `degree` 0 they never depend on the trade-off.
  """

  features: int
  kernel_size: int = 3
  degree: int = 2
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, tradeoff):
    side, init = self.kernel_size, initializer(self, self.kernel_init)
    x = nn.Conv(self.features, (side, side), use_bias=False, kernel_init=init, dtype=self.dtype)(x)
    shape = (self.degree + 1, self.features)
    gain = self.param("log_gain", nn.initializers.zeros, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    return condition(gain, bias, tradeoff)(x)


class ResidualBlock(nn.Module):
  """x + conv(act(conv(act(x)))), both 3x3 and conditional on the trade-off up to `degree`."""

  degree: int = 2
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, tradeoff):
    # Small, not zero: a zero kernel would hold back the gradient of the other convolution.
    small = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
    first, second = (
      ConditionalConv(x.shape[-1], 3, self.degree, init, self.dtype)
      for init in (nn.initializers.lecun_normal(), small)
    )
    return x + second(activation(first(activation(x), tradeoff)), tradeoff)


class BlockAnalysis(nn.Module):
  """x [B, H, W, 3] in [0, 1] -> y [B, H/16, W/16, C + 4F], coefficients in grey levels.

      x -> 16x16 block transform -------------------------------------------> + -> y
      x -> 1/8: 1x1, residual blocks -> 1/16: 1x1, residual blocks -> 1x1 ----^ coarse
                                     -> 1x1 ----------------------------------^ fine

  It does not know the trade-off, so that one analysis serves a search for a rate.

  Attributes:
    coarse, fine: C and F.
    channels: of the network at 1/8 and 1/16.
    blocks: residual blocks there.
  """

  coarse: int
  fine: int
  channels: Sequence[int]
  blocks: Sequence[int]
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    basis_shape = SAMPLES, self.coarse + 4 * self.fine
    basis = self.param("basis", initializer(self, _orthonormal_init), basis_shape)
    rateless = jnp.zeros(x.shape[0])
    part = lambda module: lambda x: module(x, rateless)
    stages = []
    for features, count in zip(self.channels, self.blocks, strict=True):
      modules: list[nn.Module] = [ConditionalConv(features, 1, 0, dtype=self.dtype)]
      modules += [ResidualBlock(0, self.dtype) for _ in range(count)]
      stages.append([part(module) for module in modules])
    zeros = nn.initializers.zeros
    sizes = [self.coarse, self.fine] if self.fine else [self.coarse]
    last = [part(ConditionalConv(size, 1, 0, zeros, self.dtype)) for size in sizes]
    return analyse_blocks(x, lambda x: x @ analysis_matrix(basis), stages, last, self.dtype)


class BlockSynthesis(nn.Module):
  """y_hat in quantisation steps, the steps -> x_hat [B, H, W, 3] near [0, 1], not clipped.

      y_hat * step -> 16x16 block transform -----------------------------------------------> +
      coarse -> 1/16: 1x1, residual blocks -> 1/8: 1x1, residual blocks -> 1x1 -> * step ----^
                                   fine ------^

  The network sees latents in quantisation steps and its output counts in them: what it has to
  mend, the quantisation noise, is then of one size at all rates.
  """

  coarse: int
  channels: Sequence[int]
  blocks: Sequence[int]
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, y_hat, step, tradeoff):
    """y_hat [B, h, w, M] in steps; step [B, 1, 1, M] in grey levels; tradeoff [B]."""
    basis = self.param("basis", initializer(self, _orthonormal_init), (SAMPLES, y_hat.shape[-1]))
    part = lambda module: lambda x: module(x, tradeoff)
    stages = []
    for features, count in zip(self.channels[::-1], self.blocks[::-1], strict=True):
      modules: list[nn.Module] = [ConditionalConv(features, 1, dtype=self.dtype)]
      modules += [ResidualBlock(dtype=self.dtype) for _ in range(count)]
      stages.append([part(module) for module in modules])
    zeros = nn.initializers.zeros
    last = part(ConditionalConv(3 * 8**2, 1, kernel_init=zeros, dtype=self.dtype))
    features = synthesise_features(y_hat, stages, self.coarse, self.dtype)
    linear = lambda y: y @ synthesis_matrix(basis)
    return synthesise_pixels(y_hat, features, step, linear, last)


def _orthonormal_init(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """Some orthonormal columns, times the root of their length: weights with an RMS of one.

  (Adam's steps are of one size for all weights: the factor keeps them small beside these.)
  """
  return nn.initializers.orthogonal(math.sqrt(shape[0]))(key, shape)


def klt(blocks: np.ndarray, coarse: int, fine: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Finds the Karhunen-Loève transforms in two resolutions, of values around mid-grey.

  The principal axes of 8x8 blocks; the strongest ones of four neighbouring blocks are turned
  together to their own principal axes, the others stay. Without fine axes: those of 16x16 blocks.

  Args:
    blocks: uint8 [N, 16, 16, 3].
    coarse: C, axes of 16x16 blocks.
    fine: F, axes of 8x8 blocks.
  Returns:
    (float32 [768, C + 4F] of orthonormal columns in the order of y; float32 [C + F], the root mean
    squares of the coefficients in grey levels, falling in each resolution).
  """
  x = blocks.astype(np.float64) - PEAK / 2
  if not fine:
    return _principal_axes(x.reshape(len(x), -1), coarse)
  merged = -(-coarse // 4)
  small_axes, small_sizes = _principal_axes(
    space_to_depth(x, BLOCK // 2).reshape(-1, SAMPLES // 4), merged + fine
  )
  # The first coefficients of 8x8 blocks, four blocks in a row; the other coefficients likewise.
  first = lambda x: space_to_depth(space_to_depth(x, BLOCK // 2) @ small_axes[:, :merged], 2)
  rest = lambda x: space_to_depth(space_to_depth(x, BLOCK // 2) @ small_axes[:, merged:], 2)
  turn, sizes = _principal_axes(first(x).reshape(len(x), -1), coarse)
  pixels = np.eye(SAMPLES).reshape(SAMPLES, BLOCK, BLOCK, 3)
  axes = [first(pixels).reshape(SAMPLES, -1) @ turn, rest(pixels).reshape(SAMPLES, -1)]
  return (
    np.concatenate(axes, axis=1).astype(np.float32),
    np.concatenate([sizes, small_sizes[merged:]]),
  )


def _principal_axes(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """[N, D] -> the `count` strongest axes [D, count], root mean squares along them [count]."""
  energies, axes = np.linalg.eigh(x.T @ x / len(x))
  order = np.argsort(energies)[::-1][:count]
  # Of each axis and its negative, the one whose largest component is positive.
  axes = axes[:, order]
  largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
  axes = axes * np.sign(largest)
  return axes.astype(np.float32), np.sqrt(np.maximum(energies[order], 0)).astype(np.float32)
