"""What a network says of a sample: a symmetric distribution of a mean, a scale and a shape.

The shape runs from a Gaussian (0) over a logistic (1) and a Laplacian (2) to a Laplacian of which a
part is several times as wide (3); between them it is their mixture. All have about the same
quartiles at the same scale. A coding table is made for each of a few scales, shapes and fractions
of the mean: a sample has an index, and no table of its own.
"""

from typing import Any

import numpy as np

# Of the scales in log2: the lowest, the highest, and how many there are in an octave.
LOWEST, HIGHEST, PER_OCTAVE = -4.0, 6.0, 4
SCALES = round((HIGHEST - LOWEST) * PER_OCTAVE) + 1
LARGEST_SHAPE = 3
SHAPES_PER_UNIT = 2
SHAPES = LARGEST_SHAPE * SHAPES_PER_UNIT + 1
FRACTIONS = 8  # of the mean, in a unit
# Of tables: how many fractions, scales and shapes there are.
TABLES = (FRACTIONS, SCALES, SHAPES)

_LOGISTIC, _LAPLACE, _NARROW, _WIDE, _WIDE_SHARE = 0.6, 0.95, 0.8, 3.2, 0.2
# What any sample may count on: about what an escape costs.
FLOOR = 2.0**-20


def scales() -> np.ndarray:
  """Returns the scales of tables: float64 [SCALES], in the integers that are coded."""
  octaves, steps = np.divmod(np.arange(SCALES), PER_OCTAVE)
  # Powers of two are exact whatever the machine's `pow` is, and what is rounded up from them.
  return np.ldexp(2.0 ** (steps / PER_OCTAVE), octaves + round(LOWEST))


def tails(distance: Any, xp: Any, normal: Any) -> Any:
  """Returns what each distribution of unit scale has beyond a distance >= 0: [4, ...].

  `normal` is the cumulative Gaussian, of NumPy or of JAX.
  """
  laplace = lambda scale: 0.5 * xp.exp(-distance / scale)
  decay = xp.exp(-distance / _LOGISTIC)
  return xp.stack(
    [
      normal(-distance),
      decay / (1 + decay),
      laplace(_LAPLACE),
      (1 - _WIDE_SHARE) * laplace(_NARROW) + _WIDE_SHARE * laplace(_WIDE),
    ]
  )


def masses(error: Any, scale: Any, xp: Any, normal: Any, edge: Any = 0) -> Any:
  """Computes what each distribution has in the unit around each error: [4, ...].

  Args:
    error, scale: [...].
    xp, normal: of NumPy or JAX, see `tails`.
    edge: [...], 1 or -1 where the unit has all that lies beyond it, above or below.
  """
  distance = xp.abs(error)
  near = (xp.where(edge == 0, distance, error * edge) - 0.5) / scale
  inner = tails(xp.minimum(xp.abs(near), 60.0), xp, normal)
  outer = tails(xp.minimum((distance + 0.5) / scale, 60.0), xp, normal)
  return xp.where(near < 0, 1 - inner, inner) - xp.where(edge == 0, outer, 0)


def mix(by_shape: Any, shape: Any, xp: Any) -> Any:
  """Interpolates linearly between the two distributions that a shape lies between.

  Args:
    by_shape: [4, ...], what each distribution has.
    shape: [...], from 0 to 3.
    xp: the namespace of both, NumPy or jax.numpy.
  Returns:
    [...]
  """
  weights = xp.maximum(0, 1 - xp.abs(shape - xp.arange(4.0).reshape(-1, *(1,) * shape.ndim)))
  return (weights * by_shape).sum(0)


def pmfs() -> list[tuple[np.ndarray, int]]:
  """Lists probabilities and first integers, by fraction (slowest), scale and shape (fastest).

  Of integers less the mean's floor.
  """
  from scipy.special import ndtr  # by training only

  result = []
  for fraction in range(FRACTIONS):
    for scale in scales().tolist():
      values = np.arange(-255, 256)
      of_scale = masses(values - fraction / FRACTIONS, scale, np, ndtr)
      for j in range(SHAPES):
        mass = mix(of_scale, np.array([j / SHAPES_PER_UNIT]), np)
        kept = np.flatnonzero(mass > 2.0**-18)
        first, last = kept[0], kept[-1] + 1
        result.append((mass[first:last], int(values[first])))
  return result


def table_indexes(
  mean: np.ndarray, log_scale: np.ndarray, shape: np.ndarray, step: int = 1, wide: bool = False
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
  """Finds the tables of samples that are coded in steps from a middle.

  Args:
    mean: [N] float32, in eighths of a grey level.
    log_scale, shape: [N] float32.
    step: grey levels.
    wide: scales may be larger than those of tables: then the low bits of the number of steps are
      apart, and the tables are of what is left.
  Returns:
    [N] int32 each: indexes in the order of `pmfs`; low bits, None unless `wide`; the middles, in
    grey levels; and how many steps from there (without low bits) the tables start.
  """
  half = np.float32(0.5)
  eighths = np.floor(mean + half).astype(np.int32)
  middle = (eighths + 4) >> 3
  fraction = eighths - 8 * middle
  scale = np.floor(log_scale * PER_OCTAVE - np.float32(PER_OCTAVE * LOWEST) + half)
  scale = scale.astype(np.int32) - _log_step(step)
  low_bits = None
  if wide:
    low_bits = np.maximum(0, -((SCALES - 1 - scale) // PER_OCTAVE))
    scale -= PER_OCTAVE * low_bits
  if step > 1:
    fraction = np.floor(fraction / np.float32(step) + half).astype(np.int32)
  if low_bits is not None:
    # Of 2^n steps that share a number, the middle is half that number's unit from the first.
    fraction = np.where(low_bits > 0, -FRACTIONS // 2, fraction)
  scale = np.clip(scale, 0, SCALES - 1)
  shape = np.clip(np.floor(shape * SHAPES_PER_UNIT + half), 0, SHAPES - 1).astype(np.int32)
  return ((fraction & 7) * SCALES + scale) * SHAPES + shape, low_bits, middle, fraction >> 3


def _log_step(step: int) -> int:
  """Quarters of octaves nearest to a step, found with integers: the same on every machine."""
  return (step**8).bit_length() // 2
