"""What both entropy coders share: order of symbols, escapes, and the ideal cost."""

from dataclasses import dataclass

import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.tables import CodingTables
from cae_jax.coding.varint import ByteReader, read_varints, write_varint, write_varints

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class TableOrder:
  """A stable ordering of positions by the table that codes them.

  Attributes:
    order: [N] int64, position of the i-th symbol in coding order.
    counts: [T] int64, symbols of each table.
    shape: of the original array.
  """

  order: np.ndarray
  counts: np.ndarray
  shape: tuple[int, ...]

  def spread(self, per_table: np.ndarray) -> np.ndarray:
    """Gives each symbol its table's value, in coding order: [T] -> [N]."""
    return np.repeat(per_table, self.counts)

  def restore(self, values: np.ndarray) -> np.ndarray:
    """Puts values back: [N] in coding order -> int32 in the original positions and shape."""
    result = np.empty(self.order.size, np.int32)
    result[self.order] = values
    return result.reshape(self.shape)


def order_by_table(indexes: np.ndarray, tables: CodingTables) -> TableOrder:
  """Finds the coding order: all symbols of table 0, then table 1, ...; C order within a table.

  Raises:
    ValueError: the indexes are not integers in [0, T).
  """
  indexes = np.asarray(indexes)
  if indexes.dtype.kind not in "iu":
    raise ValueError(f"expected integer table indexes, got {indexes.dtype}")
  flat = indexes.reshape(-1)
  if flat.size and (int(flat.min()) < 0 or int(flat.max()) >= len(tables)):
    raise ValueError(f"table indexes span [{flat.min()}, {flat.max()}], tables are {len(tables)}")
  # NumPy's stable sort of integers up to 16 bits is a radix sort.
  keys = flat.astype(np.uint8 if len(tables) <= 1 << 8 else np.uint16)
  counts = np.bincount(keys, minlength=len(tables))
  return TableOrder(np.argsort(keys, kind="stable"), counts, indexes.shape)


def symbols_to_slots(
  symbols: np.ndarray, order: TableOrder, tables: CodingTables
) -> tuple[np.ndarray, np.ndarray]:
  """Turns symbols into slots of their tables.

  Args:
    symbols: integers of int32's range, of the shape of the indexes.
    order: of the indexes.
    tables: with or without escape.
  Returns:
    ([N] int32 slots in coding order, [E] int64 codes of the escaped values, see `_escape_codes`).
  Raises:
    ValueError: wrong shape or type, or a symbol outside its table's range without escape.
  """
  symbols = np.asarray(symbols)
  if symbols.dtype.kind not in "iu" or symbols.shape != order.shape:
    raise ValueError(
      f"expected integer symbols of the indexes' shape {order.shape},"
      f" got {symbols.dtype}{symbols.shape}"
    )
  values = symbols.reshape(-1)[order.order].astype(np.int64)
  if values.size and (values.min() < _INT32.min or values.max() > _INT32.max):
    raise ValueError("expected symbols that fit int32")
  slots = values - order.spread(tables.offsets)
  lengths = order.spread(tables.regular_lengths)
  outside = np.flatnonzero((slots < 0) | (slots >= lengths))
  if outside.size and not tables.has_escape:
    raise ValueError(
      f"symbol {values[outside[0]]} at {order.order[outside[0]]} is outside its table, and the"
      " tables have no escape symbol; build them with escape=True or clip the symbols"
    )
  codes = _escape_codes(slots[outside], lengths[outside])
  slots[outside] = lengths[outside]
  return slots.astype(np.int32), codes


def slots_to_symbols(
  slots: np.ndarray, codes: np.ndarray, order: TableOrder, tables: CodingTables
) -> np.ndarray:
  """Turns slots into symbols: the inverse of `symbols_to_slots`.

  Args:
    slots: [N] in coding order, each within its table.
    codes: [E] int64, one for each slot that is an escape.
    order, tables: as when coding.
  Returns:
    int32 of the indexes' shape.
  Raises:
    BitstreamError: an escaped value does not fit int32.
  """
  values = slots.astype(np.int64)
  escaped = escape_positions(slots, order, tables)
  values[escaped] = _escape_values(codes, order.spread(tables.regular_lengths)[escaped])
  values += order.spread(tables.offsets)
  if escaped.size and (values.min() < _INT32.min or values.max() > _INT32.max):
    raise BitstreamError("escapes", 0, "an escaped value does not fit 32 bits")
  return order.restore(values)


def escape_positions(slots: np.ndarray, order: TableOrder, tables: CodingTables) -> np.ndarray:
  """Finds where, in coding order, the slot is an escape."""
  if not tables.has_escape:
    return np.empty(0, np.int64)
  return np.flatnonzero(slots == order.spread(tables.regular_lengths))


def _escape_codes(slots: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """Distance beyond the run of `lengths` slots: even above (0, 2, ...), odd below (1, 3, ...)."""
  return np.where(slots < 0, 2 * (-1 - slots) + 1, 2 * (slots - lengths))


def _escape_values(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  return np.where(codes & 1, -1 - (codes >> 1), lengths + (codes >> 1))


def join_section(codes: np.ndarray, body: bytes) -> bytes:
  """Builds a coder's section: varint size of the escapes, the escapes as varints, the body."""
  escapes = write_varints(codes)
  return write_varint(len(escapes)) + escapes + body


def split_section(data: bytes, coder: str) -> tuple[np.ndarray, ByteReader]:
  """Reads a section of `join_section`: [E] int64 codes, and a reader at the body of `coder`."""
  reader = ByteReader(bytes(data), "escapes")
  size = reader.varint(len(data), "size of the escapes")
  start = reader.position
  codes = read_varints(reader.read(size, "escapes"), "escapes", start)
  reader.section = coder
  return codes, reader


def turned(section: bytes) -> bytes:
  """Writes backwards what follows the escapes of a section; its own inverse.

  Decoders of rANS begin at the end of their stream. Of a section turned around they need, for the
  first symbols, the first bytes only.

  Raises:
    BitstreamError: the escapes are cut off.
  """
  reader = ByteReader(section, "escapes")
  reader.read(reader.varint(len(section), "size of the escapes"), "escapes")
  return section[: reader.position] + section[reader.position :][::-1]


def information_bits(symbols: np.ndarray, indexes: np.ndarray, tables: CodingTables) -> float:
  """Returns the ideal cost of symbols under the integer tables, escaped values (as bytes) included.

  Args:
    symbols: integers, any shape.
    indexes: table of each, same shape.
    tables: T tables.
  Returns:
    Bits: -log2(frequency / 2^precision), summed, and eight for each byte of the escapes.
  """
  order = order_by_table(indexes, tables)
  slots, codes = symbols_to_slots(symbols, order, tables)
  width = tables.frequencies.shape[1]
  rows = order.spread(np.arange(len(tables)) * width)
  used = np.bincount(rows + slots, minlength=tables.frequencies.size)
  occurring = used > 0
  bits = float(used[occurring] @ tables.slot_bits().reshape(-1)[occurring])
  return bits + 8.0 * len(write_varints(codes))
