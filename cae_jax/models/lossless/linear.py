"""The linear stage: what an image's own neighbours say of a sample, by coefficients in its file.

For each level, phase and channel: base + k / 32 + sum of k / 128 (neighbour - its channel's base)
over all channels of the closest neighbours and the channels of the pixel that are known. The base
is the mean of the four closest. The constant is there for images whose samples were cut off, not
rounded. It takes the place of a colour transform, and finds by itself what is
peculiar about an image: chroma that was subsampled, a demosaicing, a scaling.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cae_jax.models.lossless.phases import (
  PHASES,
  Phase,
  Planes,
  join,
  level_shapes,
  plane_shape,
  split,
)

COEFFICIENT_BITS = 7
PREDICTION_BITS = 3  # predictions are in eighths
_UNIT = 2**PREDICTION_BITS
# What the first coefficient is of.
CONSTANT = 4
# Neighbours used, by phase.
NEIGHBOURS = (8, 10, 12)
# Coarser levels take the coefficients of the last one that has its own.
FITTED_LEVELS = 2
LARGEST = 1023  # coefficient
_RIDGE = 30.0
_ROUNDS = 3

# Coefficients of an image: [level][phase][channel] -> [1 + K] int32, the constant first.
Coefficients = Sequence[Sequence[Sequence[np.ndarray]]]


def size(phase: int, channel: int, channels: int) -> int:
  """Counts the coefficients of a channel in a phase (0 to 2) of an image, but for the constant."""
  return NEIGHBOURS[phase] * channels + channel


def bases(planes: Planes, phase: Phase, rows: slice, width: int) -> np.ndarray:
  """Takes means of the four closest, rounded to integers: [C, rows, width] float32."""
  a, b, c, d = (planes.around(n, rows, width) for n in phase.neighbours[:4])
  return np.floor(0.25 * (a + b + c + d) + 0.5)


def differences(planes: Planes, phase: Phase, base: np.ndarray, rows: slice) -> np.ndarray:
  """Takes the constant and the neighbours less the base: [1 + K * C, rows * width] float32."""
  channels, height, width = base.shape
  count = NEIGHBOURS[phase.plane - 1]
  result = np.empty((1 + count * channels, height, width), np.float32)
  result[0] = CONSTANT
  for out, neighbour in zip(result[1:].reshape(count, *base.shape), phase.neighbours):
    np.subtract(planes.around(neighbour, rows, width), base, out=out)
  return result.reshape(len(result), -1)


def fit_image(
  x: np.ndarray, known: np.ndarray | None = None, constant: bool = False
) -> list[list[list[np.ndarray]]]:
  """Fits the coefficients of an image.

  Args:
    x: [C, H, W] integers, channels in the order of coding.
    known: same shape, what a decoder has of it, where that is not exact.
    constant: whether the first coefficients may be other than 0.
  """
  return _fit([(x, x if known is None else known)], constant)


def fit_images(images: Sequence[np.ndarray]) -> list[list[list[np.ndarray]]]:
  """Fits coefficients to several images [C, H, W] together, as `fit_image`."""
  return _fit([(x, x) for x in images], constant=False)


def _fit(
  pairs: Sequence[tuple[np.ndarray, np.ndarray]], constant: bool
) -> list[list[list[np.ndarray]]]:
  """Of pairs (x, known)."""
  levels = max(len(level_shapes(x.shape[1:])) for x, _ in pairs)
  result = []
  for _ in range(min(levels, FITTED_LEVELS)):
    planes = [(split(x), split(known)) for x, known in pairs]
    result.append([_fit_phase(planes, phase, constant) for phase in PHASES])
    pairs = [(x[:, ::2, ::2], known[:, ::2, ::2]) for x, known in pairs]
  return result


def _fit_phase(
  pairs: Sequence[tuple[Planes, Planes]], phase: Phase, constant: bool
) -> list[np.ndarray]:
  parts = [_of_phase(*pair, phase) for pair in pairs]
  features, before, target = (np.concatenate(of, axis=1) for of in zip(*parts))
  if constant:
    return [fit(np.concatenate([features, before[:c]]), of) for c, of in enumerate(target)]
  found = [fit(np.concatenate([features[1:], before[:c]]), of) for c, of in enumerate(target)]
  return [np.concatenate([np.zeros(1, np.int32), k]) for k in found]


def _of_phase(planes: Planes, known: Planes, phase: Phase) -> tuple[np.ndarray, ...]:
  """What a phase is predicted from [1 + K * C, N], what is known of it and what it is [C, N]."""
  features, base = _whole_phase(known, phase)
  target, before = ((of.read(phase.plane) - base).reshape(len(base), -1) for of in (planes, known))
  return features, before, target


def _whole_phase(planes: Planes, phase: Phase) -> tuple[np.ndarray, np.ndarray]:
  """Constant and differences [1 + K * C, N] of a phase's pixels, and their bases [C, h, w]."""
  height, width = plane_shape(planes.shape, phase.plane)
  rows = slice(0, height)
  base = bases(planes, phase, rows, width)
  return differences(planes, phase, base, rows), base


