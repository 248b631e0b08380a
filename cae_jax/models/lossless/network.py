"""Small networks from what is around a sample to its distribution, exact in float32.

Inputs and activations are multiples of 1/16 of at most 8 bits, weights multiples of a power of two
of at most 8 bits and a sign. So a sum of 256 products is an integer below 2^24 times a power of
two, which float32 holds: the result is the same in whatever order, in NumPy and in XLA, and
training sees the very numbers that coding sees. (Sums in TF32 or bfloat16 would not be.)

    differences to the base,       ┌ trunk, for a pixel ┐    ┌ head, for a channel ┐
    in units of the activity   ──► │ trunk_widths       │ ─► │ head_width ── 3     │ ──► mean,
    errors, logarithms             └────────────────────┘ ▲  └─────────────────────┘     scale,
                               linear prediction, errors ─┘                              shape
                               of the channels before
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cae_jax.errors import UsageError

# Inputs and activations are kept as integers; 1 stands for 1 / 16.
UNIT = 16
ACTIVATION_MAX, FEATURE_MAX, WEIGHT_MAX = 255, 127, 255
ERRORS = 8  # neighbours whose errors are seen
# Networks: of the finest level, and of all others; these know the second level from the rest.
SETS = LEVELS = 2
_PHASES = _CHANNELS = 3
# Classes of steps: the first ones of each but the first.
STEP_CLASSES = np.array([2, 4, 6, 10, 18])
STEPS = len(STEP_CLASSES) + 1

# The activity of a pixel, a mean of absolute differences, in half octaves from a half.
ACTIVITIES = 32
_LARGEST_SEEN = 15  # networks see no larger ones; what they say is in units of it anyway
_ACTIVITY_NEIGHBOURS = 12
_SCALE_BITS = 4
# Of each: in sixteenths of a grey level; and 2^12 over it.
_SCALES = np.rint(2.0**_SCALE_BITS * 0.5 * 2.0 ** (np.arange(ACTIVITIES) / 2))
_INVERSE_BITS = 12
_MORE_BITS = np.maximum(0, np.arange(ACTIVITIES) // 2 - 7)  # all inverses have about as many
_INVERSES = np.rint(2.0 ** (_INVERSE_BITS + _SCALE_BITS + _MORE_BITS) / _SCALES) / 2.0**_MORE_BITS
# Sums of absolute differences from which on an activity is the next one.
_THRESHOLDS = np.ceil(
  3 * _ACTIVITY_NEIGHBOURS * 0.5 * 2.0 ** ((np.arange(1, ACTIVITIES) - 0.5) / 2)
)
# Of eighths of an octave; powers of two are exact whatever the machine's `pow` is.
_LOG_THRESHOLDS = np.ceil(np.ldexp(2.0 ** (np.arange(1, 200) % 8 / 8), np.arange(1, 200) // 8))
# How many thresholds are reached by each sum there is of 8-bit samples: NumPy looks them up.
_SUMS = np.arange(1 << 14)
_ACTIVITIES_OF_SUMS, _LOGARITHMS_OF_SUMS = (
  np.searchsorted(of, _SUMS, side="right") for of in (_THRESHOLDS, _LOG_THRESHOLDS)
)
_OUTPUT_BITS = 10
_OUTPUT_MAX = 2**13 - 1
_HALF = np.float32(0.5)


class Library(NamedTuple):
  """What computes: the same functions give the same numbers in each.

  Attributes:
    xp: NumPy or jax.numpy.
    floor: of an array that may be overwritten.
    clip: of an array that may be overwritten.
  """

  xp: Any
  floor: Callable[[Any], Any]
  clip: Callable[[Any, Any, Any], Any]


NUMPY = Library(np, lambda x: np.floor(x, out=x), lambda x, low, high: np.clip(x, low, high, out=x))


class Around(NamedTuple):
  """What is known around N pixels of a phase, all integers in float32.

  Attributes:
    values: [K, 3, N], of its neighbours.
    errors: [E, 3, N], of the linear predictions of the closest, in eighths.
    base: [3, N], means of the four closest.
    log_sizes: [3, N], mean sizes of the linear stage's errors in an image, log2 in eighths.
    largest: value of a sample, 255 of 8 bits.
  """

  values: Any
  errors: Any
  base: Any
  log_sizes: Any
  largest: int = 255


class Context(NamedTuple):
  """What inputs and outputs are in units of.

  Attributes:
    activity: [N], index.
    log_activity: [N], in eighths of an octave.
    scale, inverse: [N], of the activity, in sixteenths; and 2^12 over it.
  """

  activity: Any
  log_activity: Any
  scale: Any
  inverse: Any


def base(values: Any, library: Library) -> Any:
  """Takes rounded means of the four closest neighbours: [K, C, N] -> [C, N]."""
  return library.floor(values[:4].sum(0) * np.float32(0.25) + _HALF)


def context(around: Around, library: Library) -> tuple[Context, Any]:
  """Makes what inputs and outputs are in units of, and the trunk's inputs [F, N]."""
  xp = library.xp
  differences = around.values - around.base
  pixels = differences.shape[-1]
  sums = xp.abs(differences[:_ACTIVITY_NEIGHBOURS]).reshape(-1, pixels).sum(0)
  activity = _count_below(_THRESHOLDS, _ACTIVITIES_OF_SUMS, sums, xp)
  inverse, scale = (xp.asarray(of.astype(np.float32))[activity] for of in (_INVERSES, _SCALES))
  log_activity = 4 * activity.astype(np.float32)
  seen = xp.minimum(log_activity, np.float32(4 * _LARGEST_SEEN))
  here = Context(activity, log_activity, scale, inverse)
  sums = xp.abs(around.errors).sum(0)  # of 64ths
  log_errors = _count_below(_LOG_THRESHOLDS, _LOGARITHMS_OF_SUMS, sums, xp)
  scalars = xp.concatenate(
    [
      (seen - 32)[None],
      log_errors.astype(np.float32) - log_activity - 40,
      around.log_sizes - log_activity,
      (around.base * np.float32(255 / around.largest) - 128) * _HALF,
    ]
  )
  features = [
    _in_activities(differences, 1, here, library).reshape(-1, pixels),
    _in_activities(around.errors, 8, here, library).reshape(-1, pixels),
    _feature(scalars, library),
  ]
  return here, xp.concatenate(features)


