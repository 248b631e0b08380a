"""Variable-length integers (unsigned LEB128, shortest form only), by one and by the array."""

from dataclasses import dataclass

import numpy as np

from cae_jax.coding.errors import BitstreamError

# Or what else holds bytes, such as a mapped file.
BytesLike = bytes | bytearray | memoryview
_MAX_ARRAY_BYTES = 5  # 35 bits: enough for the distance of any two 32-bit integers, and a sign


def write_varint(value: int) -> bytes:
  """Writes unsigned LEB128: seven bits a byte, low first, high bit set on all but the last."""
  if value < 0:
    raise ValueError(f"expected an integer >= 0, got {value}")
  groups = []
  while value >= 0x80:
    groups.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes([*groups, value])


@dataclass
class ByteReader:
  """A cursor over bytes; every read is checked, and errors name `section` and the offset."""

  data: bytes
  section: str
  position: int = 0

  def fail(self, message: str, offset: int | None = None) -> BitstreamError:
    """Returns the error to raise for a fault at `offset` (by default, the current position)."""
    return BitstreamError(self.section, self.position if offset is None else offset, message)

  def read(self, count: int, what: str) -> bytes:
    """Reads the next `count` bytes, exactly."""
    left = len(self.data) - self.position
    if count > left:
      raise self.fail(f"{what} needs {count} bytes, {left} are left")
    start, self.position = self.position, self.position + count
    return self.data[start : self.position]

  def rest(self) -> bytes:
    """Reads everything that is left."""
    return self.read(len(self.data) - self.position, "rest")

  def varint(self, maximum: int, what: str) -> int:
    """Reads the next varint, which must be in shortest form and at most `maximum`."""
    start, value, shift = self.position, 0, 0
    while True:
      byte = self.read(1, what)[0]
      value |= (byte & 0x7F) << shift
      shift += 7
      if byte < 0x80 or value > maximum:
        break
      if shift > 63:
        raise self.fail(f"{what} is longer than 9 bytes", start)
    if byte == 0 and shift > 7:
      raise self.fail(f"{what} is not in its shortest form", start)
    if value > maximum:
      raise self.fail(f"{what} is {value} or more, at most {maximum} is possible", start)
    return value


def write_varints(values: np.ndarray) -> bytes:
  """Writes the varints of a whole array.

  Args:
    values: [N] integers in [0, 2^35).
  Returns:
    N varints, one after the other.
  """
  values = np.asarray(values, np.uint64).reshape(-1, 1)
  shifts = np.arange(0, 7 * _MAX_ARRAY_BYTES, 7, dtype=np.uint64)
  shifted = values >> shifts  # [N, 5]
  present = shifted > 0
  present[:, 0] = True
  more = np.zeros_like(present)
  more[:, :-1] = present[:, 1:]
  groups = (shifted & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
  return groups[present].tobytes()


def read_varints(data: bytes, section: str, offset: int = 0) -> np.ndarray:
  """Reads all varints of `data`: the inverse of `write_varints`.

  Args:
    data: varints in shortest form, of at most 5 bytes each, and nothing else.
    section, offset: where the data lie, for errors.
  Returns:
    [N] int64.
  Raises:
    BitstreamError: the last varint is cut off, or one is too long or not in shortest form.
  """
  groups = np.frombuffer(data, np.uint8)
  ends = np.flatnonzero(groups < 0x80)
  if groups.size and (not ends.size or ends[-1] != groups.size - 1):
    raise BitstreamError(section, offset + groups.size, "the last varint is cut off")
  starts = np.concatenate([[0], ends + 1])[: ends.size]
  lengths = ends - starts + 1
  bad = (lengths > _MAX_ARRAY_BYTES) | ((groups[ends] == 0) & (lengths > 1))
  if bad.any():
    fault = offset + starts[np.argmax(bad)]
    raise BitstreamError(section, fault, "a varint is too long or not in its shortest form")
  values = np.zeros(ends.size, np.int64)
  for k in range(int(lengths.max(initial=0))):
    has = lengths > k
    values[has] |= (groups[starts[has] + k].astype(np.int64) & 0x7F) << (7 * k)
  return values
