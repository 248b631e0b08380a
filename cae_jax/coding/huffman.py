"""Canonical Huffman coding of many symbols at once, in interleaved lanes.

A prefix code can only be read one symbol after the other, so the symbols are dealt to lanes like
cards: symbol i (in coding order) goes to lane i mod K. Each lane is one run of bits, and the
decoder takes a step in all lanes at once. A directory of the lanes' sizes costs some 9 bits a lane.
See docs/format.md.
"""

import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.prefix_code import MAX_CODE_BITS, lookup_table, prefix_code
from cae_jax.coding.symbols import (
  TableOrder,
  escape_positions,
  join_section,
  order_by_table,
  slots_to_symbols,
  split_section,
  symbols_to_slots,
)
from cae_jax.coding.tables import CodingTables
from cae_jax.coding.varint import ByteReader, write_varint

_MAX_SIZE_BITS = 32  # of a lane's entry in the directory
_MAX_ROWS = 1 << 14  # symbols of a lane, so that no file takes long to read


def encode(symbols: np.ndarray, indexes: np.ndarray, tables: CodingTables) -> bytes:
  """Codes symbols by Huffman's codes.

  Args:
    symbols: integers of int32's range, any shape.
    indexes: integers in [0, T), same shape: the table of each symbol.
    tables: T tables; their frequencies define the codes.
  Returns:
    The section: escapes, lanes, bits.
  Raises:
    ValueError: shapes differ, or a symbol is outside its table and there is no escape.
  """
  order = order_by_table(indexes, tables)
  slots, codes = symbols_to_slots(symbols, order, tables)
  code = prefix_code(tables)
  flat = order.spread(np.arange(len(tables)) * code.lengths.shape[1]) + slots
  flat = flat[_needs_bits(order, tables)]
  lengths, words = code.lengths.take(flat), code.codes.take(flat)
  lanes = _lane_count(flat.size, int(lengths.sum(dtype=np.int64)))
  lengths, words = _deal(lengths, lanes), _deal(words, lanes)
  sizes = lengths.sum(axis=1, dtype=np.int64)
  body = write_varint(lanes) + _write_directory(sizes) + _pack(words.ravel(), lengths.ravel())
  return join_section(codes, body)


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
  order = order_by_table(indexes, tables)
  codes, reader = split_section(data, "huffman")
  slots, coded = np.zeros(order.order.size, np.int32), _needs_bits(order, tables)
  slots[coded] = _decode_body(reader, order.spread(np.arange(len(tables)))[coded], tables)
  expected = escape_positions(slots, order, tables).size
  if expected != codes.size:
    raise BitstreamError(
      "escapes", 0, f"{codes.size} escaped values, the symbols call for {expected}"
    )
  return slots_to_symbols(slots, codes, order, tables)


def _needs_bits(order: TableOrder, tables: CodingTables) -> np.ndarray | slice:
  """Which symbols, in coding order, have codes: those of tables with two slots or more."""
  several = tables.lengths > 1
  return slice(None) if several.all() else order.spread(several)


