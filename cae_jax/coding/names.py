"""Names in files, of models and metadata: a byte that says their length, then ASCII."""

from cae_jax.coding.varint import ByteReader

MAX_NAME_BYTES = 32


def is_name(name: str) -> bool:
  """Tells whether files can carry a name: 1 to 32 printable ASCII characters without spaces."""
  return 1 <= len(name) <= MAX_NAME_BYTES and all("!" <= c <= "~" for c in name)


def write_name(name: str) -> bytes:
  """Returns the bytes of a name that is one."""
  return bytes([len(name)]) + name.encode("ascii")


def read_name(reader: ByteReader, what: str) -> str:
  """Reads a name; raises BitstreamError, which calls it `what`, if it is none."""
  start = reader.position
  name = reader.read(reader.read(1, f"size of the {what}")[0], what).decode("latin-1")
  if not is_name(name):
    raise reader.fail(f"{what} is not 1 to {MAX_NAME_BYTES} printable ASCII characters", start)
  return name
