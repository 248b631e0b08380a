"""The linear stage: what an image's own neighbours say of a sample, by coefficients in its file.

For each level, phase and channel: base + sum of k / 128 (neighbour - its channel's base) over all
channels of the closest neighbours and the channels of the pixel that are known. The base is the
mean of the four closest. It takes the place of a colour transform, and finds by itself what is
peculiar about an image: chroma that was subsampled, a demosaicing, a scaling.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from cae_jax.models.lossless.phases import (
  PARITIES,
  PHASES,
  Phase,
  Planes,
  level_shapes,
  plane_shape,
  split,
)

COEFFICIENT_BITS = 7
PREDICTION_BITS = 3  # predictions are in eighths
# Neighbours used, by phase.
NEIGHBOURS = (8, 10, 12)
# Coarser levels take the coefficients of the last one that has its own.
FITTED_LEVELS = 2
_LARGEST = 1023
_RIDGE = 30.0
_ROUNDS = 3

# Coefficients of an image: [level][phase][channel] -> [K] int32.
Coefficients = Sequence[Sequence[Sequence[np.ndarray]]]


def bases(planes: Planes, phase: Phase, rows: slice, width: int) -> np.ndarray:
  """Takes means of the four closest, rounded to integers: [C, rows, width] float32."""
  a, b, c, d = (planes.around(n, rows, width) for n in phase.neighbours[:4])
  return np.floor(0.25 * (a + b + c + d) + 0.5)


def differences(planes: Planes, phase: Phase, base: np.ndarray, rows: slice) -> np.ndarray:
  """Takes the linear stage's neighbours, less the base: [K * C, rows * width] float32."""
  channels, height, width = base.shape
  count = NEIGHBOURS[phase.plane - 1]
  result = np.empty((count, channels, height, width), np.float32)
  for out, neighbour in zip(result, phase.neighbours):
    np.subtract(planes.around(neighbour, rows, width), base, out=out)
  return result.reshape(count * channels, -1)


def fit_image(x: np.ndarray) -> list[list[list[np.ndarray]]]:
  """Coefficients for an image: x [C, H, W] integers of 8 bits, channels in the order of coding."""
  result = []
  for _ in level_shapes(x.shape[1:])[:FITTED_LEVELS]:
    planes = split(x)
    result.append([_fit_phase(planes, phase) for phase in PHASES])
    x = x[:, ::2, ::2]
  return result


def _fit_phase(planes: Planes, phase: Phase) -> list[np.ndarray]:
  features, target, _ = _whole_phase(planes, phase)
  return [fit(np.concatenate([features, target[:c]]), target[c]) for c in range(len(target))]


def _whole_phase(planes: Planes, phase: Phase) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Differences [K * C, N], and less their bases the values [C, N]; and the bases [C, N]."""
  height, width = plane_shape(planes.shape, phase.plane)
  rows = slice(0, height)
  base = bases(planes, phase, rows, width)
  target = planes.read(phase.plane) - base
  features = differences(planes, phase, base, rows)
  return features, target.reshape(len(target), -1), base.reshape(len(base), -1)


def fit(features: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Coefficients of about the smallest absolute error: iterated weighted least squares.

  Args:
    features: [K, N] float32.
    target: [N].
  Returns:
    [K] int32, in units of 2^-COEFFICIENT_BITS.
  """
  weights = np.ones_like(target)
  ridge = _RIDGE * np.eye(len(features))
  for _ in range(_ROUNDS):
    weighted = features * weights
    gram = (weighted @ features.T).astype(np.float64) + ridge
    theta = np.linalg.solve(gram, (weighted @ target).astype(np.float64))
    error = target - theta.astype(np.float32) @ features
    weights = 1 / (1 + np.abs(error))
  return _rounded(theta * 2**COEFFICIENT_BITS, gram)


def _rounded(theta: np.ndarray, gram: np.ndarray) -> np.ndarray:
  """Integers near theta [K], each rounded after the rest made up for those before."""
  inverse, theta = np.linalg.inv(gram), theta.copy()
  for k in range(len(theta)):
    rounded = np.clip(np.rint(theta[k]), -_LARGEST, _LARGEST)
    # The rest of the inverse once k is settled: one step of elimination.
    column = inverse[:, k] / inverse[k, k]
    theta[k + 1 :] -= (theta[k] - rounded) * column[k + 1 :]
    theta[k] = rounded
    inverse = inverse - np.outer(column, inverse[k])
  return theta.astype(np.int32)


def predict(coefficients: np.ndarray, features: np.ndarray) -> np.ndarray:
  """Predicts, less the base, in eighths: [N] float32. Exact: all sums stay below 2^24.

  Args:
    coefficients: [K] int32.
    features: [K, N] float32 integers of at most 9 bits.
  """
  sums = coefficients.astype(np.float32) @ features
  shift = COEFFICIENT_BITS - PREDICTION_BITS
  return np.floor((sums + 2 ** (shift - 1)) * np.float32(2.0**-shift))


def prediction_errors(x: np.ndarray, coefficients: Coefficients) -> Iterator[list[np.ndarray]]:
  """Finds the errors of an image's linear predictions, in eighths, for each level and phase.

  Args:
    x: [C, H, W] integers of 8 bits.
    coefficients: of `fit_image`.
  Yields:
    For each level, the finest first: for each phase int16 [C, h, w].
  """
  for level, shape in enumerate(level_shapes(x.shape[1:])):
    planes = split(x)
    yield [
      _phase_errors(planes, phase, of_phase).reshape(len(x), *plane_shape(shape, phase.plane))
      for phase, of_phase in zip(PHASES, coefficients[min(level, FITTED_LEVELS - 1)])
    ]
    x = x[:, ::2, ::2]


def _phase_errors(planes: Planes, phase: Phase, coefficients) -> np.ndarray:
  features, target, base = _whole_phase(planes, phase)
  unit = 2**PREDICTION_BITS
  errors = np.empty(target.shape, np.int16)
  for c, k in enumerate(coefficients):
    known = np.concatenate([features, target[:c]])
    prediction = np.clip(unit * base[c] + predict(k, known), 0, 255 * unit)
    errors[c] = unit * (base[c] + target[c]) - prediction
  return errors


def error_map(x: np.ndarray, coefficients: Coefficients) -> tuple[np.ndarray, np.ndarray]:
  """Errors of every sample at its place, and their sizes.

  Returns:
    int16 [C, H, W] in eighths, 0 at the coarsest level's; and float32 [L, 3, C], mean sizes in grey
    levels for each level, phase and channel.
  """
  errors = np.zeros(x.shape, np.int16)
  sizes = []
  for level, phases in enumerate(prediction_errors(x, coefficients)):
    here = errors[:, :: 2**level, :: 2**level]
    for phase, values in zip(PHASES, phases):
      row, column = PARITIES[phase.plane]
      here[:, row::2, column::2] = values
    scale = 2.0**-PREDICTION_BITS
    sizes.append([np.abs(v).mean((1, 2)) * scale if v.size else np.ones(len(v)) for v in phases])
  return errors, np.array(sizes, np.float32)


def log_sizes(sizes: np.ndarray) -> np.ndarray:
  """Takes log2 of mean sizes of errors, in eighths: int8."""
  return np.clip(np.rint(8 * np.log2(sizes + 2.0**-8)), -64, 63).astype(np.int8)