def fit(features: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Coefficients of about the smallest absolute error: iterated weighted least squares.

  Args:
    features: [K, N] float32.
    target: [N].
  Returns:
    [K] int32, in units of 2^-COEFFICIENT_BITS.
  """
  # Of more than 8 bits, sums in float32 would be other ones with other libraries.
  dtype = feature_type(int(np.abs(features).max(initial=0)))
  features, target = features.astype(dtype, copy=False), target.astype(dtype, copy=False)
  weights = np.ones_like(target)
  ridge = _RIDGE * np.eye(len(features))
  for _ in range(_ROUNDS):
    weighted = features * weights
    gram = (weighted @ features.T).astype(np.float64) + ridge
    theta = np.linalg.solve(gram, (weighted @ target).astype(np.float64))
    error = target - theta.astype(dtype) @ features
    weights = 1 / (1 + np.abs(error))
  return _rounded(theta * 2**COEFFICIENT_BITS, gram)


def _rounded(theta: np.ndarray, gram: np.ndarray) -> np.ndarray:
  """Integers near theta [K], each rounded after the rest made up for those before."""
  inverse, theta = np.linalg.inv(gram), theta.copy()
  for k in range(len(theta)):
    rounded = np.clip(np.rint(theta[k]), -LARGEST, LARGEST)
    # The rest of the inverse once k is settled: one step of elimination.
    column = inverse[:, k] / inverse[k, k]
    theta[k + 1 :] -= (theta[k] - rounded) * column[k + 1 :]
    theta[k] = rounded
    inverse = inverse - np.outer(column, inverse[k])
  return theta.astype(np.int32)


def predict(coefficients: np.ndarray, features: np.ndarray) -> np.ndarray:
  """Predicts, less the base, in eighths: [N], exact.

  Args:
    coefficients: [K] int32.
    features: [K, N], integers of at most 9 bits in float32 (all sums stay below 2^24), or of at
      most 17 in float64.
  """
  sums = coefficients.astype(features.dtype) @ features
  shift = COEFFICIENT_BITS - PREDICTION_BITS
  return np.floor((sums + 2 ** (shift - 1)) * features.dtype.type(2.0**-shift))


class LinearlyCoded(NamedTuple):
  """An image after the linear stage alone.

  Attributes:
    known: float32 [C, H, W], what a decoder has: the image, or near it.
    errors: int32, same shape, of the linear predictions of what is known, in eighths; 0 at the
      coarsest level's.
    sizes: float32 [L, 3, C], mean sizes of errors in grey levels for each level, phase and channel.
  """

  known: np.ndarray
  errors: np.ndarray
  sizes: np.ndarray


def code_linearly(
  x: np.ndarray, coefficients: Coefficients, step: int = 1, largest: int = 255
) -> LinearlyCoded:
  """Goes through an image as coding does, with linear predictions only.

  Args:
    x: [C, H, W] integers.
    coefficients: of `fit_image`.
    step: of what is coded, 2 T + 1 for errors of at most T; 1 is exact.
    largest: value of a sample.
  """
  shapes = level_shapes(x.shape[1:])
  coarsest = 2 ** len(shapes)
  known = x[:, ::coarsest, ::coarsest].astype(np.float32)
  errors, sizes = np.zeros(known.shape, np.int32), []
  for level, shape in reversed(list(enumerate(shapes))):
    true = split(x[:, :: 2**level, :: 2**level])
    planes, error_planes = Planes(shape, len(x)), Planes(shape, len(x))
    planes.write(0, known)
    error_planes.write(0, errors)
    of_level = coefficients[min(level, len(coefficients) - 1)]
    for phase, of_phase in zip(PHASES, of_level):
      samples, found = _code_phase(planes, true.read(phase.plane), phase, of_phase, step, largest)
      planes.write(phase.plane, samples)
      error_planes.write(phase.plane, found)
      sizes.append(np.abs(found).mean((1, 2)) / _UNIT if found.size else np.ones(len(x)))
    known, errors = join(planes), join(error_planes).astype(np.int32)
  by_level = np.array(sizes, np.float32).reshape(len(shapes), len(PHASES), len(x))
  return LinearlyCoded(known, errors, by_level[::-1])


def _code_phase(
  planes: Planes, x: np.ndarray, phase: Phase, coefficients, step: int, largest: int
) -> tuple[np.ndarray, np.ndarray]:
  """What becomes known of the samples x of a phase, and errors in eighths: [C, h, w] each."""
  features, base = _whole_phase(planes, phase)
  features = features.astype(feature_type(largest))
  samples, errors = np.empty_like(base), np.empty_like(base)
  for c, k in enumerate(coefficients):
    before = (samples[:c] - base[:c]).reshape(c, features.shape[1])
    offset = predict(k, np.concatenate([features, before])).reshape(base.shape[1:])
    prediction = np.clip(_UNIT * base[c] + offset, 0, largest * _UNIT)
    samples[c] = quantize(x[c], np.floor(prediction / _UNIT + 0.5), step, largest)
    errors[c] = _UNIT * samples[c] - prediction
  return samples, errors


def quantize(x: np.ndarray, middle: np.ndarray, step: int, largest: int) -> np.ndarray:
  """Rounds samples to whole steps from a middle, inside their range; a step of 1 changes none."""
  return np.clip(middle + step * np.rint((x - middle) / step), 0, largest)


def feature_type(largest: int) -> type:
  """Returns the type that holds the linear stage's sums exactly."""
  return np.float32 if largest < 256 else np.float64


def log_sizes(sizes: np.ndarray) -> np.ndarray:
  """Takes log2 of mean sizes of errors, in eighths: int8."""
  return np.clip(np.rint(8 * np.log2(sizes + 2.0**-8)), -64, 127).astype(np.int8)
