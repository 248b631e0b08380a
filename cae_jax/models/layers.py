"""Layers shared by the networks, on paths that are fast on CPU, GPU and TPU."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.arrays import check_multiple, depth_to_space
from cae_jax.nhwc import convolve


def max_pool_2x2(x: jax.Array) -> jax.Array:
  """Takes maxima of 2x2 pixels: [B, H, W, C] -> [B, H/2, W/2, C].

  Pairwise maxima instead of `reduce_window`, whose gradient is ten times slower on CPU. Where
  several inputs tie for the maximum, they share the gradient.
  """
  batch, height, width, channels = x.shape
  check_multiple(height, width, 2)
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  x = jnp.maximum(x[:, :, 0], x[:, :, 1])
  return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def upsample_kernel(kernel: jax.Array) -> jax.Array:
  """Folds "nearest-neighbour 2x up-sampling, then a convolution" into one small convolution.

  Each of the four output phases sees a fixed sum of the kernel's taps at the lower resolution, so
  a convolution there with four times the channels, followed by `depth_to_space`, is the same
  linear map, borders included: a quarter of the positions, and no up-sampled copy in memory.

  Args:
    kernel: [k, k, C_in, C_out], k odd, for the higher resolution.
  Returns:
    [r, r, C_in, 4 * C_out] for the lower resolution, in the channel order of `depth_to_space`.
  """
  size, _, c_in, c_out = kernel.shape
  fold = _phase_matrix(size)
  reach = fold.shape[1]
  # One product with a constant: [r * r * 2 * 2, k * k] x [k * k, C_in * C_out].
  both = np.einsum("pri,qsj->rspqij", fold, fold).reshape(4 * reach**2, size**2)
  folded = jnp.asarray(both, kernel.dtype) @ kernel.reshape(size**2, c_in * c_out)
  folded = folded.reshape(reach, reach, 4, c_in, c_out).swapaxes(2, 3)
  return folded.reshape(reach, reach, c_in, 4 * c_out)


def _phase_matrix(size: int) -> np.ndarray:
  """[2, r, size]: which low-resolution tap each tap of a length-`size` kernel falls on."""
  radius = size // 2
  reach = (radius + 1) // 2
  matrix = np.zeros((2, 2 * reach + 1, size))
  for phase in range(2):
    for tap in range(size):
      matrix[phase, (phase + tap - radius) // 2 + reach, tap] = 1
  return matrix


def zero_sum_init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
  """Draws LeCun-normal kernels [k, k, C_in, C_out] less their mean: blind to inputs' common offset.

  With biases of one in the hidden layers, a ReLU network starts nearly linear, every unit open,
  and no layer passes the others' biases on.
  """
  kernel = nn.initializers.lecun_normal()(key, shape, dtype)
  return kernel - jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)


def initializer(
  module: nn.Module, init: nn.initializers.Initializer
) -> nn.initializers.Initializer:
  """Returns the initializer of a module's parameter while it is initialised, and zeros afterwards.

  Flax traces initializers whenever a module is applied, to compare shapes. Random ones are half of
  the time that tracing a synthesis takes.
  """
  return init if module.is_initializing() else nn.initializers.zeros


class UpsampleConv(nn.Module):
  """Nearest-neighbour 2x up-sampling and a k x k convolution, evaluated at the lower resolution.

  [B, h, w, C] -> [B, 2h, 2w, features]. Parameters are those of the plain convolution, which it
  equals; see `upsample_kernel`.
  """

  features: int
  kernel_size: int = 3
  dtype: jnp.dtype = jnp.float32
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x):
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", zero_sum_init, shape)
    bias = self.param("bias", self.bias_init, (self.features,))
    phases = convolve(x.astype(self.dtype), upsample_kernel(kernel).astype(self.dtype))
    return depth_to_space(phases, 2) + bias.astype(self.dtype)[None, None, None, :]


class SubpixelConv(nn.Module):
  """2x up-sampling by a k x k convolution and `depth_to_space` (Shi et al. 2016, arXiv:1609.05158).

  [B, h, w, C] -> [B, 2h, 2w, features]. Every `UpsampleConv` is one of these with tied weights, at
  the same cost.
  """

  features: int
  kernel_size: int = 3
  dtype: jnp.dtype = jnp.float32
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x):
    phases = nn.Conv(
      4 * self.features,
      (self.kernel_size, self.kernel_size),
      kernel_init=zero_sum_init,
      bias_init=self.bias_init,
      dtype=self.dtype,
    )
    return depth_to_space(phases(x), 2)


UPSAMPLINGS = {"nearest": UpsampleConv, "subpixel": SubpixelConv}
