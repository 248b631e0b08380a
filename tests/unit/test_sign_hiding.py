import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_jax.coding import BitstreamError, rans, sign_hiding
from cae_jax.coding.sign_hiding import CHAIN, GROUP_NONZEROS
from cae_jax.coding.tables import tables_from_frequencies

TABLES = tables_from_frequencies([[15, 1], [8, 4, 3, 1], [1, 15]], [0, 0, 0], 4, has_escape=True)
SHAPES = st.tuples(st.integers(0, 40), st.integers(0, 12))
SELDOM, ALWAYS = 0, 2  # tables of symbols that are seldom, or nearly always, not zero


def _squares(targets, weights=1.0):
  weights = np.broadcast_to(weights, targets.shape).ravel()
  return lambda place, size: weights[place] * (targets.ravel()[place] - size) ** 2


def _hidden(targets, indexes, weights=1.0):
  """Rounded targets with their signs hidden, and their groups."""
  groups = sign_hiding.group_numbers(indexes, TABLES)
  symbols = np.rint(targets).astype(np.int32)
  hidden = sign_hiding.hide_signs(symbols, groups, targets, _squares(np.abs(targets), weights))
  return symbols, hidden, groups


def _coded(symbols, indexes):
  """What a decoder makes of symbols, and how many signs it was told."""
  groups = sign_hiding.group_numbers(indexes, TABLES)
  parts = sign_hiding.parts(symbols, groups, indexes, TABLES)
  decoder = rans.Decoder(rans.encode_parts(parts))
  decoded = sign_hiding.decode(decoder, indexes, TABLES)
  decoder.finish()
  return decoded, parts[1][0].size


def _signs_by_the_book(sizes, told, groups):
  """Symbol by symbol as docs/format.md has it: sizes and groups in order, signs told."""
  counts = [0] * (groups[-1] + 1)
  for i, (size, group) in enumerate(zip(sizes, groups)):
    pattern = 2 * (i * 2654435769 % 2**32 // 2**25) + 1
    last = min(group // 96 * 96 + 96, len(counts))
    for t in range(min(8, last - group)):
      counts[group + t] += size % 2 * (pattern // 2**t % 2)
  told, symbols, leaders = list(told), list(sizes), {}
  for i, (size, group) in enumerate(zip(sizes, groups)):
    if size and group not in leaders:
      leaders[group] = i
    elif size and told.pop(0):
      symbols[i] = -size
      counts[group] += 1
  for group, i in leaders.items():
    symbols[i] *= (-1) ** counts[group]
  return symbols


def test_signs_are_as_the_format_says():
  rng = np.random.default_rng(1)
  targets, indexes = rng.laplace(0, 1, 700), rng.integers(0, 3, 700)
  _, hidden, groups = _hidden(targets, indexes)
  assert groups[-1] > CHAIN
  (sizes, _, _), (told, _, _) = sign_hiding.parts(hidden, groups, indexes, TABLES)
  assert _signs_by_the_book(sizes.tolist(), told.tolist(), groups.tolist()) == hidden.tolist()


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
def test_symbols_change_by_one_at_most(shape, spread, seed):
  rng = np.random.default_rng(seed)
  targets = rng.laplace(0, spread, shape)
  symbols, hidden, groups = _hidden(targets, rng.integers(0, 3, shape))
  assert np.abs(hidden - symbols).max(initial=0) <= 1
  count = lambda symbols: np.bincount(groups, symbols.ravel() != 0) > 0
  np.testing.assert_array_equal(count(hidden), count(symbols))
  again = sign_hiding.hide_signs(hidden, groups, targets, _squares(np.abs(targets)))
  np.testing.assert_array_equal(again, hidden)


def test_groups_have_as_many_nonzeros_as_their_tables_say():
  groups = sign_hiding.group_numbers(np.full(160, ALWAYS), TABLES)
  assert np.bincount(groups).mean() * 15 / 16 == pytest.approx(GROUP_NONZEROS, abs=0.1)
  groups = sign_hiding.group_numbers(np.full(int(16 * GROUP_NONZEROS) - 1, SELDOM), TABLES)
  assert (groups == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_one_group_changes_what_is_cheapest(seed):
  """Against all ways to change one symbol by one that leave something to tell."""
  rng = np.random.default_rng(seed)
  targets, weights = rng.laplace(0, 1.5, 12), rng.uniform(0.1, 10, 12)
  indexes = np.full(targets.size, SELDOM)
  symbols, hidden, groups = _hidden(targets, indexes, weights)
  assert (groups == 0).all()

  def tells(symbols):
    return symbols.any() and (_coded(symbols, indexes)[0] == symbols).all()

  if tells(symbols):
    np.testing.assert_array_equal(hidden, symbols)
    return
  ways = [symbols + change * (np.arange(12) == i) for i in range(12) for change in (-1, 1)]
  cost = lambda symbols: np.sum(weights * (targets - symbols) ** 2)
  assert tells(hidden)
  assert cost(hidden) == pytest.approx(min(cost(way) for way in ways if tells(way)))


def test_many_groups_find_cheaper_changes_than_each_for_itself():
  targets = np.random.default_rng(0).laplace(0, 1, 5000)
  indexes = np.full(targets.size, 1)
  symbols, hidden, groups = _hidden(targets, indexes)
  errors = np.abs(targets - symbols)
  rises = (1 - errors) ** 2 - errors**2  # of the next best symbol
  alone = np.array([rises[groups == group].min() for group in range(groups[-1] + 1)])
  rise = np.sum((targets - hidden) ** 2 - (targets - symbols) ** 2)
  assert rise < 0.65 * alone.sum() / 2  # every second check is wrong by chance


def test_a_symbol_keeps_its_sign_where_its_target_has_the_other():
  indexes = np.full(3, SELDOM)
  symbols, targets = np.array([2, -2, 2], np.int32), np.array([2.0, 0.4, 2.0])
  groups = sign_hiding.group_numbers(indexes, TABLES)
  hidden = sign_hiding.hide_signs(symbols, groups, targets, _squares(np.array([2.0, -0.4, 2.0])))
  np.testing.assert_array_equal(hidden, [2, -1, 2])


def test_zeros_hide_nothing():
  zeros, hidden, _ = _hidden(np.full(50, 0.4), np.full(50, ALWAYS))
  np.testing.assert_array_equal(hidden, zeros)
  assert _coded(hidden, np.full(50, ALWAYS))[1] == 0


def test_a_magnitude_below_zero_is_an_error():
  section = rans.encode(np.array([-1]), np.array([0]), TABLES)
  with pytest.raises(BitstreamError, match="magnitude -1"):
    sign_hiding.decode(rans.Decoder(section), np.array([0]), TABLES)
