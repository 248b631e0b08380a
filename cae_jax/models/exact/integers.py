"""Integer evaluation of the networks that drive the coder: the same bits on every machine.

An entropy coder needs the decoder to compute the very probabilities of the encoder. Floating-point
networks do not promise that: sums depend on their order, and so on device, compiler, batch and
threads. Here activations are 16-bit integers and weights integers whose absolute values sum to at
most 2^15 for each output. NumPy evaluates them on the host, beside the entropy coder, as float64:

* all partial sums of products, and the bias, are integers below 2^32, of which float64 holds every
  one: a matrix product is exact in whatever order it sums;
* scaling by a power of two is exact too, and so are the rounding and clipping that bring the result
  to 16 bits again.

A unit says what an activation of 1 is worth; weights absorb the units, so only shifts remain.
(Ballé et al. 2019, "Integer networks for data compression with latent-variable models".)
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cae_jax.models.arrays import Map, depth_to_space, parts
from cae_jax.models.exact.layers import SLOPE_SHIFT, Layer, stack_layers

ACTIVATION_MAX = 2**15 - 1
_WEIGHT_SUM = 2**15  # of the absolute weights of an output
_MAX_SHIFT = 24
_BIAS_MAX = 2**29
_MOST_NUMBERS = 2**18  # in the neighbourhoods of a part


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
  """One layer in integers.

  Attributes:
    weights: float32 [k, k, C, F] holding integers.
    bias: float64 [3, F], polynomial of the trade-off in units of the accumulator.
    shift: int32 [F], bits that the accumulator is shifted down by.
  """

  weights: np.ndarray
  bias: np.ndarray
  shift: np.ndarray

  @functools.cached_property
  def matrix(self) -> np.ndarray:
    """float64 [k * k * C, F], weights already shifted down."""
    return self.weights.reshape(-1, len(self.shift)) * 2.0**-self.shift

  def rounded_bias(self, tradeoff: float) -> np.ndarray:
    """Returns the bias at a trade-off and a half, for rounding, shifted down: float64 [F].

    Float64 products, sums and rounding: IEEE 754 makes them the same everywhere.
    """
    powers = np.array([1.0, tradeoff, tradeoff * tradeoff])
    b = np.rint(powers[:, None] * self.bias)
    return (b[0] + b[1] + b[2] + ((1 << self.shift) >> 1)) * 2.0**-self.shift


def quantize_layer(
  kernel: np.ndarray, bias: np.ndarray, input_units: np.ndarray, output_units: np.ndarray
) -> IntegerLayer:
  """Finds integers for a layer.

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


