"""All samples of an image in the order of coding, with the table that each is coded by.

Encoder and decoder run the same passes; they differ in where the samples come from. Everything is
NumPy, and exact: see `network`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cae_jax.models.arrays import Map
from cae_jax.models.lossless import distribution, linear, network
from cae_jax.models.lossless.linear import PREDICTION_BITS, Coefficients
from cae_jax.models.lossless.network import Network
from cae_jax.models.lossless.phases import (
  PHASES,
  Phase,
  Planes,
  join,
  level_shapes,
  plane_shape,
  row_chunks,
)

# Pixels that are evaluated together: what is made of them should stay in the caches.
_TOGETHER = 4096
_UNIT = 2**PREDICTION_BITS
_CHANNELS = 3  # that networks see


class Precision(NamedTuple):
  """How exact samples are.

  Attributes:
    largest: value that a sample can have: 255 of 8 bits, 65535 of 16.
    step: in which they are coded: 1 is lossless, 2 T + 1 for errors of at most T.
  """

  largest: int = 255
  step: int = 1


LOSSLESS = Precision()


class Side(NamedTuple):
  """What a file says of an image beside its samples.

  Attributes:
    coefficients: of the linear stage.
    log_sizes: int8 [L, 3, C], mean sizes of its errors, log2 in eighths; the finest level first.
  """

  coefficients: Coefficients
  log_sizes: np.ndarray


class Place(NamedTuple):
  """Where samples are: the level (0 is the finest), the plane of it, and the channel."""

  level: int
  plane: int
  channel: int


class Expected(NamedTuple):
  """How samples are coded: as whole steps from a middle, by a table each; [N] int32 each.

  Attributes:
    tables: indexes in the order of `distribution.pmfs`.
    low_bits: of each number of steps, that are coded as they are; None if there are none.
    middles: from where steps are counted.
    starts: how many steps from there the tables' integers begin.
  """

  tables: np.ndarray
  low_bits: np.ndarray | None
  middles: np.ndarray
  starts: np.ndarray


# (place, what is expected) -> samples [N]
CodeSamples = Callable[[Place, Expected], np.ndarray]


def side_of(x: np.ndarray, precision: Precision = LOSSLESS, constant: bool = False) -> Side:
  """Fits the linear stage to an image [C, H, W] of integers, with a constant or without."""
  coefficients = linear.fit_image(x, constant=constant)
  coded = linear.code_linearly(x, coefficients, precision.step, precision.largest)
  if precision.step > 1:
    coefficients = linear.fit_image(x, coded.known, constant)
    coded = linear.code_linearly(x, coefficients, precision.step, precision.largest)
  return Side(coefficients, linear.log_sizes(coded.sizes))


def coarsest_of(x: np.ndarray) -> np.ndarray:
  """Takes the pixels of an image [C, H, W] that come before all levels: [C, h, w]."""
  step = 2 ** len(level_shapes(x.shape[1:]))
  return x[:, ::step, ::step]


def run(
  coarsest: np.ndarray,
  shape: tuple[int, int],
  side: Side,
  networks: Sequence[Sequence[Network]],
  code: CodeSamples,
  precision: Precision = LOSSLESS,
  in_parallel: Map = map,
  finest: int = 0,
) -> np.ndarray:
  """Goes through all samples of an image.

  Args:
    coarsest: of `coarsest_of`.
    shape: height and width of the image.
    side: of the image.
    networks: of each set and phase.
    code: codes or decodes the samples of a place, in rows.
    precision: of the samples.
    in_parallel: for parts of a phase.
    finest: level to end with, for every 2^finest-th pixel across and down only.
  Returns:
    float32 [C, H, W] of integers: the image, as it is known.
  """
  x = coarsest.astype(np.float32)
  errors = np.zeros_like(x)
  for level, level_shape in reversed(list(enumerate(level_shapes(shape)))[finest:]):
    planes, error_planes = Planes(level_shape, len(x)), Planes(level_shape, len(x))
    planes.write(0, x)
    error_planes.write(0, errors)
    of_level = side.coefficients[min(level, len(side.coefficients) - 1)]
    nets = networks[min(level, network.SETS - 1)]
    classes = network.classes_of(level, precision.step, np)
    for i, phase in enumerate(PHASES):
      evaluation = _PhaseEvaluation(
        planes,
        error_planes,
        phase,
        nets[i],
        classes,
        of_level[i],
        side.log_sizes[level, i],
        precision,
      )
      samples, new_errors = evaluation.run(
        functools.partial(_code_channel, code, level, phase.plane), in_parallel
      )
      planes.write(phase.plane, samples)
      error_planes.write(phase.plane, new_errors)
    x, errors = join(planes), join(error_planes)
  return x


def _code_channel(code, level, plane, channel, expected):
  return code(Place(level, plane, channel), expected)


class _Part(NamedTuple):
  """Some rows of a phase, in evaluation.

  Attributes:
    span: of its pixels in the phase.
    here: what inputs and outputs are in units of.
    base: [C, N].
    seen: [K, N], what the linear stage sees: its constant, differences of neighbours, and of the
      pixel's own channels, zero until they are known.
    features: [F, N], what heads see: the trunk's output, two rows of their own channel, two of each
      channel before.
  """

  span: slice
  here: network.Context
  base: np.ndarray
  seen: np.ndarray
  features: np.ndarray


class _PhaseEvaluation:
  """A phase of a level: its planes so far, and all that its samples' tables depend on."""

  def __init__(
    self,
    planes: Planes,
    errors: Planes,
    phase: Phase,
    net: Network,
    classes: network.Classes,
    coefficients: Sequence[np.ndarray],
    log_sizes: np.ndarray,
    precision: Precision,
  ):
    self._planes, self._errors, self._phase, self._net = planes, errors, phase, net
    self._classes, self._precision = classes, precision
    self._coefficients = coefficients
    self._log_sizes = log_sizes.astype(np.float32)
    self._shape = plane_shape(planes.shape, phase.plane)

  def run(self, code, in_parallel: Map) -> tuple[np.ndarray, np.ndarray]:
    """Samples and errors of the linear stage (in eighths), float32 [C, h, w] each."""
    channels = len(self._log_sizes)
    x = np.zeros((channels, *self._shape), np.float32)
    errors = np.zeros_like(x)
    flat, flat_errors = x.reshape(channels, -1), errors.reshape(channels, -1)
    parts = list(in_parallel(self._start, row_chunks(self._shape, _TOGETHER)))
    for c in range(channels if parts else 0):
      found = list(in_parallel(functools.partial(self._evaluate, c, flat, flat_errors), parts))
      expected, predictions = zip(*found)
      flat[c] = code(c, _joined(expected))
      flat_errors[c] = _UNIT * flat[c] - np.concatenate(predictions)
    return x, errors

  def _start(self, rows: slice) -> _Part:
    """What is the same for all channels."""
    width = self._shape[1]
    values = self._gather(self._planes, rows, len(self._phase.neighbours))
    errors = self._gather(self._errors, rows, network.ERRORS)
    base = network.base(values, network.NUMPY)
    log_sizes = np.broadcast_to(self._log_sizes[:, None], base.shape)
    around = network.Around(values, errors, base, log_sizes, self._precision.largest)
    here, inputs = network.context(around, network.NUMPY)
    bias = network.bias_of(self._net.trunk, self._classes)
    hidden = network.trunk(self._net.trunk, inputs, bias, network.NUMPY)
    span = slice(rows.start * width, rows.stop * width)
    of_channels = np.empty((2 * len(self._log_sizes), hidden.shape[1]), np.float32)
    features = np.concatenate([hidden, of_channels])
    return _Part(span, here, base, self._seen(values, base), features)

  def _seen(self, values: np.ndarray, base: np.ndarray) -> np.ndarray:
    channels, used = len(self._log_sizes), linear.NEIGHBOURS[self._phase.plane - 1]
    dtype = linear.feature_type(self._precision.largest)
    seen: Any = np.zeros((1 + (used + 1) * channels, base.shape[-1]), dtype)
    seen[0] = linear.CONSTANT
    neighbours = seen[1 : 1 + used * channels].reshape(used, channels, -1)
    np.subtract(values[:used, :channels], base[:channels], out=neighbours)
    return seen

  def _gather(self, planes: Planes, rows: slice, count: int) -> np.ndarray:
    """[K, 3, N] of some rows' neighbours; of grey, three times the same."""
    height, width = rows.stop - rows.start, self._shape[1]
    result = np.empty((count, _CHANNELS, height, width), np.float32)
    for out, neighbour in zip(result, self._phase.neighbours):
      out[:] = planes.around(neighbour, rows, width)
    return result.reshape(count, _CHANNELS, -1)

  def _evaluate(
    self, c: int, x: np.ndarray, errors: np.ndarray, part: _Part
  ) -> tuple[Expected, np.ndarray]:
    """What is expected of a channel's samples, and linear predictions [N].

    Of x and errors [C, N], the channels before are known.
    """
    if c:
      self._learn(c - 1, x[c - 1, part.span], errors[c - 1, part.span], part)
    base, here = part.base[c], part.here
    largest, step = self._precision
    coefficients = self._coefficients[c]
    offset = linear.predict(coefficients, part.seen[: len(coefficients)])
    prediction = np.clip(_UNIT * base + offset, 0, largest * _UNIT).astype(np.float32, copy=False)
    channels = self._of_channels(part)
    channels[:2] = network.own_features(prediction, base, self._log_sizes[c], here, network.NUMPY)
    features = part.features[: len(part.features) - len(channels) + 2 + 2 * c]
    raw = network.head(self._net.heads[c], [features], network.NUMPY)
    outputs = network.outputs(raw, prediction, here)
    expected = Expected(*distribution.table_indexes(*outputs, step, wide=largest > 255))
    return expected, prediction

  def _learn(self, c: int, x: np.ndarray, error: np.ndarray, part: _Part) -> None:
    """Makes a channel's samples and errors [N] known to the channels after it."""
    base = part.base[c]
    part.seen[c - len(self._log_sizes)] = x - base
    features = network.sample_features(x, base, error, part.here, network.NUMPY)
    self._of_channels(part)[2 + 2 * c : 4 + 2 * c] = features

  def _of_channels(self, part: _Part) -> np.ndarray:
    """The rows [2 C, N] of a part's features that are of channels."""
    return part.features[-2 * len(self._log_sizes) :]


def _joined(parts: Sequence[Expected]) -> Expected:
  joined: list[Any] = [None if of[0] is None else np.concatenate(of) for of in zip(*parts)]
  return Expected(*joined)
