"""Scales and shapes of an image's tables, adjusted to what its samples are.

The networks know photographs, not this one: where its errors are a little larger or smaller, or
have longer tails than they say, a file says by how much. For each level, phase and channel, samples
fall into classes by the scale of their table; each class has an adjustment.
"""

import functools

import numpy as np

from cae_jax.coding.tables import CodingTables
from cae_jax.models.lossless import distribution
from cae_jax.models.lossless.passes import Expected

# Of places with fewer samples nothing is said.
FEWEST = 4096
# Classes are octaves of scales.
CLASSES = 8
_FIRST_CLASS = 2
BITS = 5  # of an adjustment
# Steps of the scale and of the shape that are added; an adjustment is an index of these.
_SCALES, _SHAPES = np.meshgrid([0, -1, 1, -2, 2, -3, 3], [0, -1, 1], indexing="ij")
_CHANGES = np.stack([_SCALES.ravel(), _SHAPES.ravel()], axis=1)
ADJUSTMENTS = len(_CHANGES)
_MOST_LOOKED_AT = 1 << 14  # samples
# What an escape costs beyond its slot.
_ESCAPE_BITS = 8


def adjusted(expected: Expected, adjustments: np.ndarray) -> Expected:
  """Returns what is expected with other tables.

  Args:
    expected: of the samples of a place.
    adjustments: [CLASSES] integers, 0 to `ADJUSTMENTS` - 1.
  """
  every = np.arange(np.prod(distribution.TABLES))
  changed = _changed(every, _CHANGES[adjustments[_classes(every)]].T)
  return expected._replace(tables=changed[expected.tables])


def find(integers: np.ndarray, expected: Expected, tables: CodingTables) -> np.ndarray:
  """Finds the adjustments [CLASSES] by which integers of tables take the fewest bits."""
  some = slice(None, None, max(1, len(integers) // _MOST_LOOKED_AT))
  integers, indexes = integers[some], expected.tables[some]
  classes = _classes(indexes)
  best = np.zeros(CLASSES, np.int32)
  bits = lambda number: np.bincount(
    classes, _bits(integers, _changed(indexes, _CHANGES[number]), tables), CLASSES
  )
  least = bits(0)
  for number in range(1, ADJUSTMENTS):
    found = bits(number)
    best, least = np.where(found < least, number, best), np.minimum(found, least)
  return best


def _classes(indexes: np.ndarray) -> np.ndarray:
  scales = indexes // distribution.SHAPES % distribution.SCALES
  return np.clip(scales // distribution.PER_OCTAVE - _FIRST_CLASS, 0, CLASSES - 1)


def _changed(indexes: np.ndarray, changes: np.ndarray) -> np.ndarray:
  fractions, scales, shapes = np.unravel_index(indexes, distribution.TABLES)
  scales = np.clip(scales + changes[0], 0, distribution.SCALES - 1)
  shapes = np.clip(shapes + changes[1], 0, distribution.SHAPES - 1)
  return np.ravel_multi_index((fractions, scales, shapes), distribution.TABLES).astype(np.int32)


def _bits(integers: np.ndarray, indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
  slots, last = integers - tables.offsets[indexes], tables.lengths[indexes] - 1
  escaped = (slots < 0) | (slots >= last)
  return _slot_bits(tables)[indexes, np.where(escaped, last, slots)] + _ESCAPE_BITS * escaped


@functools.lru_cache(maxsize=2)
def _slot_bits(tables: CodingTables) -> np.ndarray:
  return tables.slot_bits().astype(np.float32)