def _count_below(thresholds: np.ndarray, of_sums: np.ndarray, x: Any, xp: Any) -> Any:
  """How many of the rising thresholds each integer reaches: a logarithm that is exact."""
  if xp is np and x.max(initial=0) < len(of_sums):
    return of_sums[x.astype(np.int32)]
  return xp.searchsorted(xp.asarray(thresholds.astype(np.float32)), x, side="right")


def _in_activities(x: Any, parts: int, here: Context, library: Library) -> Any:
  """Feature of [..., N] in units of the activity; x in grey levels, or in `parts` of one."""
  # |x| * inverse < 2^11 * 2^13
  return _feature(x * (here.inverse * np.float32(UNIT * 2.0**-_INVERSE_BITS / parts)), library)


def _feature(x: Any, library: Library) -> Any:
  """Rounds and clips x, which may be overwritten."""
  x += _HALF
  return library.clip(library.floor(x), -FEATURE_MAX, FEATURE_MAX)


def own_features(
  prediction: Any, base: Any, log_size: Any, here: Context, library: Library
) -> list[Any]:
  """Lists what a head knows of its own channel, 2 x [N]: linear prediction, and its worth.

  Args:
    prediction: [N], in eighths.
    base: [N].
    log_size: [N] or a number, of `Around.log_sizes`.
  """
  quality = _feature(log_size - here.log_activity, library)
  return [_in_activities(prediction - 8 * base, 8, here, library), quality]


def sample_features(x: Any, base: Any, error: Any, here: Context, library: Library) -> list[Any]:
  """Lists what later channels' heads know of a sample, 2 x [N]; the error is in eighths."""
  return [_in_activities(x - base, 1, here, library), _in_activities(error, 8, here, library)]


# A layer: weights [F, K] and biases [F], or of classes [C, F], for activations that are integers.
Layer = tuple[Any, Any]
# Which biases of a trunk's first layer are added up.
Classes = tuple[Any, Any]


def classes_of(level: Any, step: Any, xp: Any) -> Classes:
  """Finds the classes of a level (0 is the finest) and of a step: numbers, or arrays alike."""
  of_level = xp.minimum(xp.maximum(level - 1, 0), LEVELS - 1)
  return of_level, LEVELS + xp.searchsorted(xp.asarray(STEP_CLASSES), step, side="right")


def bias_of(layers: Sequence[Layer], classes: Classes) -> Any:
  """Adds up the biases of the trunk's first layer: [..., F] for classes that are [...]."""
  of_level, of_step = classes
  biases = layers[0][1]
  return biases[of_level] + biases[of_step]


def trunk(layers: Sequence[Layer], inputs: Any, bias: Any, library: Library) -> Any:
  """Evaluates the trunk: [F, N] float32.

  Args:
    layers: weights and biases.
    inputs: [K, N], of `context`.
    bias: of the first layer, see `bias_of`: [F], or [F, N].
    library: that computes.
  """
  (first, _), *rest = layers
  x = _layer(first, bias, inputs, library)
  for weights, bias in rest:
    x = _layer(weights, bias, x, library)
  return x