def evaluate(
  layers: Sequence[IntegerLayer], specs: Sequence[Layer], tradeoff: float, x: np.ndarray
) -> np.ndarray:
  """Evaluates an `EntropyStack` in integers.

  Args:
    layers: the network's.
    specs: the stack's layers.
    tradeoff: that the biases depend on.
    x: [h, w, C] integers, in the units the first layer was made for.
  Returns:
    float64 [h * r, w * r, F] of integers in the last layer's units, of at most 16 bits.
  """
  for i, (layer, spec) in enumerate(zip(layers, specs, strict=True)):
    padded = PaddedMap(_leaky(x) if i else x, spec.kernel_size // 2)
    y = evaluate_at(Seeing([View(layer)]), tradeoff, padded, np.indices(x.shape[:2]).reshape(2, -1))
    x = depth_to_space(y.reshape(*x.shape[:2], -1), spec.upsample)
  return x


class PaddedMap:
  """A map [h, w, C] of activations with zeros around it.

  Attributes:
    border: how many zeros there are on each side.
    values: [h + 2 border, w + 2 border, C] float64.
  """

  def __init__(self, x: np.ndarray, border: int):
    margin = (border, border), (border, border), (0, 0)
    self.border = border
    self.values = np.pad(np.clip(x, -ACTIVATION_MAX, ACTIVATION_MAX).astype(np.float64), margin)

  def inside(self) -> np.ndarray:
    """Returns the map itself, to write to."""
    height, width, _ = self.values.shape
    return self.values[self.border : height - self.border, self.border : width - self.border]


@dataclasses.dataclass(frozen=True)
class View:
  """What a layer takes from a map at some neighbours of a position, the middle among them or not.

  Attributes:
    layer: that looks around.
    spacing: of neighbours.
    where: bool [k, k], which neighbours; all if None.
    inputs: which of the layer's input channels it takes there.
    channels: which ones of the map these are.
  """

  layer: IntegerLayer
  spacing: int = 1
  where: np.ndarray | None = None
  inputs: slice = dataclasses.field(default_factory=lambda: slice(None))
  channels: slice = dataclasses.field(default_factory=lambda: slice(None))

  @functools.cached_property
  def distances(self) -> np.ndarray:
    """[2, K], rows and columns of the neighbours from the middle."""
    return self.spacing * (np.stack(np.nonzero(self._where)) - len(self._where) // 2)

  @functools.cached_property
  def matrix(self) -> np.ndarray:
    """float64 [K * C, F], weights already shifted down."""
    weights = self.layer.weights[self._where][:, self.inputs]
    return weights.reshape(-1, len(self.layer.shift)) * 2.0**-self.layer.shift

  @property
  def _where(self) -> np.ndarray:
    everywhere = np.ones(self.layer.weights.shape[:2], bool)
    return everywhere if self.where is None else self.where


class Seeing(NamedTuple):
  """A network of which only the first layer looks around.

  Attributes:
    views: of that layer; what none of them takes is zero.
    others: the layers behind it.
  """

  views: Sequence[View]
  others: Sequence[IntegerLayer] = ()


def evaluate_at(
  network: Seeing,
  tradeoff: float,
  padded: PaddedMap,
  positions: np.ndarray,
  in_parallel: Map = map,
) -> np.ndarray:
  """Evaluates a network at some positions of a map.

  Args:
    network: to evaluate.
    tradeoff: that the biases depend on.
    padded: the map; its border as wide as the first layer's neighbourhoods reach.
    positions: [2, N], rows and columns.
    in_parallel: applies a function to parts of the positions.
  Returns:
    float64 [N, F], integers of at most 16 bits.
  """
  views, others = network
  width, depth = padded.values.shape[1:]
  x = padded.values.reshape(-1, depth)
  places = _flat(positions + padded.border, width)
  around = [(x[:, view.channels], _flat(view.distances, width), view.matrix) for view in views]
  bias, *biases = [layer.rounded_bias(tradeoff) for layer in (views[0].layer, *others)]
  result = np.empty((len(places), len(biases[-1] if biases else bias)))

  def fill(part: slice) -> None:
    products = (x[places[part, None] + d].reshape(-1, len(m)) @ m for x, d, m in around)
    y = _to_16_bits(functools.reduce(operator.iadd, products), bias)
    for layer, bias_ in zip(others, biases):
      y = _to_16_bits(_leaky(y) @ layer.matrix, bias_)
    result[part] = y

  numbers = max(len(matrix) for _, _, matrix in around)
  for _ in in_parallel(fill, parts(len(places), numbers, _MOST_NUMBERS)):
    pass
  return result


def _flat(positions: np.ndarray, width: int) -> np.ndarray:
  """Rows and columns [2, N] as places in a map of some width, row by row: [N]."""
  return positions[0] * width + positions[1]


def _to_16_bits(y: np.ndarray, bias: np.ndarray) -> np.ndarray:
  """Adds the bias to sums [N, F], rounds and clips them, in place."""
  y += bias
  return np.clip(np.floor(y, out=y), -ACTIVATION_MAX, ACTIVATION_MAX, out=y)


def _leaky(x: np.ndarray) -> np.ndarray:
  return np.maximum(x, np.floor(x * 2.0**-SLOPE_SHIFT))


def calibrate_stack(
  params: Mapping[str, Any],
  specs: Sequence[Layer],
  input_units: np.ndarray,
  output_units: np.ndarray,
  inner_maxima: Sequence[float],
) -> list[IntegerLayer]:
  """Finds the integer layers of a trained stack.

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
