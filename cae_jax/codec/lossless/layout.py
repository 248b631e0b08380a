"""What a lossless file says of its samples as a whole: the header's parameters."""

import dataclasses

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import ByteReader, write_varint

_GREY, _WHOLE, _COUNTED = 1, 2, 4
_LARGEST = 65535


@dataclasses.dataclass(frozen=True)
class Layout:
  """How samples of an image became the integers that are coded: the parameters of a file.

  Attributes:
    largest_error: that samples may have; 0 is lossless.
    offset, gap: a sample is offset + gap * integer.
    largest: integer, at least 1.
    grey: the three colours are equal, and one is coded.
    whole: the image is one section, not tiles.
    counted: integers are numbers of the values that occur; the first section says which do.
  """

  largest_error: int = 0
  offset: int = 0
  gap: int = 1
  largest: int = 255
  grey: bool = False
  whole: bool = False
  counted: bool = False

  @property
  def step(self) -> int:
    """Of what is coded: integers may be off by half of it."""
    return 2 * (self.largest_error // self.gap) + 1

  def pack(self) -> bytes:
    """Writes the header's parameters."""
    flags = _GREY * self.grey + _WHOLE * self.whole + _COUNTED * self.counted
    numbers = self.largest_error, self.offset, self.gap, self.largest
    return bytes([flags]) + b"".join(map(write_varint, numbers))

  @classmethod
  def unpack(cls, parameters: bytes) -> "Layout":
    """Reads the header's parameters; raises BitstreamError."""
    reader = ByteReader(parameters, "parameters", 0)
    flags = reader.read(1, "flags")[0]
    largest_error, offset, gap, largest = (
      reader.varint(_LARGEST, name) for name in ("largest error", "offset", "gap", "largest")
    )
    grey, whole, counted = (bool(flags & flag) for flag in (_GREY, _WHOLE, _COUNTED))
    layout = cls(largest_error, offset, gap, largest, grey, whole, counted)
    if layout.pack() != parameters or min(gap, largest) < 1 or offset + gap * largest > _LARGEST:
      raise BitstreamError("parameters", 0, f"{parameters.hex()!r} are none of a lossless file")
    return layout
