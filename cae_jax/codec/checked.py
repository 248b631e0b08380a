"""Sections of lossy tiles as files have them: with a check of the symbols, the coarse ones first.

docs/format.md describes them; in version 1 of the format a section was the coder's, as it is.
"""

from collections.abc import Sequence

import numpy as np

from cae_jax.coding.bitstream import symbol_checksum
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.symbols import turned

_CHECK_BYTES = 4
OTHER_SYMBOLS = "the decoded symbols do not match their checksum"


def seal(section: bytes, symbols: Sequence[np.ndarray], tile: int, coarse: int) -> bytes:
  """Returns the section of a file.

  Args:
    section: of the coder.
    symbols: integer arrays in the order of decoding.
    tile: its number.
    coarse: how many of the arrays give a coarse picture; 0 if none do.
  """
  lower, upper = _halves(symbols, tile, coarse)
  return lower + upper + turned(section)


def opened(sealed: bytes) -> bytes:
  """Returns the coder's section; raises BitstreamError if it is cut off."""
  return turned(sealed[_CHECK_BYTES:])


def check(sealed: bytes, symbols: Sequence[np.ndarray], tile: int, coarse: int) -> None:
  """Makes sure that decoded symbols are those that were encoded.

  Args:
    sealed: of `seal`.
    symbols: all of them, or the coarse ones only.
    tile, coarse: as they were.
  Raises:
    BitstreamError: they are others.
  """
  lower, upper = _halves(symbols, tile, coarse)
  only_coarse = 0 < len(symbols) == coarse
  if sealed[:2] != lower or not (only_coarse or sealed[2:_CHECK_BYTES] == upper):
    raise BitstreamError("symbols", 0, OTHER_SYMBOLS)


def _halves(symbols: Sequence[np.ndarray], tile: int, coarse: int) -> tuple[bytes, bytes]:
  """The lower half of the checksum of the coarse symbols, and the upper half of that of all."""
  first = coarse or len(symbols)
  start = symbol_checksum([np.array([tile]), *symbols[:first]])
  whole = symbol_checksum(symbols[first:], start)
  return start.to_bytes(4, "little")[:2], whole.to_bytes(4, "little")[2:]
