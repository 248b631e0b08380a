"""Integer tables: exact sums, near-optimal frequencies, strict validation."""

import numpy as np
import pytest

from cae_jax.coding import (
  CodingTables,
  information_bits,
  quantize_pmf,
  tables_from_counts,
  tables_from_frequencies,
  tables_from_pmfs,
)


def cost(pmf, frequencies):
  return -np.sum(pmf * np.log2(frequencies))


def all_compositions(total, parts):
  if parts == 1:
    return [(total,)]
  return [
    (first, *rest)
    for first in range(1, total - parts + 2)
    for rest in all_compositions(total - first, parts - 1)
  ]


def test_quantize_pmf_is_exact_for_representable_probabilities():
  np.testing.assert_array_equal(quantize_pmf([0.5, 0.25, 0.125, 0.125], 8), [128, 64, 32, 32])


@pytest.mark.parametrize("seed", range(8))
def test_quantize_pmf_is_the_optimum_of_all_compositions(seed):
  pmf = np.random.default_rng(seed).dirichlet(np.full(4, 0.3))
  best = min(cost(pmf, candidate) for candidate in all_compositions(16, 4))
  assert cost(pmf, quantize_pmf(pmf, 4)) == pytest.approx(best, rel=1e-12)


def test_quantize_pmf_breaks_ties_by_index():
  np.testing.assert_array_equal(quantize_pmf([1.0, 1.0, 1.0], 3), [3, 3, 2])


def test_quantize_pmf_keeps_impossible_symbols_codable():
  np.testing.assert_array_equal(quantize_pmf([0.0, 1.0, 0.0], 10), [1, 1022, 1])


def test_quantize_pmf_maps_over_leading_axes():
  pmf = np.random.default_rng(0).random((2, 3, 5))
  frequencies = quantize_pmf(pmf, 12)
  assert frequencies.shape == (2, 3, 5)
  np.testing.assert_array_equal(frequencies[1, 2], quantize_pmf(pmf[1, 2], 12))


def test_quantize_pmf_loses_little_on_a_gaussian():
  x = np.arange(-120, 121)
  pmf = np.exp(-0.5 * (x / 40) ** 2)
  pmf /= pmf.sum()
  frequencies = quantize_pmf(pmf, 16)
  loss = np.sum(pmf * np.log2(pmf * 65536 / frequencies))
  assert 0 <= loss < 1e-4


@pytest.mark.parametrize(
  ("pmf", "message"),
  [
    ([0.5, -0.5], "finite probabilities >= 0"),
    ([0.5, np.nan], "finite probabilities >= 0"),
    ([0.0, 0.0], "expected a finite sum > 0"),
    (np.ones(17), "1 <= L <= 2\\^4"),
    ([], "1 <= L <= 2\\^4"),
  ],
)
def test_quantize_pmf_rejects(pmf, message):
  with pytest.raises(ValueError, match=message):
    quantize_pmf(pmf, 4)


def test_escape_gets_the_missing_mass():
  tables = tables_from_pmfs([[0.25, 0.5], [0.5, 0.25, 0.125]], [-3, 7], precision=3)
  assert tables.has_escape
  np.testing.assert_array_equal(tables.lengths, [3, 4])
  np.testing.assert_array_equal(tables.frequencies, [[2, 4, 2, 0], [4, 2, 1, 1]])


def test_tables_from_counts_smooths_and_orders():
  tables = tables_from_counts([[0, 3, 0, 0], [1, 1, 1, 1]], precision=10, smoothing=1.0)
  assert not tables.has_escape
  np.testing.assert_array_equal(tables.frequencies, [[146, 586, 146, 146], [256] * 4])


def test_tables_from_counts_rejects_negative_counts():
  with pytest.raises(ValueError, match="counts \\[T, L\\] >= 0"):
    tables_from_counts([[1, -1]])


def test_round_trip_through_arrays_and_equality():
  tables = tables_from_pmfs([[0.5, 0.2], [1.0]], [0, -5])
  again = CodingTables.from_arrays(tables.to_arrays())
  assert again == tables
  assert hash(again) == hash(tables)
  assert again.digest == tables.digest
  other = tables_from_pmfs([[0.5, 0.2], [1.0]], [0, -4])
  assert other != tables


def test_digest_is_the_same_on_every_machine():
  tables = tables_from_frequencies([[2, 9, 4, 1], [8, 4, 2, 2]], [-1, 10], 4, True)
  assert tables.digest.hex().startswith("c945b696513e1756")


def test_tables_are_immutable():
  tables = tables_from_pmfs([[0.5, 0.5]], [0])
  with pytest.raises(ValueError, match="read-only"):
    tables.cdf[0, 0] = 1
  with pytest.raises(ValueError, match="read-only"):
    tables.frequencies[0, 0] = 1


def test_tables_do_not_share_memory_with_their_source():
  cdf = np.array([[0, 8, 16]], np.uint32)
  tables = CodingTables(cdf, np.array([2]), np.array([0]), 4, False)
  cdf[0, 1] = 3
  assert tables.cdf[0, 1] == 8


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"cdf": [[0, 8, 8, 16]]}, "rise by 1 or more"),
    ({"cdf": [[0, 8, 4, 16]]}, "rise by 1 or more"),
    ({"cdf": [[0, 4, 8, 15]]}, "end at 2\\^4"),
    ({"cdf": [[1, 4, 8, 16]]}, "start at 0"),
    ({"cdf": [[0.0, 4, 8, 16]]}, "cdf: expected 2-d integers"),
    ({"cdf": [[0, -4, 8, 16]]}, "cdf: values do not fit uint32"),
    ({"lengths": [2]}, "lengths must be"),
    ({"lengths": [4]}, "lengths must be"),
    ({"lengths": [3, 3]}, "as many rows, lengths and offsets"),
    ({"offsets": [1 << 31]}, "offsets: values do not fit int32"),
    ({"offsets": [(1 << 31) - 2]}, "must not exceed 2\\^31"),
    ({"settings": [25, 0]}, "precision is 25"),
    ({"settings": [4, 2]}, "expected settings"),
  ],
)
def test_from_arrays_rejects(change, message):
  arrays = {"cdf": [[0, 4, 8, 16]], "lengths": [3], "offsets": [0], "settings": [4, 0]}
  CodingTables.from_arrays(arrays)
  with pytest.raises(ValueError, match=message):
    CodingTables.from_arrays(arrays | change)


def test_from_arrays_names_what_is_missing():
  with pytest.raises(ValueError, match="lack the arrays \\['cdf', 'settings'\\]"):
    CodingTables.from_arrays({"lengths": [1], "offsets": [0]})


def test_information_bits_of_known_costs():
  tables = tables_from_frequencies([[8, 4, 2, 2]], [0], 4, True)
  zeros = np.zeros(4, int)
  assert information_bits(np.array([0, 1, 2, 0]), zeros, tables) == 1 + 2 + 3 + 1
  assert information_bits(np.array([0, 1, 2, 3]), zeros, tables) == 1 + 2 + 3 + 3 + 8
  assert information_bits(np.zeros(0, int), np.zeros(0, int), tables) == 0
