"""What weights of `LosslessModel` hold beside its networks, for the codec in `codec.lossless`."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cae_jax.codec.lossless.tile import TileCoder as Coder
from cae_jax.codec.lossless.tile import make_arrays
from cae_jax.images.color import rgb_to_ycbcr
from cae_jax.models.lossless import linear, network
from cae_jax.models.lossless.linear import Coefficients
from cae_jax.models.lossless.model import LosslessModel
from cae_jax.models.lossless.phases import CHANNEL_ORDER

__all__ = ["Coder", "calibrate"]


def calibrate(model: LosslessModel, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns the coding tables, and coefficients for images too small for their own.

  Args:
    model: whose networks code.
    params: its parameters.
    images: uint8 [H, W, 3], a few typical ones, with more than 4 rows or columns.
  Returns:
    {"distribution"}: the arrays of `tile.make_arrays`; {"linear"}: of grey ("1") and of colours
    ("3") int16 [levels, phases, channels, K], padded with zeros.
  Raises:
    UsageError: the networks' sums could pass what float32 holds exactly.
  """
  del model
  network.networks_of(params)
  colours = [image.transpose(2, 0, 1)[list(CHANNEL_ORDER)] for image in images]
  grey = [_luma(image) for image in colours]
  linear_tables = {str(len(of[0])): _to_array(linear.fit_images(of)) for of in (grey, colours)}
  return {"distribution": make_arrays(), "linear": linear_tables}


def _luma(x: np.ndarray) -> np.ndarray:
  """[3, H, W] in the order of coding -> [1, H, W]."""
  rgb = x[np.argsort(CHANNEL_ORDER)].transpose(1, 2, 0).astype(np.float32)
  return np.rint(rgb_to_ycbcr(rgb)[..., 0])[None].astype(np.uint8)


def _to_array(coefficients: Coefficients) -> np.ndarray:
  """Inverts `tile.coefficients_from_arrays`."""
  channels = len(coefficients[0][0])
  most = max(len(k) for of_level in coefficients for of_phase in of_level for k in of_phase)
  array = np.zeros((len(coefficients), len(coefficients[0]), channels, most - 1), np.int16)
  for place in np.ndindex(array.shape[:3]):
    level, phase, c = place
    k = coefficients[level][phase][c][1:]  # without the constant
    array[place][: len(k)] = k
  return array
