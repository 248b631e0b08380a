"""Samples near the ends of their range: tables that put all that lies beyond on the last value.

Skies and lamps are often as bright as samples can be. There, half of a table would stand for values
that no sample has. So of a table's integers, all at and beyond the one that reaches the end are
made one: the table of its own that such a sample has is a sum of slots, and as exact.
"""

from typing import NamedTuple

import numpy as np

from cae_jax.coding.tables import CodingTables
from cae_jax.models.lossless import distribution
from cae_jax.models.lossless.passes import Expected, Precision

# An end is seen within so many scales, unless these are large.
_REACH, _LARGEST_SCALE = 2.5, 8
_SCALES = distribution.scales()
_REACHES = np.where(_SCALES > _LARGEST_SCALE, 0, np.ceil(_REACH * _SCALES)).astype(np.int32)
# Tables are made for each image: of fractions and shapes, some will do for all. By scale, fractions
# are told apart to 1/8, 1/4, 1/2.
_FRACTION_UNITS = np.select([_SCALES < 1, _SCALES < 4], [1, 2], 4)
_SHAPE_UNIT = 2


class Edges(NamedTuple):
  """Those of some samples that are near an end of their range.

  Attributes:
    where: [N] bool.
    upper: [M] bool, whether it is the upper end.
    last: [M] int32, the integer of the table that reaches the end.
    tables: of these samples.
    indexes: [M] int32.
  """

  where: np.ndarray
  upper: np.ndarray
  last: np.ndarray
  tables: CodingTables
  indexes: np.ndarray

  def clip(self, integers: np.ndarray) -> np.ndarray:
    """Makes integers [M] beyond the end the last one."""
    low, high = np.minimum(integers, self.last), np.maximum(integers, self.last)
    return np.where(self.upper, low, high)


def find(expected: Expected, precision: Precision, tables: CodingTables) -> Edges | None:
  """Finds the samples near an end, None if there are none.

  Args:
    expected: of some samples.
    precision: of these.
    tables: that `expected` speaks of.
  """
  step = precision.step
  up = -_floored(expected.middles - precision.largest, step) - expected.starts
  down = _floored(-expected.middles, step) - expected.starts
  # Most samples are far from both ends of whatever scale they are.
  some = np.flatnonzero((up <= _REACHES.max()) | (down >= -_REACHES.max()))
  up, down = up[some], down[some]
  fractions, scales, shapes = np.unravel_index(expected.tables[some], distribution.TABLES)
  upper = up <= -down
  near = np.where(upper, up, -down) <= _REACHES[scales]
  if expected.low_bits is not None:
    near &= expected.low_bits[some] == 0
  if not near.any():
    return None
  where = np.zeros(len(expected.tables), bool)
  where[some[near]] = True
  upper, last = upper[near], np.where(upper, up, down)[near]
  fractions, scales, shapes = fractions[near], scales[near], shapes[near]
  fractions = fractions // _FRACTION_UNITS[scales] * _FRACTION_UNITS[scales]
  shapes = shapes // _SHAPE_UNIT * _SHAPE_UNIT
  few = np.ravel_multi_index((fractions, scales, shapes), distribution.TABLES)
  # One number for (table, last integer, whether that is the upper end) sorts as the three do.
  keys = few << 33 | (last.astype(np.int64) + (1 << 31)) << 1 | upper
  unique, indexes = np.unique(keys, return_inverse=True)
  of_tables = unique >> 33, (unique >> 1 & (1 << 32) - 1) - (1 << 31), (unique & 1).astype(bool)
  return Edges(where, upper, last, _tables(*of_tables, tables), indexes.astype(np.int32))


def _floored(x: np.ndarray, step: int) -> np.ndarray:
  return x if step == 1 else x // step


def _tables(
  index: np.ndarray, last: np.ndarray, upper: np.ndarray, tables: CodingTables
) -> CodingTables:
  """Makes a table for each of some: its index, its last integer, whether that is the upper end."""
  lengths, offsets = tables.regular_lengths[index], tables.offsets[index]
  place = last - offsets
  # Of the slots, those from `start` on stay, as many as `count`; the first or last has the rest.
  start = np.where(upper, 0, np.clip(place, 0, lengths - 1))
  count = np.where(upper, np.clip(place + 1, 1, lengths), lengths - start)
  slots = np.arange(count.max() + 2)
  end, of = slots[None] >= count[:, None], slots[None] + start[:, None]
  places = np.where(end, lengths[:, None], of)
  cdf = np.take_along_axis(tables.cdf[index], np.minimum(places, lengths[:, None]), axis=1)
  cdf[:, 0] = 0
  cdf[slots[None] > count[:, None]] = 1 << tables.precision
  alone = np.where(upper, place < 0, place >= 0)
  return CodingTables(
    cdf, count + 1, np.where(alone, last, offsets), tables.precision, tables.has_escape
  )
