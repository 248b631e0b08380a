"""MS-SSIM, of NumPy or JAX arrays, returning the same kind, for use in a training step too."""

import math

import numpy as np

from cae_jax.images.metrics import filters
from cae_jax.images.metrics.checks import check_shapes

# Wang, Simoncelli, Bovik 2003, section 3.2: the exponents of the five scales, finest first.
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW_SIZE, _WINDOW_SIGMA = 11, 1.5
_MARGIN = _WINDOW_SIZE - 1
_WINDOW = np.exp(-np.square(np.arange(_WINDOW_SIZE) - _MARGIN / 2) / (2 * _WINDOW_SIGMA**2))
_WINDOW /= _WINDOW.sum()
# The stabilisers C1 = (K1 L)^2 and C2 = (K2 L)^2 of Wang 2004, section III.B.
_K1, _K2 = 0.01, 0.03
# The window must still fit after the image was halved for each further scale.
MS_SSIM_MIN_SIDE = _MARGIN * 2 ** (len(_MS_SSIM_WEIGHTS) - 1) + 1


def ms_ssim(x, x_hat, max_value=255.0):
  """Returns the multi-scale structural similarity (Wang, Simoncelli and Bovik 2003).

  Five scales, an 11 x 11 Gaussian window (sigma 1.5), valid positions only, each channel on its own
  and then their mean; negative contrast terms count as zero; an odd side gets a border of zeros
  before it is halved. All this as in pytorch-msssim and CompressAI, so that values compare.

  Args:
    x, x_hat: [..., H, W, C] NumPy or JAX arrays of one shape, sides >= 161 (`MS_SSIM_MIN_SIDE`);
      integers and half precision are computed in float32.
    max_value: the range of the data, 255 for 8 bit.
  Returns:
    [...] of the same kind, in [0, 1]; differentiable.
  Raises:
    ValueError: the shapes differ, or a side is too small.
  """
  _check_ms_ssim(x, x_hat)
  xp = x.__array_namespace__()
  dtype = xp.result_type(x.dtype, xp.float32)
  # Both images in one array, channels before rows: few and long vector operations.
  pair = xp.moveaxis(xp.stack([x.astype(dtype), x_hat.astype(dtype)]), -1, -3)
  terms = []
  for scale, weight in enumerate(_MS_SSIM_WEIGHTS):
    pair = _halve(xp, pair) if scale else pair
    luminance, contrast = _ssim_terms(xp, pair, max_value)
    last = scale == len(_MS_SSIM_WEIGHTS) - 1
    # Row by row: one sum over a whole image in float32 would be off by 1e-4.
    term = (luminance * contrast if last else contrast).mean(axis=-1).mean(axis=-1)
    terms.append(_relu_power(xp, term, weight))
  return math.prod(terms[1:], start=terms[0]).mean(axis=-1)


def _check_ms_ssim(x, x_hat):
  check_shapes(x, x_hat)
  if x.ndim < 3 or min(x.shape[-3:-1]) < MS_SSIM_MIN_SIDE:
    raise ValueError(
      f"MS-SSIM needs images [..., H, W, C] with sides >= {MS_SSIM_MIN_SIDE}, got shape {x.shape}; "
      "leave it out for smaller images"
    )


def _ssim_terms(xp, pair, max_value):
  """The luminance and contrast-structure maps of SSIM (Wang 2004, equations 6 and 13)."""
  c1, c2 = (_K1 * max_value) ** 2, (_K2 * max_value) ** 2
  x, x_hat = pair[0], pair[1]
  moments = filters.blur(xp, xp.stack([x, x_hat, x * x + x_hat * x_hat, x * x_hat]), _WINDOW)
  mean, mean_hat = moments[0], moments[1]
  squares = mean * mean + mean_hat * mean_hat
  product = mean * mean_hat
  variances, covariance = moments[2] - squares, moments[3] - product
  return (2 * product + c1) / (squares + c1), (2 * covariance + c2) / (variances + c2)


def _halve(xp, x):
  """2 x 2 mean of [..., H, W]; an odd side is first padded by a zero on both ends, which count."""
  pad = [(0, 0)] * (x.ndim - 2) + [(side % 2, side % 2) for side in x.shape[-2:]]
  x = xp.pad(x, pad) if any(before for before, _ in pad) else x
  return filters.halve(x)


def _relu_power(xp, base, exponent):
  """max(base, 0) ** exponent with a finite gradient (zero) where base <= 0."""
  positive = base > 0
  return xp.where(positive, xp.where(positive, base, 1.0) ** exponent, 0.0)
