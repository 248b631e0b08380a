"""Integer evaluation of the networks that drive the coder: the same bits on every machine.

An entropy coder needs the decoder to compute the very probabilities of the encoder. Floating-point
networks do not promise that: sums depend on their order, and so on device, compiler, batch and
threads. Here activations are 16-bit integers, weights integers whose absolute values sum to at
most 2^15 for each output, and what follows is exact whatever the order:

* an activation a is split into a >> 8 and a & 255, at most 256 in size, so that every partial sum
  of products is an integer of at most 2^23: float32 matrix products hold them exactly, at full
  speed, on any device (`precision=HIGHEST` keeps TF32 and bfloat16 passes away);
* the two products join, and the bias is added, in int32 (below 2^31);
* a power-of-two shift with rounding, and clipping, bring the result to 16 bits.

A unit says what an activation of 1 is worth; weights absorb the units, so only shifts remain.
(Ballé et al. 2019, "Integer networks for data compression with latent-variable models".)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.entropy_stack import (
  EVERYWHERE,
  SLOPE_SHIFT,
  Cells,
  Layer,
  patches,
  stack_layers,
)
from cae_jax.models.layers import depth_to_space

ACTIVATION_MAX = 2**15 - 1
_WEIGHT_SUM = 2**15  # of the absolute weights of an output
_MAX_SHIFT = 24
_BIAS_MAX = 2**29
_HALF_BITS = 8
# Numbers in the neighbourhoods of positions that are evaluated together: larger arrays would be
# fresh memory of the system at every call, which takes longer than the products.
_MOST_NUMBERS = 2**21


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IntegerLayer:
  """One layer in integers.

  Attributes:
    weights: float32 [k, k, C, F] holding integers.
    bias: float64 [3, F], polynomial of the trade-off in units of the accumulator (host only).
    shift: int32 [F], bits that the accumulator is shifted down by.
  """

  weights: Any
  bias: Any
  shift: Any


def quantize_layer(
  kernel: np.ndarray, bias: np.ndarray, input_units: np.ndarray, output_units: np.ndarray
) -> IntegerLayer:
  """Integers for a layer.

  Args:
    kernel: [k, k, C, F] float.
    bias: [3, F] float, polynomial coefficients.
    input_units: [C], what an input of 1 is worth.
    output_units: [F], what an output of 1 shall be worth.
  """
  multipliers = np.asarray(kernel, np.float64) * input_units[:, None] / output_units
  bias = np.asarray(bias, np.float64) / output_units
  shift = _shifts(multipliers, np.abs(bias).sum(axis=0))
  return IntegerLayer(
    weights=np.rint(multipliers * 2.0**shift).astype(np.float32),
    bias=np.rint(bias * 2.0**shift),
    shift=shift.astype(np.int32),
  )


def _shifts(multipliers: np.ndarray, bias: np.ndarray) -> np.ndarray:
  """[F]: the most bits of precision that keep weights and bias in their bounds."""
  shift = np.full(bias.shape, _MAX_SHIFT)
  while True:
    sums = np.abs(np.rint(multipliers * 2.0**shift)).sum(axis=(0, 1, 2))
    above = (sums > _WEIGHT_SUM) | (bias * 2.0**shift > _BIAS_MAX)
    if not above.any():
      return shift
    if (shift[above] == 0).any():
      raise ValueError("a layer's weights are too large for its units; train it longer")
    shift = shift - above


def biases(layers: Sequence[IntegerLayer], tradeoff: float) -> list[np.ndarray]:
  """The layers' int32 biases at a trade-off.

  Float64 products, sums and rounding on the host: IEEE 754 makes them the same everywhere.
  """
  powers = np.array([1.0, tradeoff, tradeoff * tradeoff])
  rounded = (np.rint(powers[:, None] * layer.bias) for layer in layers)
  return [(b[0] + b[1] + b[2]).astype(np.int32) for b in rounded]


def evaluate(
  layers: Sequence[IntegerLayer],
  specs: Sequence[Layer],
  bias: Sequence[Any],
  x: jax.Array,
  cells: Cells = EVERYWHERE,
) -> jax.Array:
  """`EntropyStack` in integers.

  Args:
    layers: the network's.
    specs: the stack's layers.
    bias: of `biases`.
    x: [h, w, C] int32, in the units the first layer was made for; h and w multiples of the stride.
    cells: where to evaluate. Elsewhere than everywhere, only the first layer may look around.
  Returns:
    int32 in the last layer's units, of at most 16 bits: [h * r, w * r, F] everywhere, otherwise
    [n, h / stride, w / stride, F] for the n offsets of the cells.
  """
  if cells is EVERYWHERE:
    return _evaluate(layers, specs, bias, x, cells, None)
  rows, columns = (side // cells.stride for side in x.shape[:2])
  numbers = rows * columns * len(cells.offsets) * specs[0].kernel_size ** 2 * x.shape[-1]
  divisors = (n for n in range(1, rows) if rows % n == 0)
  strips = next((n for n in divisors if numbers <= n * _MOST_NUMBERS), rows)
  count = rows // strips
  strip = lambda start: _evaluate(layers, specs, bias, x, cells, (start, count))
  y = jax.lax.map(strip, count * jnp.arange(strips))
  return jnp.moveaxis(y, 0, 1).reshape(len(cells.offsets), rows, columns, -1)


def _evaluate(layers, specs, bias, x, cells, rows):
  """`evaluate` of some rows of cells, see `patches`."""
  for i, (layer, spec, b) in enumerate(zip(layers, specs, bias, strict=True)):
    x = jnp.clip(x, -ACTIVATION_MAX, ACTIVATION_MAX)
    around = spec.kernel_size > 1 or not i
    x = _layer(layer, b, patches(x, spec.kernel_size, cells, rows) if around else x)
    x = depth_to_space(x, spec.upsample)
    if i < len(layers) - 1:
      x = jnp.maximum(x, x >> SLOPE_SHIFT)
  return x


def _layer(layer: IntegerLayer, bias: Any, x: jax.Array) -> jax.Array:
  """[..., k * k * C] int32 of at most 16 bits -> [..., F]."""
  *shape, depth = x.shape
  halves = jnp.stack([x >> _HALF_BITS, x & (2**_HALF_BITS - 1)])
  products = jax.lax.dot(
    halves.reshape(-1, depth).astype(jnp.float32),
    layer.weights.reshape(depth, -1),
    precision=jax.lax.Precision.HIGHEST,
  )
  high, low = products.reshape(2, *shape, -1).astype(jnp.int32)
  accumulator = (high << _HALF_BITS) + low + bias
  half = (1 << layer.shift) >> 1
  return jnp.clip((accumulator + half) >> layer.shift, -ACTIVATION_MAX, ACTIVATION_MAX)


def calibrate_stack(
  params: Mapping[str, Any],
  specs: Sequence[Layer],
  input_units: np.ndarray,
  output_units: np.ndarray,
  inner_maxima: Sequence[float],
) -> list[IntegerLayer]:
  """Integer layers of a trained stack.

  Args:
    params: of an `EntropyStack`.
    specs: its layers.
    input_units: [C].
    output_units: of the last layer's features before `upsample`, [F].
    inner_maxima: for each inner layer the largest size of its outputs that shall fit.
  """
  result = []
  units = np.asarray(input_units, np.float64)
  for i, (kernel, bias) in enumerate(stack_layers(params)):
    last = i == len(specs) - 1
    features = specs[i].features
    out = (
      np.broadcast_to(np.asarray(output_units, np.float64), features)
      if last
      else np.full(features, inner_maxima[i] / ACTIVATION_MAX)
    )
    result.append(quantize_layer(kernel, bias, units, out))
    units = out[: features // specs[i].upsample ** 2]
  return result
