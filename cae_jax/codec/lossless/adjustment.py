"""An image's tables, adjusted to what its samples are: means, scales and shapes.

The networks know photographs in general, not this one: where its samples lie to one side of what
they expect, or its errors are a little larger or smaller, or have longer tails, a file says by how
much. For each level, phase and channel, samples fall into classes by the scale of their table; each
class has an adjustment, of scale and shape, and may have a move, of the mean.
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
MOVE_BITS = 4  # of a move
# By number: eighths of the scale that the mean moves up.
_MOVES = np.arange(-(1 << MOVE_BITS >> 1), 1 << MOVE_BITS >> 1)
_STAY = int(np.flatnonzero(_MOVES == 0)[0])
# By number and scale: eighths of an integer.
_DISTANCES = np.rint(_MOVES[:, None] * distribution.scales()).astype(np.int32)
_EVERY = np.arange(np.prod(distribution.TABLES))  # table: what is so of all is looked up
_MOST_LOOKED_AT = 1 << 14  # samples
# What an escape costs beyond its slot.
_ESCAPE_BITS = 8


def adjusted(expected: Expected, adjustments: np.ndarray) -> Expected:
  """Returns what is expected with other tables.

  Args:
    expected: of the samples of a place.
    adjustments: [CLASSES] integers, 0 to `ADJUSTMENTS` - 1.
  """
  changed = _changed(_EVERY, _CHANGES[adjustments[_classes(_EVERY)]].T)
  return expected._replace(tables=changed[expected.tables])


def moved(expected: Expected, moves: np.ndarray) -> Expected:
  """Returns what is expected with other means.

  Args:
    expected: of the samples of a place.
    moves: [CLASSES] integers of `MOVE_BITS` bits.
  """
  whole, tables = (of[expected.tables] for of in _moved(_EVERY, moves[_classes(_EVERY)]))
  return expected._replace(tables=tables, starts=expected.starts + whole)


def find_moves(integers: np.ndarray, expected: Expected, tables: CodingTables) -> np.ndarray | None:
  """Finds the moves [CLASSES] by which integers of tables take the fewest bits.

  None if that saves less than the moves take themselves.
  """
  some = _some(integers)
  integers, indexes = integers[some], expected.tables[some]
  classes = _classes(indexes)

  def bits(number: int) -> np.ndarray:
    whole, there = (of[indexes] for of in _moved(_EVERY, number))
    return np.bincount(classes, _bits(integers - whole, there, tables), CLASSES)

  by_number = np.stack([bits(number) for number in range(len(_MOVES))])
  saved = (by_number[_STAY] - by_number.min(0)).sum() * some.step
  return by_number.argmin(0).astype(np.int32) if saved > CLASSES * MOVE_BITS else None


def find(integers: np.ndarray, expected: Expected, tables: CodingTables) -> np.ndarray:
  """Finds the adjustments [CLASSES] by which integers of tables take the fewest bits."""
  some = _some(integers)
  integers, indexes = integers[some], expected.tables[some]
  classes = _classes(indexes)
  best = np.zeros(CLASSES, np.int32)
  bits = lambda number: np.bincount(
    classes, _bits(integers, _changed(_EVERY, _CHANGES[number])[indexes], tables), CLASSES
  )
  least = bits(0)
  for number in range(1, ADJUSTMENTS):
    found = bits(number)
    best, least = np.where(found < least, number, best), np.minimum(found, least)
  return best


def _some(integers: np.ndarray) -> slice:
  return slice(None, None, max(1, len(integers) // _MOST_LOOKED_AT))


def _moved(indexes: np.ndarray, moves: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """By how many integers tables begin later, and which they are: [N] each."""
  fractions, scales, shapes = np.unravel_index(indexes, distribution.TABLES)
  whole, fractions = np.divmod(fractions + _DISTANCES[moves, scales], distribution.FRACTIONS)
  tables = np.ravel_multi_index((fractions, scales, shapes), distribution.TABLES)
  return whole.astype(np.int32), tables.astype(np.int32)


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
