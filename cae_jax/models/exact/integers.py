"""Integer evaluation of the networks that drive the coder: the same bits on every machine.

An entropy coder needs the decoder to compute the very probabilities of the encoder. Floating-point
networks do not promise that: sums depend on their order, and so on device, compiler, batch and
threads. Here activations are 16-bit integers and weights integers whose absolute values sum to at
most 2^15 for each output. NumPy evaluates them on the host, beside the entropy coder, as floats:

* all partial sums of products, and the bias, are integers below 2^32, of which float64 holds every
  one: a matrix product is exact in whatever order it sums;
* mostly they are below 2^24, and float32, twice as fast, holds every one; whether they are follows
  from the weights and the range of the values at hand (`_exactly`);
* scaling by a power of two is exact too, and so are the rounding and clipping that bring the result
  to 16 bits again.

A unit says what an activation of 1 is worth; weights absorb the units, so only shifts remain.
(Ballé et al. 2019, "Integer networks for data compression with latent-variable models".)
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cae_jax.models.arrays import Map, depth_to_space, parts
from cae_jax.models.exact.layers import SLOPE_SHIFT, Layer, stack_layers

ACTIVATION_MAX = 2**15 - 1
_WEIGHT_SUM = 2**15  # of the absolute weights of an output
_MAX_SHIFT = 24
_BIAS_MAX = 2**29
_FLOAT32_MAX = 2**24  # of integers that float32 holds, every one
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
    padded = PaddedMap(x.shape, spec.kernel_size // 2)
    padded.write(None, slice(None), _leaky(x) if i else x)
    y = evaluate_at(Seeing([View(layer)]), tradeoff, padded, np.indices(x.shape[:2]).reshape(2, -1))
    x = depth_to_space(y.reshape(*x.shape[:2], -1), spec.upsample)
  return x


class PaddedMap:
  """A map [h, w, C] of activations, integers of at most 16 bits, with zeros around it.

  Attributes:
    border: how many zeros there are on each side.
    values: [h + 2 border, w + 2 border, C] float32.
    low, high: [C] float64, between which the values of each channel are, and zero.
  """

  def __init__(self, shape: tuple[int, int, int], border: int):
    """Begins with zeros."""
    height, width, channels = shape
    self.border = border
    self.values = np.zeros((height + 2 * border, width + 2 * border, channels), np.float32)
    self.low, self.high = np.zeros((2, channels))

  def write(self, positions: Any, channels: slice, values: np.ndarray) -> None:
    """Writes values, clipped to 16 bits, to some channels.

    Args:
      positions: rows and columns [2, N]; all positions if None.
      channels: C of them.
      values: [N, C], or [h, w, C].
    """
    values = np.clip(values, -ACTIVATION_MAX, ACTIVATION_MAX)
    height, width, _ = self.values.shape
    inside = self.values[self.border : height - self.border, self.border : width - self.border]
    rows, columns = (slice(None), slice(None)) if positions is None else positions
    inside[rows, columns, channels] = values
    if values.size:
      each = tuple(range(values.ndim - 1))
      np.minimum(self.low[channels], values.min(each), out=self.low[channels])
      np.maximum(self.high[channels], values.max(each), out=self.high[channels])


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
    """float32 [K * C, F], weights already shifted down."""
    weights = self._weights.reshape(-1, len(self.layer.shift))
    return np.ldexp(weights, -self.layer.shift)

  @functools.cached_property
  def rows(self) -> list["View"]:
    """What it sees in each row of the neighbourhood by itself."""
    masks = self._where * np.eye(len(self._where), dtype=bool)[..., None]
    return [dataclasses.replace(self, where=mask) for mask in masks if mask.any()]

  def largest_sum(self, low: np.ndarray, high: np.ndarray) -> float:
    """Returns how large a sum of some of the products can be, not shifted down.

    Args:
      low, high: [C], between which the map's values are, and zero.
    """
    up, down = self._weight_sums
    return max((high @ up - low @ down).max(), (high @ down - low @ up).max())

  @functools.cached_property
  def _weight_sums(self) -> np.ndarray:
    """float64 [2, C, F], sums of the positive and of the negative weights over neighbours."""
    signed = np.maximum(self._weights, 0), np.maximum(-self._weights, 0)
    return np.stack([weights.sum(0, np.float64) for weights in signed])

  @property
  def _weights(self) -> np.ndarray:
    """float32 [K, C, F]."""
    return self.layer.weights[self._where][:, self.inputs]

  @property
  def _where(self) -> np.ndarray:
    everywhere = np.ones(self.layer.weights.shape[:2], bool)
    return everywhere if self.where is None else self.where


class Seeing(NamedTuple):
  """A network of which only the first layer looks around.

  Attributes:
    views: of that layer; what none of them takes is zero.
    others: the layers after it.
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
  _, width, depth = padded.values.shape
  x = padded.values.reshape(-1, depth)
  places = _flat(positions + padded.border, width)
  around: list[tuple[np.ndarray, ...]] = [
    (x[:, view.channels], _flat(view.distances, width), view.matrix.astype(dtype, copy=False))
    for view, dtype in _exactly(views, padded)
  ]
  bias, *biases = [layer.rounded_bias(tradeoff) for layer in (views[0].layer, *others)]
  result = np.empty((len(places), len(biases[-1] if biases else bias)))

  def fill(part: slice) -> None:
    total = np.zeros((part.stop - part.start, len(bias)))
    for seen, distances, matrix in around:
      inputs = seen[places[part, None] + distances].reshape(-1, len(matrix))
      total += inputs.astype(matrix.dtype, copy=False) @ matrix
    y = _to_16_bits(total, bias)
    for layer, other_bias in zip(others, biases):
      y = _to_16_bits(_leaky(y) @ layer.matrix, other_bias)
    result[part] = y

  numbers = max(len(matrix) for _, _, matrix in around)
  for _ in in_parallel(fill, parts(len(places), numbers, _MOST_NUMBERS)):
    pass
  return result


def _exactly(views: Sequence[View], padded: PaddedMap) -> Iterator[tuple[View, type]]:
  """Finds views that see the same together, and for each the faster type that its sums fit into.

  Whatever the order of a sum: float32 holds all integers up to 2^24, and float64 those up to 2^53.
  """
  fits = lambda view: (
    view.largest_sum(padded.low[view.channels], padded.high[view.channels]) <= _FLOAT32_MAX
  )
  for view in views:
    if fits(view):
      yield view, np.float32
    else:
      yield from ((row, np.float32 if fits(row) else np.float64) for row in view.rows)


def _flat(positions: np.ndarray, width: int) -> np.ndarray:
  """Rows and columns [2, N] as places in a map of some width, row by row: [N]."""
  return positions[0] * width + positions[1]


def _to_16_bits(y: np.ndarray, bias: np.ndarray) -> np.ndarray:
  """Adds the bias to sums [N, F], rounds and clips them, in place."""
  y += bias
  np.floor(y, out=y)
  np.maximum(y, -ACTIVATION_MAX, out=y)  # np.clip takes longer
  return np.minimum(y, ACTIVATION_MAX, out=y)


def _leaky(x: np.ndarray) -> np.ndarray:
  low = x * 2.0**-SLOPE_SHIFT
  return np.maximum(x, np.floor(low, out=low), out=low)


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
