"""Convolutions of stride 2 and their transposes, with gradients that are fast on CPU too.

The two are each other's adjoint, so each is the other's gradient. Written by hand, because XLA's
CPU takes 20 to 80 times as long for the gradients of a convolution with a dilated input.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.models.arrays import depth_to_space
from cae_jax.nhwc import convolve

SIZE = 5  # side of all kernels here
_AROUND = ((SIZE // 2, SIZE // 2),) * 2
# A 3x3 kernel at the lower resolution has 36 taps for each output cell of 2x2, 25 of them used. By
# phases nothing is wasted, but with few output channels four small products are slower.
_FEW_CHANNELS = 32


@jax.custom_vjp
def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves with stride 2, zeros outside: PyTorch's Conv2d(k=5, stride=2, padding=2).

  Args:
    x: [B, H, W, C], H and W even.
    kernel: [5, 5, C, F].
  Returns:
    [B, H/2, W/2, F].
  """
  return convolve(x, kernel, 2, _AROUND)


def _strided_fwd(x, kernel):
  return strided_conv(x, kernel), (x, kernel)


def _strided_bwd(residuals, dy):
  x, kernel = residuals
  return transposed_conv(dy, kernel.swapaxes(2, 3)), _kernel_gradient(x, kernel, dy)


@jax.custom_vjp
def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Transposes `strided_conv`, evaluated at the lower resolution.

  x[i] adds x[i] kernel[t] to y[2i - 2 + t]: PyTorch's ConvTranspose2d(k=5, stride=2, padding=2,
  output_padding=1) with its weight [C, F, 5, 5] transposed to [5, 5, C, F].

  Args:
    x: [B, h, w, C].
    kernel: [5, 5, C, F].
  Returns:
    [B, 2h, 2w, F].
  """
  if kernel.shape[-1] < _FEW_CHANNELS:
    return depth_to_space(convolve(x, fold_transposed(kernel)), 2)
  phases = [_phase(x, kernel, row, column) for row in (0, 1) for column in (0, 1)]
  return depth_to_space(jnp.concatenate(phases, axis=-1), 2)


def _transposed_fwd(x, kernel):
  return transposed_conv(x, kernel), (x, kernel)


def _transposed_bwd(residuals, dy):
  x, kernel = residuals
  adjoint = kernel.swapaxes(2, 3)
  return strided_conv(dy, adjoint), _kernel_gradient(dy, adjoint, x).swapaxes(2, 3)


strided_conv.defvjp(_strided_fwd, _strided_bwd)
transposed_conv.defvjp(_transposed_fwd, _transposed_bwd)


def _kernel_gradient(x, kernel, dy):
  """The gradient of sum(dy * strided_conv(x, kernel)) in the kernel."""
  _, pull_back = jax.vjp(lambda k: convolve(x, k, 2, _AROUND), kernel)
  return pull_back(dy)[0]


def _phase(x, kernel, row, column):
  """What a transposed convolution gives at (2i + row, 2j + column): [B, h, w, F]."""
  taps = kernel[row::2, column::2][::-1, ::-1]
  return convolve(x, taps, padding=((1 - row, 1), (1 - column, 1)))


def fold_transposed(kernel: jax.Array) -> jax.Array:
  """Folds the kernel of a transposed convolution into one for the lower resolution.

  `transposed_conv` is a convolution with it (stride 1, padding 1), then `depth_to_space`.

  Args:
    kernel: [5, 5, C, F].
  Returns:
    [3, 3, C, 4 * F], in the channel order of `depth_to_space`.
  """
  c_in, c_out = kernel.shape[2:]
  taps = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(3, 2, 3, 2, c_in, c_out)
  # Tap t of phase p reaches y[2i + p] from x[i + 1 - t // 2].
  taps = taps[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
  return taps.reshape(3, 3, c_in, 4 * c_out)


class StridedConv(nn.Module):
  """5x5 convolution of stride 2: [B, H, W, C] -> [B, H/2, W/2, features].

  `gain` scales the kernels at the start; 1 keeps the inputs' variance.
  """

  features: int
  gain: float = 1.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    init = nn.initializers.variance_scaling(self.gain**2, "fan_in", "truncated_normal")
    kernel = self.param("kernel", init, (SIZE, SIZE, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    y = strided_conv(x.astype(self.dtype), kernel.astype(self.dtype))
    return y + bias.astype(self.dtype)


class TransposedConv(nn.Module):
  """5x5 transposed convolution of stride 2: [B, h, w, C] -> [B, 2h, 2w, features].

  `gain` as in `StridedConv`; every output sees a quarter of the taps.
  """

  features: int
  gain: float = 1.0
  bias_init: nn.initializers.Initializer = nn.initializers.zeros
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    init = nn.initializers.variance_scaling(4 * self.gain**2, "fan_in", "truncated_normal")
    kernel = self.param("kernel", init, (SIZE, SIZE, x.shape[-1], self.features))
    bias = self.param("bias", self.bias_init, (self.features,))
    y = transposed_conv(x.astype(self.dtype), kernel.astype(self.dtype))
    return y + bias.astype(self.dtype)
