"""Huffman coding: optimal lengths, the documented bits, and errors for every other stream."""

import constriction
import numpy as np
import pytest

from cae_jax.coding import (
  BitstreamError,
  huffman,
  information_bits,
  tables_from_counts,
  tables_from_frequencies,
  tables_from_pmfs,
)
from cae_jax.coding.prefix_code import canonical_codes, code_lengths, prefix_code


def unlimited_cost(frequencies):
  """Total bits under constriction's Huffman tree, which knows no limit of length."""
  tree = constriction.symbol.huffman.EncoderHuffmanTree(np.asarray(frequencies, np.float64))
  total = 0
  for symbol, frequency in enumerate(frequencies):
    coder = constriction.symbol.QueueEncoder()
    coder.encode_symbol(symbol, tree)
    total += int(frequency) * coder.get_compressed()[1]
  return total


def reference_decode(data, indexes, tables, lanes):
  """Bit by bit from the document: one lane, or lanes whose sizes the caller has checked."""
  code = prefix_code(tables)
  bits = "".join(f"{byte:08b}" for byte in data)
  order = np.argsort(indexes, kind="stable")
  queues = [order[lane::lanes] for lane in range(lanes)]
  symbols = np.zeros(len(indexes), int)
  for i in np.concatenate(queues):
    t = indexes[i]
    words = {f"{code.codes[t, s]:0{code.lengths[t, s]}b}": s for s in range(int(tables.lengths[t]))}
    size = next(n for n in range(1, 17) if bits[:n] in words)
    symbols[i] = words[bits[:size]] + tables.offsets[t]
    bits = bits[size:]
  assert set(bits) <= {"0"}
  assert len(bits) < 8
  return symbols


def skewed_tables(count=8, size=32):
  rng = np.random.default_rng(0)
  return tables_from_pmfs(list(rng.dirichlet(np.full(size, 0.3), count)), [-size // 2] * count)


def sample(tables, count, seed=0):
  rng = np.random.default_rng(seed)
  indexes = rng.integers(0, len(tables), count)
  targets = rng.integers(0, 1 << tables.precision, count)
  slots = np.sum(tables.cdf[indexes, 1:] <= targets[:, None], axis=1)
  return slots + tables.offsets[indexes], indexes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [2, 3, 17, 200])
def test_lengths_cost_as_much_as_an_unlimited_tree(seed, size):
  frequencies = np.random.default_rng(seed).integers(1, 500, size)
  lengths = code_lengths(frequencies)
  assert np.sum(frequencies * lengths) == unlimited_cost(frequencies)


def test_lengths_at_the_limit():
  fibonacci = np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55])
  assert code_lengths(fibonacci).max() == 9
  limited = code_lengths(fibonacci, max_bits=5)
  assert limited.max() == 5
  assert np.sum(32 >> limited) == 32
  assert np.sum(fibonacci * limited) == best_limited_cost(fibonacci, 5)


def best_limited_cost(frequencies, max_bits):
  """Exhaustive search over the numbers of codes of each length."""
  descending = sorted(map(int, frequencies), reverse=True)

  def search(length, first, budget):
    left = len(descending) - first
    if left == 0:
      return 0 if budget == 0 else np.inf
    if length > max_bits or budget <= 0:
      return np.inf
    span = 1 << (max_bits - length)
    return min(
      length * sum(descending[first : first + n]) + search(length + 1, first + n, budget - n * span)
      for n in range(left + 1)
    )

  return search(1, 0, 1 << max_bits)


def test_every_code_of_a_full_alphabet_has_the_maximum_length():
  np.testing.assert_array_equal(code_lengths(np.arange(1, 257), max_bits=8), np.full(256, 8))
  with pytest.raises(ValueError, match="257 symbols do not fit codes of 8 bits"):
    code_lengths(np.ones(257, int), max_bits=8)


def test_codes_are_canonical():
  np.testing.assert_array_equal(canonical_codes(np.array([2, 1, 3, 3], np.uint8)), [2, 0, 6, 7])


def test_one_lane_is_read_by_the_reference():
  tables = skewed_tables()
  symbols, indexes = sample(tables, 500)
  data = huffman.encode(symbols, indexes, tables)
  assert data[0] == 0  # no escapes
  assert data[1] == 1  # one lane
  np.testing.assert_array_equal(reference_decode(data[2:], indexes, tables, 1), symbols)


def test_lanes_are_read_by_the_reference():
  tables = skewed_tables()
  symbols, indexes = sample(tables, 3100)
  data = huffman.encode(symbols, indexes, tables)
  assert data[1] == 3
  body = data[2 + 2 + 1 :]  # the smallest size is a varint of 2 bytes, the width of sizes has one
  directory = -(-2 * data[4] // 8)
  np.testing.assert_array_equal(reference_decode(body[directory:], indexes, tables, 3), symbols)


@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 2047, 2048, 5000, 20_001])
def test_round_trip_of_any_count(count):
  tables = skewed_tables()
  symbols, indexes = sample(tables, count)
  decoded = huffman.decode(huffman.encode(symbols, indexes, tables), indexes, tables)
  assert decoded.dtype == np.int32
  np.testing.assert_array_equal(decoded, symbols)


def test_shape_is_that_of_the_indexes():
  tables = tables_from_counts(np.ones((3, 4)))
  symbols = np.arange(4 * 5 * 3).reshape(4, 5, 3) % 4
  indexes = np.broadcast_to(np.arange(3), symbols.shape)
  decoded = huffman.decode(huffman.encode(symbols, indexes, tables), indexes, tables)
  np.testing.assert_array_equal(decoded, symbols)


def test_uniform_tables_cost_exactly_their_bits():
  tables = tables_from_counts(np.ones((2, 256)))
  symbols = np.arange(1000) % 256
  data = huffman.encode(symbols, symbols % 2, tables)
  assert len(data) == 1000 + 2


