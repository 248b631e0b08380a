"""rANS coding by table: constriction's AnsCoder, driven by exact integer frequencies.

docs/format.md defines the stream; a reference coder in the tests gives the same bytes.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import constriction
import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.symbols import (
  TableOrder,
  escape_positions,
  join_section,
  order_by_table,
  slots_to_symbols,
  split_section,
  symbols_to_slots,
)
from cae_jax.coding.tables import MAX_PRECISION, CodingTables
from cae_jax.coding.varint import ByteReader

AnsCoder: Any = constriction.stream.stack.AnsCoder
Categorical: Any = constriction.stream.model.Categorical
Part = tuple[np.ndarray, np.ndarray, CodingTables]


def encode(symbols: np.ndarray, indexes: np.ndarray, tables: CodingTables) -> bytes:
  """Codes symbols by rANS.

  Args:
    symbols: integers of int32's range, any shape.
    indexes: integers in [0, T), same shape: the table of each symbol.
    tables: T tables.
  Returns:
    The section: escapes, then the stream.
  Raises:
    ValueError: shapes differ, or a symbol is outside its table and there is no escape.
  """
  return encode_parts([(symbols, indexes, tables)])


def decode(data: bytes, indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
  """Decodes a section: the inverse of `encode`.

  Args:
    data: the section.
    indexes: integers in [0, T), any shape, as when coding.
    tables: as when coding.
  Returns:
    int32 of the indexes' shape.
  Raises:
    BitstreamError: the section is damaged, or bits are missing or left over.
    ValueError: the indexes are not integers in [0, T).
  """
  decoder = Decoder(data)
  symbols = decoder.decode(indexes, tables)
  decoder.finish()
  return symbols


def encode_parts(parts: Sequence[Part]) -> bytes:
  """Codes several arrays into one section, to be decoded one after the other by `Decoder`.

  For context models: the indexes of a later part may depend on the symbols of the earlier ones.
  One section for all saves the length and the unused bits at the end of each.

  Args:
    parts: (symbols, indexes, tables) of each, in the order of decoding.
  Returns:
    The section.
  """
  orders = [order_by_table(indexes, tables) for _, indexes, tables in parts]
  coded = [symbols_to_slots(part[0], order, part[2]) for part, order in zip(parts, orders)]
  coder = AnsCoder()
  for (_, _, tables), order, (slots, _) in reversed(list(zip(parts, orders, coded))):
    _push(coder, slots, order, tables)
  codes = [codes for _, codes in coded]
  return join_section(np.concatenate([np.empty(0, np.int64), *codes]), _to_bytes(coder))


class Decoder:
  """Decodes a section part by part.

  A section accepted by `finish` is the very one that `encode_parts` makes of the symbols returned.
  Where bits are missing, that may be symbols which were never sent: only a checksum tells.
  """

  def __init__(self, data: bytes):
    """Reads the section's frame; raises BitstreamError if `data` cannot be a section."""
    self._codes, reader = split_section(data, "rans")
    self._body_offset = reader.position
    self._coder = _from_bytes(reader)
    self._codes_read = 0

  def decode(self, indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
    """Returns the next part, int32 of the shape of `indexes`; raises BitstreamError."""
    order = order_by_table(indexes, tables)
    slots = _pop(self._coder, order, tables)
    start = self._codes_read
    self._codes_read += escape_positions(slots, order, tables).size
    if self._codes_read > self._codes.size:
      raise BitstreamError("escapes", self._body_offset, "more escapes than escaped values")
    return slots_to_symbols(slots, self._codes[start : self._codes_read], order, tables)

  def finish(self) -> None:
    """Checks that nothing is left over; raises BitstreamError."""
    if self._codes_read < self._codes.size:
      left = self._codes.size - self._codes_read
      raise BitstreamError("escapes", self._body_offset, f"{left} escaped values are left over")
    if not self._coder.is_empty():
      bits = self._coder.num_valid_bits()
      raise BitstreamError("rans", self._body_offset, f"{bits} bits are left over")


@lru_cache(maxsize=16)
def _models(tables: CodingTables) -> tuple[Any, ...]:
  """One model per table, None where a lone slot needs no bits.

  Of L weights, constriction makes frequencies out of 2^24: 1 for each symbol, and 2^24 - L shared
  in proportion to the weights. The weights here are our frequencies (scaled to 24 bits) less 1,
  which sum to 2^24 - L: the factor is 1.0, all sums are exact, and nothing is rounded.
  """
  scale = 1 << (MAX_PRECISION - tables.precision)
  weights = (tables.frequencies * scale - 1).astype(np.float64)
  return tuple(
    Categorical(row[:length], perfect=False) if length > 1 else None
    for row, length in zip(weights, tables.lengths.tolist())
  )


def _push(coder: Any, slots: np.ndarray, order: TableOrder, tables: CodingTables) -> None:
  models, ends = _models(tables), np.cumsum(order.counts)
  for t in np.flatnonzero(order.counts)[::-1].tolist():
    if models[t] is not None:
      coder.encode_reverse(slots[ends[t] - order.counts[t] : ends[t]], models[t])


def _pop(coder: Any, order: TableOrder, tables: CodingTables) -> np.ndarray:
  """[N] int32 slots in coding order."""
  models, slots, start = _models(tables), np.zeros(order.order.size, np.int32), 0
  used = np.flatnonzero(order.counts)
  for t, count in zip(used.tolist(), order.counts[used].tolist()):
    if models[t] is not None:
      slots[start : start + count] = coder.decode(models[t], count)
    start += count
  return slots


def _to_bytes(coder: Any) -> bytes:
  """The words, little-endian; the zero bytes at the very end are implied."""
  return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def _from_bytes(reader: ByteReader) -> Any:
  body = reader.rest()
  if body.endswith(b"\0"):
    raise reader.fail("the stream ends in a zero byte", reader.position - 1)
  words = np.frombuffer(body + bytes(-len(body) % 4), "<u4").astype(np.uint32)
  return AnsCoder(words)
