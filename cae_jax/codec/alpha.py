"""Opacity as a section of a file: lossless. docs/format.md describes the bytes."""

import lzma
from collections.abc import Callable

import numpy as np

from cae_jax.coding.errors import BitstreamError

_CONSTANT = 0
# Masks of hard edges are coded as they are, soft shadows by differences: LZMA finds the rest.
_PREDICTORS: dict[int, tuple[Callable, Callable]] = {
  1: (lambda plane: plane, lambda plane: plane),
  2: (
    lambda plane: np.diff(plane, axis=1, prepend=np.uint8(0)),
    lambda plane: np.cumsum(plane, axis=1, dtype=np.uint8),
  ),
}
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 23, "lc": 3, "lp": 0, "pb": 0}]


def encode_alpha(alpha: np.ndarray) -> bytes:
  """Encodes uint8 [H, W]: two bytes for one value everywhere, else the smaller method."""
  if (alpha == alpha[0, 0]).all():
    return bytes([_CONSTANT, alpha[0, 0]])
  coded = (
    bytes([method]) + lzma.compress(forward(alpha).tobytes(), lzma.FORMAT_RAW, filters=_FILTERS)
    for method, (forward, _) in _PREDICTORS.items()
  )
  return min(coded, key=len)


def decode_alpha(section: bytes, height: int, width: int) -> np.ndarray:
  """Decodes a section of `encode_alpha`; allocates no more than the plane and 8 MiB.

  Raises:
    BitstreamError: the section is not one of an image of this size.
  """
  method = section[0] if section else -1
  if method == _CONSTANT and len(section) == 2:
    return np.full((height, width), section[1], np.uint8)
  if method not in _PREDICTORS:
    raise BitstreamError("alpha", 0, f"unknown method in a section of {len(section)} bytes")
  plane = _inflate(section[1:], height * width)
  return _PREDICTORS[method][1](np.frombuffer(plane, np.uint8).reshape(height, width))


def _inflate(data: bytes, size: int) -> bytes:
  inflater = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
  try:
    plane = inflater.decompress(data, max_length=size + 1)
  except lzma.LZMAError as error:
    raise BitstreamError("alpha", 1, f"the data are damaged: {error}") from error
  if len(plane) != size or not inflater.eof or inflater.unused_data:
    raise BitstreamError("alpha", 1, f"expected {size} bytes of opacity and nothing else")
  return plane
