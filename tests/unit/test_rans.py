"""rANS coding: the documented stream byte for byte, its cost, and its errors."""

import numpy as np
import pytest

from cae_jax.coding import (
  BitstreamError,
  information_bits,
  rans,
  tables_from_counts,
  tables_from_frequencies,
  tables_from_pmfs,
)


def reference_stream(slots_and_tables, tables):
  """docs/format.md in Python integers: the stream of (slot, table) pairs in coding order."""
  x, stack = 0, []
  for slot, t in reversed(slots_and_tables):
    scale = 1 << (24 - tables.precision)
    frequency = int(tables.frequencies[t, slot]) * scale
    below = int(tables.cdf[t, slot]) * scale
    if x >> 40 >= frequency:
      stack.append(x & 0xFFFFFFFF)
      x >>= 32
    x = (x // frequency << 24) + below + x % frequency
  words = b"".join(word.to_bytes(4, "little") for word in stack)
  return (words + x.to_bytes(8, "little")).rstrip(b"\0")


def gaussian_tables(count=16, precision=16):
  scales = np.geomspace(0.3, 30, count)
  supports = [np.arange(-int(4 * s) - 2, int(4 * s) + 3) for s in scales]
  pmfs = [np.exp(-0.5 * (x / s) ** 2) for x, s in zip(supports, scales)]
  pmfs = [0.9999 * pmf / pmf.sum() for pmf in pmfs]
  return scales, tables_from_pmfs(pmfs, [x[0] for x in supports], precision)


def gaussian_sample(count, seed=0, precision=16):
  rng = np.random.default_rng(seed)
  scales, tables = gaussian_tables(precision=precision)
  indexes = rng.integers(0, len(scales), count)
  return np.round(rng.normal(0, scales[indexes])).astype(np.int32), indexes, tables


@pytest.mark.parametrize("precision", [8, 12, 16, 20, 24])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 1000])
def test_stream_is_the_documented_one(precision, count):
  rng = np.random.default_rng(count)
  tables = tables_from_counts(rng.integers(0, 50, (5, 20)), precision)
  indexes = rng.integers(0, 5, count)
  symbols = rng.integers(0, 20, count)
  order = np.argsort(indexes, kind="stable")
  expected = reference_stream(list(zip(symbols[order], indexes[order])), tables)
  assert rans.encode(symbols, indexes, tables) == b"\0" + expected


def test_models_of_a_large_alphabet_are_exact():
  rng = np.random.default_rng(0)
  tables = tables_from_counts(rng.integers(0, 3, (1, 50_000)), 17)
  symbols = rng.integers(0, 50_000, 300)
  expected = reference_stream([(s, 0) for s in symbols], tables)
  assert rans.encode(symbols, np.zeros(300, int), tables) == b"\0" + expected


@pytest.mark.parametrize("count", [1000, 100_000])
def test_cost_is_the_information_content(count):
  symbols, indexes, tables = gaussian_sample(count)
  size_bits = 8 * len(rans.encode(symbols, indexes, tables))
  ideal_bits = information_bits(symbols, indexes, tables)
  assert ideal_bits - 8 < size_bits < 1.001 * ideal_bits + 8 * 6


@pytest.mark.parametrize("shape", [(0,), (1,), (7, 11), (2, 3, 4, 5)])
def test_round_trip(shape):
  symbols, indexes, tables = gaussian_sample(int(np.prod(shape)))
  symbols, indexes = symbols.reshape(shape), indexes.reshape(shape)
  decoded = rans.decode(rans.encode(symbols, indexes, tables), indexes, tables)
  assert decoded.dtype == np.int32
  np.testing.assert_array_equal(decoded, symbols)


def test_escapes_carry_any_int32():
  _, tables = gaussian_tables()
  symbols = np.array([0, 2**31 - 1, -(2**31), 1, 3, -3, 10_000, -10_000])
  indexes = np.zeros(8, int)
  decoded = rans.decode(rans.encode(symbols, indexes, tables), indexes, tables)
  np.testing.assert_array_equal(decoded, symbols)