@pytest.mark.parametrize("count", [30_000, 300_000])
def test_lanes_cost_less_than_a_thousandth_or_a_few_bytes(count):
  tables = tables_from_pmfs([[0.7, 0.2, 0.07, 0.03], [0.25] * 4], [0, 0], escape=False)
  rng = np.random.default_rng(0)
  indexes = rng.integers(0, 2, count)
  symbols = np.where(
    indexes, rng.integers(0, 4, count), rng.choice(4, count, p=[0.7, 0.2, 0.07, 0.03])
  )
  bits = int(prefix_code(tables).lengths[indexes, symbols].sum())
  assert len(huffman.encode(symbols, indexes, tables)) <= bits / 8 * 1.001 + 12


def test_redundancy_of_paper_like_latents_is_small():
  rng = np.random.default_rng(0)
  symbols = np.clip(np.round(rng.normal(128, [5, 10, 20, 40], (5000, 4))), 0, 255).astype(int)
  indexes = np.broadcast_to(np.arange(4), symbols.shape)
  counts = [np.bincount(column, minlength=256) for column in symbols.T]
  tables = tables_from_counts(np.array(counts))
  size_bits = 8 * len(huffman.encode(symbols, indexes, tables))
  ideal_bits = information_bits(symbols, indexes, tables)
  assert ideal_bits < size_bits < 1.02 * ideal_bits


def test_lone_symbols_need_no_bits():
  tables = tables_from_frequencies([[16], [8, 8]], [42, 0], 4, False)
  indexes = np.array([0] * 50_000 + [1, 0, 1])
  symbols = np.where(indexes, 1, 42)
  data = huffman.encode(symbols, indexes, tables)
  assert len(data) == 3
  np.testing.assert_array_equal(huffman.decode(data, indexes, tables), symbols)


EXAMPLE_TABLES = tables_from_frequencies([[2, 9, 4, 1], [8, 4, 2, 2]], [-1, 10], 4, True)
EXAMPLE_INDEXES = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1, 1])


@pytest.mark.parametrize(
  ("data", "section", "message"),
  [
    ("", "escapes", "size of the escapes needs 1 bytes"),
    ("04 06 be 04", "escapes", "escapes needs 4 bytes, 3 are left"),
    ("03 06 be 84 01 4c e9 c0", "escapes", "last varint is cut off"),
    ("04 06 be 84 00 01 4c e9 c0", "escapes", "not in its shortest form"),
    ("02 be 04 01 4c e9 c0", "escapes", "1 escaped values, the symbols call for 2"),
    ("06 06 ff ff ff ff 7f 01 4c e9 c0", "escapes", "does not fit 32 bits"),
    ("03 06 be 04", "huffman", "number of lanes needs 1 bytes"),
    ("03 06 be 04 00 4c e9 c0", "huffman", "0 lanes for 10 symbols"),
    ("03 06 be 04 0b 4c e9 c0", "huffman", "number of lanes is 11 or more, at most 10"),
    ("03 06 be 04 01 4c e9", "huffman", "the last lane ends at bit 1[67] of 16"),
    ("03 06 be 04 01 4c e9 c1", "huffman", "the last lane ends at bit 18 of 24"),
    ("03 06 be 04 01 4c e9 c0 00", "huffman", "the last lane ends at bit 18 of 32"),
    ("03 06 be 04 01" + " 4c" * 21, "huffman", "168 bits for 10 symbols"),
    ("03 06 be 04 02 09 21 4c e9 c0", "huffman", "lane sizes of 33 bits"),
    ("03 06 be 04 02 7f 00 4c e9 c0", "huffman", "24 bits for 10 symbols in 2 lanes"),
    ("03 06 be 04 02 07 01 80 4c e9 c0", "huffman", "not in their shortest form"),
    ("03 06 be 04 03 07 01 c0 4c e9 c0", "huffman", "not in their shortest form"),
    ("03 06 be 04 03 07 01 81 4c e9 c0", "huffman", "padding of the lane sizes"),
    ("03 06 be 04 02 09 00 4c e9 c0", "huffman", "lane 0 does not end where"),
  ],
)
def test_decode_rejects(data, section, message):
  with pytest.raises(BitstreamError, match=message) as error:
    huffman.decode(bytes.fromhex(data), EXAMPLE_INDEXES, EXAMPLE_TABLES)
  assert error.value.section == section
  assert 0 <= error.value.offset <= len(bytes.fromhex(data))


def test_too_few_lanes_are_rejected_without_reading_them():
  tables = tables_from_frequencies([[8, 8]], [0], 4, False)
  indexes = np.zeros(100_000, int)
  with pytest.raises(BitstreamError, match="1 lanes for 100000 symbols, at most 16384 fit one"):
    huffman.decode(b"\0\1" + bytes(12_500), indexes, tables)


def test_encode_rejects_what_has_no_code():
  tables = tables_from_counts(np.ones((2, 4)))
  with pytest.raises(ValueError, match="symbol 4 at 1 is outside its table"):
    huffman.encode(np.array([3, 4]), np.array([0, 1]), tables)
  with pytest.raises(ValueError, match="table indexes span \\[0, 2\\], tables are 2"):
    huffman.encode(np.array([3, 3]), np.array([0, 2]), tables)
  with pytest.raises(ValueError, match="of the indexes' shape"):
    huffman.encode(np.array([3]), np.array([0, 1]), tables)
  with pytest.raises(ValueError, match="integer symbols"):
    huffman.encode(np.array([3.0]), np.array([0]), tables)
  with pytest.raises(ValueError, match="integer table indexes"):
    huffman.encode(np.array([3]), np.array([0.0]), tables)
