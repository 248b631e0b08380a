"""Squared error: MSE, its split into variance and bias, PSNR.

`mse`, `mse_split`, `psnr_db` and `psnr_y_db` measure decoded pictures in float64. `psnr_from_mse`
takes NumPy or JAX arrays and returns the same kind, for use in a training step.
"""

import dataclasses
import math

import numpy as np

from cae_jax.images import color
from cae_jax.images.metrics.checks import check_shapes


@dataclasses.dataclass(frozen=True)
class MseSplit:
  """MSE of an image, split into the variance of the error and its squared mean.

  Attributes:
    mse, variance, bias_squared: means over the channels, in squared levels; mse = variance +
      bias_squared.
    variance_by_channel, bias_by_channel: of each channel; the bias is signed (x_hat - x).
  """

  mse: float
  variance: float
  bias_squared: float
  variance_by_channel: tuple[float, ...]
  bias_by_channel: tuple[float, ...]


def mse(x, x_hat):
  """Averages the squared error over all pixels and channels, in float64.

  Args:
    x, x_hat: arrays of one shape, any numeric type (uint8 is widened first).
  Returns:
    float >= 0.
  Raises:
    ValueError: the shapes differ.
  """
  return float(np.mean(np.square(_error(x, x_hat))))


def mse_split(x, x_hat):
  """Splits the MSE into variance and squared bias of the error x_hat - x, channel by channel.

  The split the paper gives beside its PSNR. The bias is the mean error of a channel (a shift in
  brightness or tint), the variance is what is left; both are averaged over the channels, as the
  MSE is.

  Args:
    x, x_hat: [H, W, C] arrays of one shape.
  Returns:
    `MseSplit`.
  Raises:
    ValueError: the shapes differ, or are not [H, W, C].
  """
  error = _error(x, x_hat)
  if error.ndim != 3:
    raise ValueError(f"expected images [H, W, C], got shape {error.shape}")
  bias = error.mean(axis=(0, 1))
  variance = np.square(error - bias).mean(axis=(0, 1))
  return MseSplit(
    mse=float(np.mean(np.square(error))),
    variance=float(variance.mean()),
    bias_squared=float(np.square(bias).mean()),
    variance_by_channel=tuple(variance.tolist()),
    bias_by_channel=tuple(bias.tolist()),
  )


def psnr_from_mse(mse, max_value=255.0):
  """Returns PSNR = 20 log10(max_value) - 10 log10(MSE), the paper's formula.

  Args:
    mse: float, or a NumPy or JAX array, >= 0.
    max_value: the largest value of the scale the MSE was taken on.
  Returns:
    PSNR in dB, same kind and shape; inf where the MSE is zero.
  """
  peak_db = 20 * math.log10(max_value)
  if not hasattr(mse, "__array_namespace__"):
    return peak_db - 10 * math.log10(mse) if mse > 0 else math.inf
  xp = mse.__array_namespace__()
  positive = xp.where(mse > 0, mse, 1.0)
  return xp.where(mse > 0, peak_db - 10 * xp.log10(positive), xp.inf)


def psnr_db(x, x_hat, max_value=255.0):
  """Returns the PSNR in dB, from the MSE over all channels; inf if the pictures are equal.

  Args:
    x, x_hat: arrays of one shape.
    max_value: the largest value of their scale.
  Raises:
    ValueError: the shapes differ.
  """
  return psnr_from_mse(mse(x, x_hat), max_value)


def psnr_y_db(x, x_hat, max_value=255.0):
  """Returns the PSNR in dB of luma by `rgb_to_ycbcr`, not rounded; inf if the pictures are equal.

  Args:
    x, x_hat: [..., 3] RGB arrays of one shape.
    max_value: the largest value of their scale.
  Raises:
    ValueError: the shapes differ, or the last axis is not RGB.
  """
  # Y is linear without an offset, so the luma of the error is the error of the luma.
  error_y = color.rgb_to_ycbcr(_error(x, x_hat))[..., 0]
  return psnr_from_mse(float(np.mean(np.square(error_y))), max_value)


def _error(x, x_hat):
  x, x_hat = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
  check_shapes(x, x_hat)
  return x_hat - x