def test_lone_symbols_need_no_bits():
  tables = tables_from_frequencies([[16], [8, 8]], [42, 0], 4, False)
  indexes = np.array([0] * 1000)
  data = rans.encode(np.full(1000, 42), indexes, tables)
  assert data == b"\0"
  np.testing.assert_array_equal(rans.decode(data, indexes, tables), np.full(1000, 42))


def test_a_lone_escape_carries_everything():
  tables = tables_from_frequencies([[16]], [5], 4, True)
  symbols = np.array([5, 4, -7, 2**31 - 1])
  indexes = np.zeros(4, int)
  data = rans.encode(symbols, indexes, tables)
  np.testing.assert_array_equal(rans.decode(data, indexes, tables), symbols)


def test_parts_are_decoded_one_after_the_other():
  scales, tables = gaussian_tables()
  uniform = tables_from_counts(np.ones((1, 16)))
  rng = np.random.default_rng(0)
  first = rng.integers(0, 16, (5, 5))
  second = np.round(rng.normal(0, scales[first])).astype(int)
  second[0, 0] = 99_999
  data = rans.encode_parts([(first, np.zeros((5, 5), int), uniform), (second, first, tables)])
  decoder = rans.Decoder(data)
  indexes = decoder.decode(np.zeros((5, 5), int), uniform)
  np.testing.assert_array_equal(indexes, first)
  np.testing.assert_array_equal(decoder.decode(indexes, tables), second)
  decoder.finish()


def test_one_section_of_parts_is_smaller_than_many_sections():
  parts = [gaussian_sample(50, seed) for seed in range(10)]
  assert len(rans.encode_parts(parts)) <= sum(len(rans.encode(*part)) for part in parts) - 30


def test_no_parts_at_all():
  data = rans.encode_parts([])
  assert data == b"\0"
  rans.Decoder(data).finish()


def test_left_over_symbols_are_found():
  tables = tables_from_counts(np.ones((2, 10)))
  indexes = np.arange(1000) % 2
  data = rans.encode(indexes * 5, indexes, tables)
  with pytest.raises(BitstreamError, match="bits are left over") as error:
    rans.decode(data, indexes[:990], tables)
  assert error.value.section == "rans"


@pytest.mark.parametrize(
  ("data", "section", "offset", "message"),
  [
    ("", "escapes", 0, "size of the escapes needs 1 bytes"),
    ("05 06", "escapes", 0, "size of the escapes is 5 or more, at most 2"),
    ("02 06", "escapes", 1, "escapes needs 2 bytes, 1 are left"),
    ("03 06 be 84 00 00 20 ae 7d", "escapes", 4, "last varint is cut off"),
    ("02 be 04 00 00 20 ae 7d", "escapes", 3, "more escapes than escaped values"),
    ("04 06 be 04 01 00 00 20 ae 7d", "escapes", 5, "1 escaped values are left over"),
    ("03 06 be 04 00 00 20 ae 7d 00", "rans", 9, "ends in a zero byte"),
    ("02 ae 04 00 00 20 ae 7d 00 00 00 01", "rans", 3, "bits are left over"),
    ("07 06 80 80 80 80 80 01 7d", "escapes", 2, "a varint is too long"),
  ],
)
def test_decode_rejects(data, section, offset, message):
  tables = tables_from_frequencies([[2, 9, 4, 1], [8, 4, 2, 2]], [-1, 10], 4, True)
  indexes = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1, 1])
  with pytest.raises(BitstreamError, match=message) as error:
    rans.decode(bytes.fromhex(data), indexes, tables)
  assert (error.value.section, error.value.offset) == (section, offset)


def test_encode_rejects_what_has_no_code():
  tables = tables_from_counts(np.ones((2, 4)))
  with pytest.raises(ValueError, match="symbol -1 at 0 is outside its table"):
    rans.encode(np.array([-1, 0]), np.array([0, 1]), tables)
  with pytest.raises(ValueError, match="expected symbols that fit int32"):
    rans.encode(np.array([1 << 31]), np.array([0]), tables)
