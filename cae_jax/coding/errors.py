"""The exception that wrong bytes raise."""

from cae_jax.errors import Error


class BitstreamError(Error, ValueError):
  """Bytes that are not a valid stream: damaged, truncated, extended, or of another format.

  Attributes:
    section: part of the stream at fault, such as "header" or "huffman".
    offset: byte offset of the fault, counted from the start of the data that was given.
  """

  def __init__(self, section: str, offset: int, message: str):
    # What is no such stream at all has no sections either.
    place = "" if section == "magic" else f" (section {section!r}, byte {offset})"
    super().__init__(message + place)
    self.section = section
    self.offset = int(offset)
    self.message = message

  def __reduce__(self):
    return type(self), (self.section, self.offset, self.message)