def _lane_count(symbols: int, bits: int) -> int:
  """Many lanes are fast, each costs some 9 bits: under 0.1 %, or a few bytes if that is more.

  As bits >= symbols, no lane gets more than 12,000 symbols.
  """
  return max(1, min(symbols // 1024, bits // 12_000 + 7))


def _deal(values: np.ndarray, lanes: int) -> np.ndarray:
  """[N] -> [lanes, rows], value i to lane i mod lanes, zero-padded at the end."""
  rows = -(-values.size // lanes)
  padded = np.zeros(rows * lanes, values.dtype)
  padded[: values.size] = values
  return np.ascontiguousarray(padded.reshape(rows, lanes).T)


def _pack(words: np.ndarray, lengths: np.ndarray) -> bytes:
  """Concatenates the low `lengths` bits of `words`, most significant bit first."""
  ends = np.cumsum(lengths, dtype=np.int64)
  bits = int(ends[-1]) if ends.size else 0
  starts = ends - lengths
  shifts = (32 - lengths - (starts & 15)).astype(np.uint32)
  # Of 32 bits at a 16-bit boundary each code fills some; codes never overlap, so sums are unions.
  # The empty codes that pad the lanes have the word 0, but a shift of 32 would be undefined.
  pairs = words << np.minimum(shifts, 31)
  first = starts >> 4
  size = bits // 16 + 2
  packed = np.bincount(first, pairs >> 16, size) + np.bincount(first + 1, pairs & 0xFFFF, size)
  return packed.astype(">u2").tobytes()[: -(-bits // 8)]


def _write_directory(sizes: np.ndarray) -> bytes:
  """Sizes in bits of all lanes but the last: smallest, width, then the excesses in `width` bits."""
  sizes = sizes[:-1]
  if not sizes.size:
    return b""
  excess = (sizes - sizes.min()).astype(np.uint32)
  width = int(excess.max()).bit_length()
  bits = excess[:, None] >> np.arange(width - 1, -1, -1, dtype=np.uint32) & 1
  return write_varint(int(sizes.min())) + bytes([width]) + np.packbits(bits.astype(bool)).tobytes()


def _read_directory(reader: ByteReader, lanes: int) -> np.ndarray:
  """[lanes] int64: the bit at which each lane starts."""
  starts = np.zeros(lanes, np.int64)
  if lanes == 1:
    return starts
  smallest = reader.varint(1 << _MAX_SIZE_BITS, "smallest lane")
  width = reader.read(1, "width of lane sizes")[0]
  if width > _MAX_SIZE_BITS:
    raise reader.fail(f"lane sizes of {width} bits, at most {_MAX_SIZE_BITS} are possible")
  packed = reader.read(-(-(lanes - 1) * width // 8), "lane sizes")
  bits = np.unpackbits(np.frombuffer(packed, np.uint8))
  if bits[(lanes - 1) * width :].any():
    raise reader.fail("padding of the lane sizes is not zero", reader.position - 1)
  grid = bits[: (lanes - 1) * width].reshape(lanes - 1, width).astype(np.int64)
  excess = grid @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))
  if excess.min() or int(excess.max()).bit_length() != width:
    raise reader.fail("the lane sizes are not in their shortest form")
  np.cumsum(smallest + excess, out=starts[1:])
  return starts


def _decode_body(reader: ByteReader, rows: np.ndarray, tables: CodingTables) -> np.ndarray:
  """[N] slots in coding order; `rows` [N] holds the table of each."""
  lanes = reader.varint(max(1, rows.size), "number of lanes")
  if rows.size > lanes * _MAX_ROWS or not lanes:
    raise reader.fail(f"{lanes} lanes for {rows.size} symbols, at most {_MAX_ROWS} fit one")
  starts = _read_directory(reader, lanes)
  first_byte, payload = reader.position, reader.rest()
  bits = 8 * len(payload)
  if starts[-1] > bits or bits >= MAX_CODE_BITS * rows.size + 8:
    raise reader.fail(f"{bits} bits for {rows.size} symbols in {lanes} lanes", first_byte)
  entries, ends = _walk(_windows(payload, tables), starts, rows, tables)
  wrong = np.flatnonzero(ends[:-1] != starts[1:])
  if wrong.size:
    offset = first_byte + int(starts[wrong[0]]) // 8
    raise reader.fail(f"lane {wrong[0]} does not end where the next one starts", offset)
  end, padding = int(ends[-1]), bits - int(ends[-1])
  if not 0 <= padding < 8 or (padding and payload[-1] & ((1 << padding) - 1)):
    raise reader.fail(f"the last lane ends at bit {end} of {bits}", first_byte + len(payload))
  return entries >> 5


def _windows(payload: bytes, tables: CodingTables) -> np.ndarray:
  """[8 * bytes + 1] uint16: the next `width` bits from every bit position, zeros past the end."""
  width = prefix_code(tables).width
  octets = np.zeros(len(payload) + 3, np.uint32)
  octets[: len(payload)] = np.frombuffer(payload, np.uint8)
  triples = octets[:-2] << 16 | octets[1:-1] << 8 | octets[2:]
  windows = np.empty((triples.size, 8), np.uint16)
  for shift in range(8):
    windows[:, shift] = (triples >> (24 - width - shift)) & ((1 << width) - 1)
  return windows.reshape(-1)


def _walk(
  windows: np.ndarray, starts: np.ndarray, rows: np.ndarray, tables: CodingTables
) -> tuple[np.ndarray, np.ndarray]:
  """Steps through all lanes at once.

  Returns:
    ([N] lookup entries, [lanes] the bit at which each lane ended); zeros are read past the end.
  """
  lookup, lanes = lookup_table(tables), starts.size
  bases = rows << prefix_code(tables).width
  entries = np.empty(rows.size, lookup.dtype)
  ends = positions = starts.copy()
  bits, keys = np.empty(lanes, windows.dtype), np.empty(lanes, np.int64)
  for begin in range(0, rows.size, lanes):
    base, entry = bases[begin : begin + lanes], entries[begin : begin + lanes]
    if entry.size < lanes:  # the last row
      positions, bits, keys = positions[: entry.size], bits[: entry.size], keys[: entry.size]
    windows.take(positions, out=bits, mode="clip")
    np.add(base, bits, out=keys)
    lookup.take(keys, out=entry, mode="clip")
    np.add(positions, entry & 31, out=positions)
  return entries, ends
