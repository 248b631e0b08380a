import numpy as np
import pytest

from cae_jax.codec.lossless import edges
from cae_jax.codec.lossless.tile import make_arrays, tables_from_arrays
from cae_jax.models.lossless import distribution
from cae_jax.models.lossless.passes import Expected, Precision


@pytest.fixture(scope="module")
def tables():
  return tables_from_arrays(make_arrays())


def _expected(middle, scale=16, fraction=0, start=0):
  middles = np.atleast_1d(np.int32(middle))
  index = np.ravel_multi_index((fraction, scale, 2), distribution.TABLES)
  whole = np.full(len(middles), index, np.int32)
  return Expected(whole, None, middles, np.full(len(middles), start, np.int32))


@pytest.mark.parametrize("fraction", [0, 2])
@pytest.mark.parametrize("middle", [-40, -2, -1, 0, 1, 2, 253, 254, 255, 256, 258, 300])
def test_all_beyond_an_end_has_one_slot(tables, middle, fraction):
  expected = _expected(middle, fraction=fraction)
  near = edges.find(expected, Precision(), tables)
  assert near is not None
  upper = middle > 128
  assert near.upper[0] == upper
  assert middle + near.last[0] == (255 if upper else 0)
  made, base = near.tables, expected.tables[0]
  first = int(tables.offsets[base])
  values = first + np.arange(tables.regular_lengths[base])
  whole = tables.frequencies[base][: len(values)]
  beyond = values >= near.last[0] if upper else values <= near.last[0]
  slot = int(near.last[0] - made.offsets[near.indexes[0]])
  frequencies = made.frequencies[near.indexes[0]]
  regular = int(made.lengths[near.indexes[0]]) - 1
  assert slot == (regular - 1 if upper else 0)
  assert frequencies[slot] == whole[beyond].sum()
  rest = frequencies[:slot] if upper else frequencies[1:regular]
  np.testing.assert_array_equal(rest, whole[~beyond])
  assert frequencies[regular] == tables.frequencies[base][len(values)]


def test_samples_far_from_both_ends_keep_their_tables(tables):
  assert edges.find(_expected([100, 128, 200]), Precision(), tables) is None
  found = edges.find(_expected([100, 254, 200, 1]), Precision(), tables)
  assert found.where.tolist() == [False, True, False, True]
  assert found.clip(np.array([9, -9])).tolist() == [1, -1]


@pytest.mark.parametrize("step", [3, 5])
def test_steps_end_where_the_range_does(tables, step):
  near = edges.find(_expected([254, 250, 3]), Precision(step=step), tables)
  last = near.last
  middles = np.array([254, 250, 3])[near.where]
  reached = middles + step * last
  assert ((reached >= 255) | (reached <= 0)).all()
  assert ((reached - step < 255) & (reached + step > 0)).all()


def test_a_wide_table_is_changed_only_beyond_its_end(tables):
  wide = 36
  assert edges.find(_expected([250], scale=wide), Precision(), tables) is None
  assert edges.find(_expected([255], scale=wide), Precision(), tables) is not None
