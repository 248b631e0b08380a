import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_jax.coding import BitstreamError, rans, sign_hiding
from cae_jax.coding.sign_hiding import GROUP_NONZEROS
from cae_jax.coding.tables import tables_from_frequencies

TABLES = tables_from_frequencies([[15, 1], [8, 4, 3, 1], [1, 15]], [0, 0, 0], 4, has_escape=True)
SHAPES = st.tuples(st.integers(0, 20), st.integers(0, 10))
ALWAYS = 2  # the table of symbols that are hardly ever zero


def _squares(targets):
  return lambda place, size: (targets.ravel()[place] - size) ** 2


def _hidden(targets, indexes):
  """Rounded targets with their signs hidden, and their groups."""
  groups = sign_hiding.group_numbers(indexes, TABLES)
  symbols = np.rint(targets).astype(np.int32)
  hidden = sign_hiding.hide_signs(symbols, groups, targets, _squares(np.abs(targets)))
  return symbols, hidden, groups


def _coded(symbols, indexes):
  """What a decoder makes of symbols, and how many signs it was told."""
  groups = sign_hiding.group_numbers(indexes, TABLES)
  parts = sign_hiding.parts(symbols, groups, indexes, TABLES)
  decoder = rans.Decoder(rans.encode_parts(parts))
  decoded = sign_hiding.decode(decoder, indexes, TABLES)
  decoder.finish()
  return decoded, parts[1][0].size


@settings(max_examples=200, deadline=None)
@given(SHAPES, st.floats(0.1, 4), st.integers(0, 2**32 - 1))
def test_symbols_come_back(shape, spread, seed):
  rng = np.random.default_rng(seed)
  targets, indexes = rng.laplace(0, spread, shape), rng.integers(0, 3, shape)
  _, hidden, groups = _hidden(targets, indexes)
  decoded, told = _coded(hidden, indexes)
  np.testing.assert_array_equal(decoded, hidden)
  leaders = len(np.unique(groups[hidden.ravel() != 0]))
  assert told == np.count_nonzero(hidden) - leaders


@settings(max_examples=200, deadline=None)
@given(SHAPES, st.floats(0.1, 4), st.integers(0, 2**32 - 1))
def test_groups_change_by_one_at_most(shape, spread, seed):
  rng = np.random.default_rng(seed)
  targets = rng.laplace(0, spread, shape)
  symbols, hidden, groups = _hidden(targets, rng.integers(0, 3, shape))
  changes = np.bincount(groups, np.abs(hidden - symbols).ravel())
  assert changes.max(initial=0) <= 1
  empty = np.bincount(groups, symbols.ravel() != 0) == 0
  assert not changes[empty].any()
  again = sign_hiding.hide_signs(hidden, groups, targets, _squares(np.abs(targets)))
  np.testing.assert_array_equal(again, hidden)


def test_groups_have_as_many_nonzeros_as_their_tables_say():
  groups = sign_hiding.group_numbers(np.full(160, ALWAYS), TABLES)
  assert np.bincount(groups)[1] * 15 / 16 == pytest.approx(GROUP_NONZEROS, abs=1)
  groups = sign_hiding.group_numbers(np.full(16 * GROUP_NONZEROS - 1, 0), TABLES)
  assert (groups == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_change_is_the_cheapest_possible(seed):
  """Against all ways to change one symbol by one that leave zeros before the leader alone."""
  rng = np.random.default_rng(seed)
  targets = np.r_[0.2, rng.laplace(0, 1.5, GROUP_NONZEROS - 2)]
  targets[1] += np.copysign(1, targets[1])  # the leader
  indexes = np.full(targets.size, ALWAYS)
  symbols, hidden, groups = _hidden(targets, indexes)
  assert (groups == 0).all()
  cost = lambda symbols: np.sum((targets - symbols) ** 2)

  def tells(symbols):
    return (_coded(symbols, indexes)[0] == symbols).all()

  if tells(symbols):
    np.testing.assert_array_equal(hidden, symbols)
    return
  ways = []
  for place, change in itertools.product(range(1, targets.size), (-1, 1)):
    way = symbols.copy()
    way[place] += change
    if way[1] and tells(way):
      ways.append(cost(way))
  assert tells(hidden)
  assert cost(hidden) == pytest.approx(min(ways))


def test_a_symbol_keeps_its_sign_where_its_target_has_the_other():
  indexes = np.full(3, ALWAYS)
  symbols, targets = np.array([2, -2, 1], np.int32), np.array([2.0, 0.4, 1.0])
  groups = sign_hiding.group_numbers(indexes, TABLES)
  hidden = sign_hiding.hide_signs(symbols, groups, targets, _squares(np.array([2.0, -0.4, 1.0])))
  np.testing.assert_array_equal(hidden, [2, -1, 1])


def test_zeros_hide_nothing():
  zeros, hidden, _ = _hidden(np.full(50, 0.4), np.full(50, ALWAYS))
  np.testing.assert_array_equal(hidden, zeros)
  assert _coded(hidden, np.full(50, ALWAYS))[1] == 0


def test_a_size_below_zero_is_an_error():
  section = rans.encode(np.array([-1]), np.array([0]), TABLES)
  with pytest.raises(BitstreamError, match="size -1"):
    sign_hiding.decode(rans.Decoder(section), np.array([0]), TABLES)
