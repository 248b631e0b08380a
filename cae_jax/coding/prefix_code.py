"""Optimal length-limited prefix codes in canonical form."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cae_jax.coding.tables import CodingTables

MAX_CODE_BITS = 16
_MAX_LOOKUP_ENTRIES = 1 << 26


@dataclass(frozen=True)
class PrefixCode:
  """Canonical codes of T tables.

  Attributes:
    lengths: [T, L] uint8 bits of each slot's code, 0 beyond a table's slots (and for a lone slot).
    codes: [T, L] uint32, right-aligned.
    width: bits of the longest code.
  """

  lengths: np.ndarray
  codes: np.ndarray
  width: int


def code_lengths(frequencies: np.ndarray, max_bits: int = MAX_CODE_BITS) -> np.ndarray:
  """Finds the lengths of an optimal prefix code of at most `max_bits`, by package-merge.

  Larmore and Hirschberg 1990, "A fast algorithm for optimal length-limited Huffman codes". Equal
  frequencies are taken in the order of their index, symbols before packages.

  Args:
    frequencies: [L] integers >= 1, L <= 2^max_bits.
    max_bits: the limit.
  Returns:
    [L] uint8, with sum(2^-lengths) == 1; a lone symbol gets 0 bits.
  """
  count = len(frequencies)
  if count > 1 << max_bits:
    raise ValueError(f"{count} symbols do not fit codes of {max_bits} bits")
  ascending = np.argsort(frequencies, kind="stable")
  weights = np.asarray(frequencies, np.int64)[ascending]
  is_symbol = []  # per level, from the deepest up: which items of the sorted list are symbols
  packages = weights[:0]
  for _ in range(max_bits):
    items = np.concatenate([weights, packages])
    merged = np.argsort(items, kind="stable")
    is_symbol.append(merged < count)
    items = items[merged]
    packages = items[: items.size // 2 * 2].reshape(-1, 2).sum(axis=1)
  lengths = np.zeros(count, np.uint8)
  taken = 2 * (count - 1)
  for level in reversed(is_symbol):
    symbols = int(np.count_nonzero(level[:taken]))
    lengths[ascending[:symbols]] += 1
    taken = 2 * (taken - symbols)
  return lengths


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
  """Gives out codes by length and then by index: [L] uint32, right-aligned."""
  order = np.argsort(lengths, kind="stable")
  widths = lengths[order].astype(np.int64)
  spans = 1 << (MAX_CODE_BITS - widths)
  codes = np.empty(len(lengths), np.uint32)
  codes[order] = (np.cumsum(spans) - spans) >> (MAX_CODE_BITS - widths)
  return codes


@lru_cache(maxsize=16)
def prefix_code(tables: CodingTables) -> PrefixCode:
  """Returns the codes of all tables, built once per content."""
  shape = tables.frequencies.shape
  lengths, codes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint32)
  for t, count in enumerate(tables.lengths):
    lengths[t, :count] = code_lengths(tables.frequencies[t, :count])
    codes[t, :count] = canonical_codes(lengths[t, :count])
  return PrefixCode(lengths, codes, int(lengths.max()))


@lru_cache(maxsize=4)
def lookup_table(tables: CodingTables) -> np.ndarray:
  """Lists slot << 5 | code length for any next `width` bits: int32 [T * 2^width]."""
  code = prefix_code(tables)
  if len(tables) << code.width > _MAX_LOOKUP_ENTRIES:
    raise ValueError(
      f"{len(tables)} tables with codes of {code.width} bits need more than {_MAX_LOOKUP_ENTRIES}"
      " lookup entries; use the rANS coder"
    )
  lookup = np.empty((len(tables), 1 << code.width), np.int32)
  for row, lengths, count in zip(lookup, code.lengths, tables.lengths):
    order = np.argsort(lengths[:count], kind="stable")
    widths = lengths[order].astype(np.int32)
    row[:] = np.repeat(order.astype(np.int32) << 5 | widths, 1 << (code.width - widths))
  return lookup.reshape(-1)
