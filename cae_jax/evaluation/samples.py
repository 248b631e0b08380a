"""Samples of images of every kind: their depth, differences, and what two kinds have in common."""

import hashlib
import math

import numpy as np


def channels(x: np.ndarray) -> int:
  """Returns the number of channels of [H, W] or [H, W, C]."""
  return math.prod(x.shape[2:])


def depth(x: np.ndarray) -> int:
  """Returns the bits that an image's samples need: 8 of uint8, 9 to 16 of uint16."""
  return 8 if x.dtype == np.uint8 else max(9, int(x.max()).bit_length())


def largest_error(x: np.ndarray, x_hat: np.ndarray) -> int:
  """Returns the largest difference of two images of one shape and unsigned type, in levels."""
  return int((np.maximum(x, x_hat) - np.minimum(x, x_hat)).max())


def digest(x: np.ndarray) -> str:
  """Names an image by its samples: 16 hexadecimal digits."""
  head = f"{x.dtype.str} {x.shape} ".encode()
  return hashlib.sha256(head + np.ascontiguousarray(x).tobytes()).hexdigest()[:16]


def of_kind(x_hat: np.ndarray, x: np.ndarray) -> np.ndarray:
  """Writes the same picture in the channels and type of another, as far as nothing is lost.

  Files such as PNG keep grey, opaque or 8-bit pictures as what they are, whatever the array was.
  """
  if x_hat.dtype == np.uint8 and x.dtype == np.uint16:
    x_hat = x_hat.astype(np.uint16) * 257
  colours, alpha = _split(x_hat)
  wants_colours, wants_alpha = channels(x) >= 3, channels(x) in (2, 4)
  is_grey = colours.shape[-1] == 1
  if wants_colours and is_grey:
    colours = np.repeat(colours, 3, -1)
  elif not wants_colours and not is_grey and (colours == colours[..., :1]).all():
    colours = colours[..., :1]
  opaque = np.iinfo(colours.dtype).max
  if alpha is None and wants_alpha:
    alpha = np.full_like(colours[..., :1], opaque)
  elif alpha is not None and not wants_alpha and (alpha == opaque).all():
    alpha = None
  result = colours if alpha is None else np.concatenate([colours, alpha], -1)
  return result[..., 0] if result.shape[-1] == 1 and x.ndim == 2 else result


def _split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
  """Colours [H, W, 1 or 3], and alpha [H, W, 1] if there is any."""
  samples = np.atleast_3d(x)
  return (samples[..., :-1], samples[..., -1:]) if samples.shape[-1] in (2, 4) else (samples, None)