def head(layers: Sequence[Layer], seen: Sequence[Any], library: Library) -> Any:
  """Evaluates a head: [3, N] sums, rounded to 2^-10.

  Args:
    layers: of the head.
    seen: [k, N] each, what it sees, one after the other: the trunk's output, then what is known of
      the pixel's channels. One array takes one product.
    library: that computes.
  """
  (first, first_bias), (weights, bias) = layers
  ends = list(itertools.accumulate(map(len, seen)))
  x, *others = (first[:, end - len(part) : end] @ part for part, end in zip(seen, ends))
  for other in others:
    x += other
  x += first_bias[:, None] + _HALF
  sums = weights @ _activation(x, library) + bias[:, None]
  scaled = library.floor(sums * np.float32(2.0**_OUTPUT_BITS / UNIT) + _HALF)
  return library.clip(scaled, -_OUTPUT_MAX, _OUTPUT_MAX) * np.float32(2.0**-_OUTPUT_BITS)


def _layer(weights: Any, bias: Any, x: Any, library: Library) -> Any:
  x = weights @ x
  x += (bias[:, None] if bias.ndim == 1 else bias) + _HALF
  return _activation(x, library)


def _activation(x: Any, library: Library) -> Any:
  return library.clip(library.floor(x), 0, ACTIVATION_MAX)


class Outputs(NamedTuple):
  """[N] each: mean in eighths of a grey level (not rounded), log2 of the scale, shape."""

  mean: Any
  log_scale: Any
  shape: Any


def outputs(raw: Any, prediction: Any, here: Context) -> Outputs:
  """Reads a head's three sums, relative to the linear prediction and the activity.

  Args:
    raw: [3, N].
    prediction: [N], linear, in eighths.
  """
  # |raw| * scale < 2^13 * 2^11, in units of 2^-11
  mean = prediction + raw[0] * (here.scale * np.float32(8 / 2**_SCALE_BITS))
  return Outputs(mean, raw[1] + here.log_activity * np.float32(0.125) - 1.5, raw[2] + 1)


def quantize(weights: Any, bias: Any, library: Library) -> Layer:
  """Rounds weights [F, K] and biases [..., F] as coding has them."""
  step = library.xp.ldexp(np.float32(1), _exponents(weights, library.xp))
  rounded = lambda x, unit: library.floor(x / unit + _HALF) * unit
  return rounded(weights, step[:, None]), rounded(bias * np.float32(UNIT), step)


def _exponents(weights: Any, xp: Any) -> Any:
  """[F]: log2 of the unit of the weights of each output."""
  largest = xp.maximum(xp.abs(weights).max(1), np.float32(2.0**-12))
  return xp.frexp(largest / np.float32(WEIGHT_MAX))[1]  # logarithms need not be exact


class Network(NamedTuple):
  """Of one phase: layers of the trunk, and of each channel's head."""

  trunk: Sequence[Layer]
  heads: Sequence[Sequence[Layer]]


def networks_of(params: Mapping[str, Any]) -> list[list[Network]]:
  """Makes the networks that code, of each set and phase, from the parameters of `LosslessModel`.

  Raises:
    UsageError: a sum could pass what float32 holds exactly.
  """
  sets = [[_network_of(params[f"sets_{i}_{p}"]) for p in range(_PHASES)] for i in range(SETS)]
  for net in (net for nets in sets for net in nets):
    first, *rest = net.trunk
    check_sums(*first, FEATURE_MAX)
    for layer in [*rest, *(layer for head in net.heads for layer in head)]:
      check_sums(*layer, ACTIVATION_MAX)
  return sets


def _network_of(params: Mapping[str, Any]) -> Network:
  def layers(prefix: str) -> list[Layer]:
    names = (f"{prefix}_{i}" for i in itertools.count())
    found = itertools.takewhile(lambda name: f"{name}_weights" in params, names)
    return [_exact_layer(params[f"{name}_weights"], params[f"{name}_bias"]) for name in found]

  return Network(layers("trunk"), [layers(f"head_{c}") for c in range(_CHANNELS)])


def _exact_layer(weights: Any, bias: Any) -> Layer:
  return quantize(np.asarray(weights, np.float32), np.asarray(bias, np.float32), NUMPY)


def check_sums(weights: np.ndarray, bias: np.ndarray, input_max: float) -> None:
  """Raises UsageError if a layer's sums could leave what float32 holds exactly.

  Args:
    weights, bias: of `quantize`.
    input_max: of the sizes of inputs.
  """
  sizes = np.abs(weights.astype(np.float64))
  of_bias = np.abs(bias.astype(np.float64))
  if bias.ndim == 2:
    of_bias = 2 * of_bias.max(0)  # two classes are added up
  largest = sizes.sum(1) * input_max + of_bias + 1  # 1: for rounding
  # The largest weight may have been rounded up to the first that would have the next unit.
  units = _exponents(weights * np.float32(1 - 2.0**-10), np)
  if (largest >= 2.0 ** (24 + units)).any():
    raise UsageError("a layer's sums could pass 2^24 units; train it with a weight decay")
