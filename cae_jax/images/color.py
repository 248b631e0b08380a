"""Colour transforms, on the 0-255 scale. They take NumPy or JAX arrays and return the same kind."""

from typing import Any

# BT.601 luma weights, as in JPEG (JFIF 1.02): full range, chroma centred on 128.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_CENTRE = 128.0


def rgb_to_ycbcr(rgb):
  """Converts RGB to full-range BT.601 YCbCr, the colour space of JPEG (JFIF 1.02, section 7).

  Args:
    rgb: [..., 3] float, 0-255.
  Returns:
    [..., 3] of the same kind and dtype: Y in [0, 255], Cb and Cr in [0.5, 255.5]. Not rounded, so
    that the inverse is exact to float precision.
  """
  red, green, blue = _channels(rgb)
  y = _RED * red + _GREEN * green + _BLUE * blue
  cb = _CENTRE + (blue - y) / (2 * (1 - _BLUE))
  cr = _CENTRE + (red - y) / (2 * (1 - _RED))
  return _stack(rgb, (y, cb, cr))


def ycbcr_to_rgb(ycbcr):
  """Converts YCbCr to RGB: the inverse of `rgb_to_ycbcr`.

  Args:
    ycbcr: [..., 3] float, 0-255.
  Returns:
    [..., 3] float RGB, neither rounded nor clipped.
  """
  y, cb, cr = _channels(ycbcr)
  red = y + 2 * (1 - _RED) * (cr - _CENTRE)
  blue = y + 2 * (1 - _BLUE) * (cb - _CENTRE)
  green = (y - _RED * red - _BLUE * blue) / _GREEN
  return _stack(ycbcr, (red, green, blue))


def to_uint8(x: Any) -> Any:
  """Rounds and clips values on the 0-255 scale to uint8; an array of NumPy or JAX."""
  xp = x.__array_namespace__()
  return xp.clip(xp.round(x), 0, 255).astype(xp.uint8)


def _channels(x):
  if x.shape[-1:] != (3,):
    raise ValueError(f"expected three channels in the last axis, got shape {tuple(x.shape)}")
  return x[..., 0], x[..., 1], x[..., 2]


def _stack(like, channels):
  return like.__array_namespace__().stack(channels, axis=-1)
