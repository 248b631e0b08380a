"""Sections of samples: a checksum of these, how they are coded, and the code."""

import zlib
from collections.abc import Sequence

import numpy as np

from cae_jax.codec.lossless import samples
from cae_jax.codec.lossless.plain import decode_plain, encode_plain
from cae_jax.coding.errors import BitstreamError
from cae_jax.models.arrays import Map

MODEL, PLAIN = 0, 1
_CRC_BYTES = 4


def section(x: np.ndarray, method: int, data: bytes) -> bytes:
  """Returns the section of samples [C, H, W] that are coded as `data`."""
  return _crc(x).to_bytes(_CRC_BYTES, "little") + bytes([method]) + data


def plain_section(x: np.ndarray, in_parallel: Map = map) -> bytes:
  """Returns the section of samples [C, H, W], coded without networks."""
  return section(x, PLAIN, encode_plain(samples.interleaved(x), in_parallel))


def is_of_model(section: bytes) -> bool:
  """Says whether networks have coded a section."""
  return section[_CRC_BYTES : _CRC_BYTES + 1] == bytes([MODEL])


def code_of(section: bytes) -> bytes:
  """Returns what stands for the samples in a section."""
  return section[_CRC_BYTES + 1 :]


def read_plain(section: bytes, shape: tuple[int, int, int], dtype: type) -> np.ndarray:
  """Reads [C, H, W] of a section of `plain_section`; raises BitstreamError."""
  if section[_CRC_BYTES : _CRC_BYTES + 1] != bytes([PLAIN]):
    raise BitstreamError("sections", 0, "a section is of no known method")
  channels, height, width = shape
  x = samples.planes(decode_plain(code_of(section), (height, width, channels), dtype))
  check(section, x)
  return x


def check(section: bytes, x: np.ndarray) -> None:
  """Raises BitstreamError unless a section is of these samples."""
  if _crc(x) != int.from_bytes(section[:_CRC_BYTES], "little"):
    raise BitstreamError("tile", 0, "decoded samples do not match their checksum")


def joint_checksum(sections: Sequence[bytes]) -> int:
  """Returns the CRC-32 of the checksums of sections: the symbol checksum of version 1."""
  return zlib.crc32(b"".join(section[:_CRC_BYTES] for section in sections))


def _crc(x: np.ndarray) -> int:
  little = x.astype(x.dtype.newbyteorder("<"), copy=False)
  return zlib.crc32(np.ascontiguousarray(little).tobytes())
