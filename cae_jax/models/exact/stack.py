"""The small feed-forward networks that drive the coder, in a form that integers can evaluate too.

A stack is convolutions with leaky ReLUs between them, and biases that are polynomials of the
trade-off. `integers` evaluates the same stacks for files; this module is for training.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.models.arrays import depth_to_space, polynomial
from cae_jax.models.exact.cells import EVERYWHERE, Cells, patches
from cae_jax.models.exact.layers import SLOPE_SHIFT, Layer
from cae_jax.nhwc import convolve


class EntropyStack(nn.Module):
  """x [B, h, w, C], tradeoff [B] -> [B, h * r, w * r, F], r the product of `upsample`.

  Leaky ReLUs stand between the layers, none after the last, which starts at zero if `zero_last`.
  Where only some `cells` are asked for, only the first layer may look around, and the result is
  [B, n, h / stride, w / stride, F].
  """

  layers: Sequence[Layer]
  zero_last: bool = True

  @nn.compact
  def __call__(self, x, tradeoff, cells=EVERYWHERE):
    for i, layer in enumerate(self.layers):
      last = i == len(self.layers) - 1
      init = nn.initializers.zeros if last and self.zero_last else nn.initializers.lecun_normal()
      shape = (layer.kernel_size, layer.kernel_size, x.shape[-1], layer.features)
      kernel = self.param(f"kernel_{i}", init, shape)
      bias = self.param(f"bias_{i}", nn.initializers.zeros, (3, layer.features))
      x = x @ kernel[0, 0] if layer.kernel_size == 1 and i else look_around(x, kernel, cells)
      x = x + polynomial(bias, tradeoff, x.ndim)
      x = depth_to_space(x, layer.upsample) if layer.upsample > 1 else x
      self.sow("maxima", f"layer_{i}", jnp.max(jnp.abs(x)))  # kept only on request
      if not last:
        x = jnp.maximum(x, x * 2.0**-SLOPE_SHIFT)
    return x


def look_around(x: jax.Array, kernel: jax.Array, cells: Cells) -> jax.Array:
  """Applies a kernel [k, k, C, F] to what `patches` gathers: x [B, h, w, C] -> [..., F].

  On a CPU a product of patches is faster than a convolution of maps as small as these; for a GPU
  so many slices take minutes to compile.
  """
  product = lambda x, kernel: patches(x, len(kernel), cells) @ kernel.reshape(-1, kernel.shape[-1])
  convolution = functools.partial(convolved, cells=cells)
  return jax.lax.platform_dependent(x, kernel, cpu=product, default=convolution)


def convolved(x: jax.Array, kernel: jax.Array, cells: Cells) -> jax.Array:
  """Computes `look_around` by a convolution for each of the cells' offsets."""
  stride, reach = cells.stride, len(kernel) // 2 * cells.spacing

  def at(offset: tuple[int, int]) -> jax.Array:
    padding = [(reach - place, reach + place - stride + 1) for place in offset]
    return convolve(x, kernel, stride, padding, cells.spacing)

  if cells is EVERYWHERE:
    return at((0, 0))
  return jnp.stack([at(offset) for offset in cells.offsets], axis=-4)


def activation_maxima(
  model: nn.Module, params: Any, x: jax.Array, tradeoff: jax.Array
) -> dict[str, list[jax.Array]]:
  """Measures the largest magnitudes of each stack's layers on x [B, H, W, 3] in [0, 1]."""
  _, state = model.apply({"params": params}, x, tradeoff, method="rounded", mutable=["maxima"])
  return {
    name: [value[0] for _, value in sorted(layers.items())]
    for name, layers in state["maxima"].items()
  }
