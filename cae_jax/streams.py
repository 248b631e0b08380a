"""Standard input and output in the place of files, which people write as `-`."""

import enum
import sys
from pathlib import Path
from typing import BinaryIO

from cae_jax.atomic import replace_atomically
from cae_jax.errors import UsageError
from cae_jax.paths import read_file, shown, user_path

DASH = "-"


class Stream(enum.Enum):
  """Where bytes come from or go to that is no file, by the name that people know it by."""

  INPUT = "standard input"
  OUTPUT = "standard output"


Place = Path | Stream


def place(text: str) -> Place:
  """Makes a path of an argument, or standard input of a dash; raises as `user_path`."""
  return Stream.INPUT if text == DASH else user_path(text)


def name_of(place: Place) -> str:
  """Shows a place as one line of printable text."""
  return place.value if isinstance(place, Stream) else shown(place)


def argument_of(place: Place) -> str:
  """Returns the argument that a place was given by."""
  return DASH if isinstance(place, Stream) else str(place)


def check(place: Place) -> None:
  """Sees before any work that bytes can come from a stream, or go there.

  Raises:
    UsageError: it is closed, or a terminal, where bytes of images make no sense.
  """
  if isinstance(place, Path):
    return
  text = sys.stdin if place is Stream.INPUT else sys.stdout
  if text is None:
    raise UsageError(f"{place.value} is closed")
  if text.isatty():
    way_out = "< FILE" if place is Stream.INPUT else "> FILE"
    raise UsageError(
      f"{place.value} is a terminal; expected a pipe or a file, as in `{way_out}`, in place of -"
    )


def read_bytes(place: Place) -> bytes:
  """Reads a file, or standard input to its end; raises as `read_file`."""
  return sys.stdin.buffer.read() if isinstance(place, Stream) else read_file(place)


def write_bytes(place: Place, data: bytes, *, overwrite: bool = True) -> None:
  """Writes a file, whole or not at all (`replace_atomically` says more), or standard output."""
  if isinstance(place, Path):
    with replace_atomically(place, overwrite=overwrite) as temporary:
      temporary.write_bytes(data)
    return
  output: BinaryIO = sys.stdout.buffer
  output.write(data)
  output.flush()
