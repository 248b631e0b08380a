"""All samples of an image in the order of coding, with the table that each is coded by.

Encoder and decoder run the same passes; they differ in where the samples come from. Everything is
NumPy, and exact: see `network`.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cae_jax.models.lossless import distribution, linear, network
from cae_jax.models.lossless.linear import PREDICTION_BITS, Coefficients
from cae_jax.models.lossless.network import Layer
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
_TOGETHER = 2048
_UNIT = 2**PREDICTION_BITS


class Network(NamedTuple):
  """Of one phase: layers as `PhaseNetwork` gives them, in NumPy."""

  trunk: Sequence[Layer]
  heads: Sequence[Sequence[Layer]]


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


# (place, tables [N], integers [N] that these start from) -> samples [N]
CodeSamples = Callable[[Place, np.ndarray, np.ndarray], np.ndarray]
# Applies a function to each item, perhaps to several at the same time; as the built-in map.
Map = Callable[[Callable, Iterable], Iterable]


def side_of(x: np.ndarray) -> Side:
  """Fits the linear stage to an image [C, H, W] of 8-bit integers."""
  coefficients = linear.fit_image(x)
  return Side(coefficients, linear.log_sizes(linear.error_map(x, coefficients)[1]))


def coarsest_of(x: np.ndarray) -> np.ndarray:
  """Takes the pixels of an image [C, H, W] that come before all levels: [C, h, w]."""
  step = 2 ** len(level_shapes(x.shape[1:]))
  return x[:, ::step, ::step]


def run(
  coarsest: np.ndarray,
  shape: tuple[int, int],
  side: Side,
  networks: Sequence[Network],
  code: CodeSamples,
  in_parallel: Map = map,
) -> np.ndarray:
  """Goes through all samples of an image.

  Args:
    coarsest: of `coarsest_of`.
    shape: height and width of the image.
    side: of the image.
    networks: of the three phases.
    code: codes or decodes the samples of a place, in rows.
    in_parallel: for parts of a phase.
  Returns:
    float32 [C, H, W] of integers: the image.
  """
  x = coarsest.astype(np.float32)
  errors = np.zeros_like(x)
  for level, level_shape in reversed(list(enumerate(level_shapes(shape)))):
    planes, error_planes = Planes(level_shape, len(x)), Planes(level_shape, len(x))
    planes.write(0, x)
    error_planes.write(0, errors)
    of_level = side.coefficients[min(level, len(side.coefficients) - 1)]
    for i, phase in enumerate(PHASES):
      evaluation = _PhaseEvaluation(
        planes, error_planes, phase, networks[i], level, of_level[i], side.log_sizes[level, i]
      )
      samples, new_errors = evaluation.run(
        functools.partial(_code_channel, code, level, phase.plane), in_parallel
      )
      planes.write(phase.plane, samples)
      error_planes.write(phase.plane, new_errors)
    x, errors = join(planes), join(error_planes)
  return x


def _code_channel(code, level, plane, channel, indexes, starts):
  return code(Place(level, plane, channel), indexes, starts)


class _Part(NamedTuple):
  """Some rows of a phase, in evaluation.

  Attributes:
    span: of its pixels in the phase.
    here: what networks start from; its inputs are dropped.
    base: [C, N].
    hidden: [F, N], what the trunk gave.
    seen: rows [N] of differences that the linear stage sees; grow with the channels known.
    known: rows [N] that heads see of the channels known.
  """

  span: slice
  here: network.Context
  base: np.ndarray
  hidden: np.ndarray
  seen: list[np.ndarray]
  known: list[np.ndarray]


class _PhaseEvaluation:
  """A phase of a level: its planes so far, and all that its samples' tables depend on."""

  def __init__(
    self,
    planes: Planes,
    errors: Planes,
    phase: Phase,
    net: Network,
    level: int,
    coefficients: Sequence[np.ndarray],
    log_sizes: np.ndarray,
  ):
    self._planes, self._errors, self._phase, self._net = planes, errors, phase, net
    self._level_class = min(level, network.LEVEL_CLASSES - 1)
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
      found = list(in_parallel(functools.partial(self._evaluate, c), parts))
      indexes, starts, predictions = (np.concatenate(arrays) for arrays in zip(*found))
      flat[c] = code(c, indexes, starts)
      flat_errors[c] = _UNIT * flat[c] - predictions
      for part in parts:
        self._learn(c, part, flat[c, part.span], flat_errors[c, part.span])
    return x, errors

  def _start(self, rows: slice) -> _Part:
    """What is the same for all channels."""
    width = self._shape[1]
    values = self._gather(self._planes, rows, len(self._phase.neighbours))
    errors = self._gather(self._errors, rows, network.ERRORS)
    base = network.base(values, network.NUMPY)
    log_sizes = np.broadcast_to(self._log_sizes[:, None], base.shape)
    here = network.context(network.Around(values, errors, base, log_sizes), network.NUMPY)
    hidden = network.trunk(self._net.trunk, here, self._level_class, network.NUMPY)
    seen = values[: linear.NEIGHBOURS[self._phase.plane - 1]] - base
    span = slice(rows.start * width, rows.stop * width)
    dropped = here._replace(inputs=None)
    return _Part(span, dropped, base, hidden, list(seen.reshape(-1, base.shape[-1])), [])

  def _gather(self, planes: Planes, rows: slice, count: int) -> np.ndarray:
    """[K, C, N] of some rows' neighbours."""
    height, width = rows.stop - rows.start, self._shape[1]
    result = np.empty((count, len(self._log_sizes), height, width), np.float32)
    for out, neighbour in zip(result, self._phase.neighbours):
      out[:] = planes.around(neighbour, rows, width)
    return result.reshape(count, len(self._log_sizes), -1)

  def _evaluate(self, c: int, part: _Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables, the integers that they start from, and linear predictions; [N] each."""
    base, here = part.base[c], part.here
    offset = linear.predict(self._coefficients[c], np.stack(part.seen))
    prediction = np.clip(_UNIT * base + offset, 0, 255 * _UNIT)
    own = network.own_features(prediction, base, self._log_sizes[c], here, network.NUMPY)
    features = np.concatenate([part.hidden, np.stack([*own, *part.known])])
    raw = network.head(self._net.heads[c], features, network.NUMPY)
    return *distribution.table_indexes(*network.outputs(raw, prediction, here)), prediction

  def _learn(self, c: int, part: _Part, x: np.ndarray, error: np.ndarray) -> None:
    part.seen.append(x - part.base[c])
    part.known.extend(network.sample_features(x, part.base[c], error, part.here, network.NUMPY))
