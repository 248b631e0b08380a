"""The exception that wrong bytes raise."""

from cae_jax.errors import Error


class BitstreamError(Error, ValueError):
  """Bytes that are not a valid stream: damaged, truncated, extended, or of another format.

  Attributes:
    section: part of the stream at fault, such as "header" or "huffman".
    offset: byte offset of the fault, counted from the start of the data that was given.
  """

  def __init__(self, section: str, offset: int, message: str):
    super().__init__(f"{message} (section {section!r}, byte {offset})")
    self.section = section
    self.offset = int(offset)
    self.message = message

  def __reduce__(self):
    return type(self), (self.section, self.offset, self.message)
