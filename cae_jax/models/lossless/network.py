"""Small networks from what is around a sample to its distribution, exact in float32.

Inputs and activations are multiples of 1/16 of at most 8 bits, weights multiples of a power of two
of at most 8 bits and a sign. So a sum of 256 products is an integer below 2^24 times a power of
two, which float32 holds: the result is the same in whatever order, in NumPy and in XLA, and
training sees the very numbers that coding sees. (Sums in TF32 or bfloat16 would not be.)

    differences to the base,       ┌ trunk, for a pixel ┐    ┌ head, for a channel ┐
    in units of the activity   ──► │ 128 ── 96          │ ─► │ 48 ── 3             │ ──► mean,
    errors, logarithms             └────────────────────┘ ▲  └─────────────────────┘     scale,
                               linear prediction, errors ─┘                              shape
                               of the channels before
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.lossless.phases import PHASES

UNIT = 16  # an activation of 1 is 1 / 16
ACTIVATION_MAX = 255 / UNIT
FEATURE_MAX = 127 / UNIT
WEIGHT_MAX = 255
LEVEL_CLASSES = 3  # the finest, the next, and all others
ERRORS = 8  # neighbours whose errors are seen

# The activity of a pixel, a mean of absolute differences, in half octaves from a half.
ACTIVITIES = 16
_ACTIVITY_NEIGHBOURS = 12
_SCALE_BITS = 4
# Of each: in sixteenths of a grey level; and 2^12 over it.
ACTIVITY_SCALES = np.rint(2.0**_SCALE_BITS * 0.5 * 2.0 ** (np.arange(ACTIVITIES) / 2))
_INVERSE_BITS = 12
_INVERSES = np.rint(2.0 ** (_INVERSE_BITS + _SCALE_BITS) / ACTIVITY_SCALES)
# Sums of absolute differences from which on an activity is the next one.
_THRESHOLDS = np.ceil(
  3 * _ACTIVITY_NEIGHBOURS * 0.5 * 2.0 ** ((np.arange(1, ACTIVITIES) - 0.5) / 2)
)
_LOG_STEPS = 8  # of logarithms that are inputs, in an octave
OUTPUT_BITS = 10
_OUTPUT_MAX = 2**13 - 1


class Around(NamedTuple):
  """What is known around N pixels of a phase, all integers in float32.

  Attributes:
    values: [K, 3, N], of its neighbours.
    errors: [E, 3, N], of the linear predictions of the closest, in eighths.
    base: [3, N], means of the four closest.
    log_sizes: [3, N], mean sizes of the linear stage's errors in an image, log2 in eighths.
  """

  values: Any
  errors: Any
  base: Any
  log_sizes: Any


class Context(NamedTuple):
  """What trunk and heads start from.

  Attributes:
    inputs: [F, N], of the trunk.
    activity: [N], index.
    scale, inverse: [N], of the activity, in sixteenths; and 2^12 over it.
  """

  inputs: Any
  activity: Any
  scale: Any
  inverse: Any


def _log2(x: Any, xp: Any) -> Any:
  """log2 of integers >= 0 from a half upwards, in eighths, by thresholds: exact."""
  thresholds = np.ceil(2.0 ** (np.arange(1, 12 * _LOG_STEPS) / _LOG_STEPS)).astype(np.float32)
  return xp.searchsorted(xp.asarray(thresholds), x, side="right").astype(np.float32)


def _feature(x: Any, xp: Any) -> Any:
  """Rounded to sixteenths and clipped; x in sixteenths."""
  return xp.clip(xp.floor(x + np.float32(0.5)), -127, 127) * np.float32(1 / UNIT)


def base(values: Any, xp: Any) -> Any:
  """[C, N] of the values [K, C, N] of neighbours: means of the four closest, rounded."""
  return xp.floor(values[:4].sum(0) * np.float32(0.25) + np.float32(0.5))


def context(around: Around, xp: Any) -> Context:
  """Inputs of the trunk; the same numbers from NumPy and JAX."""
  differences = around.values - around.base
  sums = xp.abs(differences[:_ACTIVITY_NEIGHBOURS]).sum((0, 1))
  activity = xp.searchsorted(xp.asarray(_THRESHOLDS.astype(np.float32)), sums, side="right")
  inverse = xp.asarray(_INVERSES.astype(np.float32))[activity]
  scale = xp.asarray(ACTIVITY_SCALES.astype(np.float32))[activity]
  pixels = differences.shape[-1]
  # |difference| * inverse < 2^8 * 2^13
  unit = np.float32(UNIT * 2.0**-_INVERSE_BITS)
  of_values = _feature(differences * (inverse * unit), xp).reshape(-1, pixels)
  of_errors = _feature(around.errors * (inverse * (unit / 8)), xp).reshape(-1, pixels)
  log_errors = _log2(xp.abs(around.errors).sum(0), xp)  # of 64ths
  log_activity = 4 * activity.astype(np.float32)
  scalars = xp.concatenate(
    [
      (log_activity - 32)[None],
      log_errors - log_activity - 40,
      around.log_sizes - log_activity,
      (around.base - 128) * np.float32(0.5),
    ]
  )
  inputs = xp.concatenate([of_values, of_errors, _feature(scalars, xp)])
  return Context(inputs, activity, scale, inverse)


def known_features(x: Any, parts: int, here: Context, xp: Any) -> Any:
  """[N] of differences in units of the activity; x in grey levels, or in parts of them."""
  return _feature(x * (here.inverse * np.float32(UNIT * 2.0**-_INVERSE_BITS / parts)), xp)


def own_features(prediction: Any, base: Any, log_size: Any, here: Context, xp: Any) -> list[Any]:
  """What a head knows of its own channel, 2 x [N]: its linear prediction, and how good they are.

  Args:
    prediction: [N], in eighths.
    base: [N].
    log_size: [N] or a number, of `Around.log_sizes`.
  """
  quality = _feature(log_size - 4 * here.activity.astype(np.float32), xp)
  return [known_features(prediction - 8 * base, 8, here, xp), quality]


def sample_features(x: Any, base: Any, error: Any, here: Context, xp: Any) -> list[Any]:
  """What the heads of later channels know of a sample, 2 x [N]; the error is in eighths."""
  return [known_features(x - base, 1, here, xp), known_features(error, 8, here, xp)]


class Outputs(NamedTuple):
  """[N] each: mean in eighths of a grey level (not rounded), log2 of the scale, shape."""

  mean: Any
  log_scale: Any
  shape: Any


def outputs(raw: Any, prediction: Any, here: Context) -> Outputs:
  """What a head's three sums mean.

  Args:
    raw: [3, N].
    prediction: [N], linear, in eighths.
  """
  log_scale = raw[1] + 0.5 * here.activity.astype(np.float32) - 1.5
  return Outputs(
    prediction + raw[0] * (here.scale * np.float32(8 / 2**_SCALE_BITS)), log_scale, raw[2] + 1
  )


# A layer: weights [F, K], biases [F] or [L, F].
Layer = tuple[Any, Any]
Rounding = Callable[[Any], Any]


def trunk(layers: Sequence[Layer], here: Context, level: Any, floor: Rounding, xp: Any) -> Any:
  """[F, N] float32.

  Args:
    layers: weights and biases, the first one's [L, F].
    level: class of the level: an int, or [N].
  """
  (first, biases), *rest = layers
  bias = biases[level]
  x = _activate(first @ here.inputs + (bias[:, None] if bias.ndim == 1 else bias.T), floor, xp)
  for weights, bias in rest:
    x = _activate(weights @ x + bias[:, None], floor, xp)
  return x


def head(layers: Sequence[Layer], x: Any, floor: Rounding, xp: Any) -> Any:
  """[3, N] sums, rounded to 2^-10."""
  (first, bias), (last, last_bias) = layers
  x = _activate(first @ x + bias[:, None], floor, xp)
  unit = np.float32(2.0**OUTPUT_BITS)
  sums = (last @ x + last_bias[:, None]) * unit
  return xp.clip(floor(sums + np.float32(0.5)), -_OUTPUT_MAX, _OUTPUT_MAX) / unit


def _activate(x: Any, floor: Rounding, xp: Any) -> Any:
  x = floor(x * np.float32(UNIT) + np.float32(0.5)) * np.float32(1 / UNIT)
  return xp.clip(x, 0, np.float32(ACTIVATION_MAX))


def straight_floor(x: jax.Array) -> jax.Array:
  return x + jax.lax.stop_gradient(jnp.floor(x) - x)


def quantize(weights: jax.Array, bias: jax.Array) -> Layer:
  """Weights [F, K] and biases [..., F] as coding has them, the gradients straight through."""
  largest = jnp.max(jnp.abs(jax.lax.stop_gradient(weights)), 1)
  _, exponent = jnp.frexp(jnp.maximum(largest, 2.0**-12) / WEIGHT_MAX)
  step = jnp.ldexp(jnp.float32(1), exponent)  # exp2 need not be exact
  return (
    straight_floor(weights / step[:, None] + 0.5) * step[:, None],
    straight_floor(bias / (step / UNIT) + 0.5) * (step / UNIT),
  )


def check_sums(weights: np.ndarray, bias: np.ndarray, input_max: float) -> None:
  """Raises ValueError if a layer's sums could leave what float32 holds exactly.

  Args:
    weights: [F, K] of `quantize`.
    bias: [F] or [L, F].
    input_max: of the sizes of inputs, which are multiples of 1 / UNIT.
  """
  sizes = np.abs(weights.astype(np.float64))
  of_bias = np.abs(bias.astype(np.float64)).reshape(-1, len(sizes)).max(0)
  _, exponent = np.frexp(sizes.max(1) / WEIGHT_MAX)
  largest = sizes.sum(1) * input_max + of_bias + 1  # 1: what rounding may add
  if (largest / 2.0**exponent * UNIT >= 2**24).any():
    raise ValueError("a layer's sums could pass 2^24 units; train it with a weight decay")


class PhaseNetwork(nn.Module):
  """The parameters of a phase: a trunk, and a head for each channel.

  Attributes:
    phase: 0 to 2.
    trunk_widths: of its layers.
    head_width: of each head's hidden layer.
  """

  phase: int
  trunk_widths: tuple[int, ...] = (128, 96)
  head_width: int = 48

  def setup(self):
    size = 3 * (len(PHASES[self.phase].neighbours) + ERRORS) + 10
    layers = []
    for i, width in enumerate(self.trunk_widths):
      layers.append(self._layer(f"trunk_{i}", size, width, LEVEL_CLASSES if i == 0 else 0))
      size = width
    self.trunk_layers = layers
    self.heads = [
      [
        self._layer(f"head_{c}_0", size + 2 + 2 * c, self.head_width),
        self._layer(f"head_{c}_1", self.head_width, 3, gain=0.1),
      ]
      for c in range(3)
    ]

  def _layer(self, name: str, size: int, width: int, classes: int = 0, gain: float = 1.0) -> Layer:
    shape = (classes, width) if classes else (width,)
    scale = nn.initializers.variance_scaling(2.0 * gain**2, "fan_in", "normal", 1, 0)
    return (
      self.param(f"{name}_weights", scale, (width, size)),
      self.param(f"{name}_bias", nn.initializers.zeros, shape),
    )

  def __call__(self) -> tuple[list[Layer], list[list[Layer]]]:
    """The quantised layers: of the trunk, and of each head."""
    return (
      [quantize(*layer) for layer in self.trunk_layers],
      [[quantize(*layer) for layer in layers] for layers in self.heads],
    )
