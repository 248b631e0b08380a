"""Distortion of a reconstruction: MSE and its split, PSNR, MS-SSIM.

`mse`, `mse_split`, `psnr_db` and `psnr_y_db` measure decoded pictures in float64. `psnr_from_mse`
and `ms_ssim` take NumPy or JAX arrays and return the same kind, for use in a training step.
"""

import dataclasses
import math

import numpy as np

from cae_jax.images import color

# Wang, Simoncelli, Bovik 2003, section 3.2: the exponents of the five scales, finest first.
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW_SIZE, _WINDOW_SIGMA = 11, 1.5
_MARGIN = _WINDOW_SIZE - 1
# Outputs of one product with a banded matrix.
_BLOCK = 128
# The stabilisers C1 = (K1 L)^2 and C2 = (K2 L)^2 of Wang 2004, section III.B.
_K1, _K2 = 0.01, 0.03
# The window must still fit after the image was halved for each further scale.
MS_SSIM_MIN_SIDE = _MARGIN * 2 ** (len(_MS_SSIM_WEIGHTS) - 1) + 1


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


def _error(x, x_hat):
  x, x_hat = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
  _check_shapes(x, x_hat)
  return x_hat - x


def _check_shapes(x, x_hat):
  if x.shape != x_hat.shape:
    raise ValueError(
      f"expected a reconstruction of shape {x.shape}, got {x_hat.shape}; crop or pad it first"
    )


def _check_ms_ssim(x, x_hat):
  _check_shapes(x, x_hat)
  if x.ndim < 3 or min(x.shape[-3:-1]) < MS_SSIM_MIN_SIDE:
    raise ValueError(
      f"MS-SSIM needs images [..., H, W, C] with sides >= {MS_SSIM_MIN_SIDE}, got shape {x.shape}; "
      "leave it out for smaller images"
    )


def _ssim_terms(xp, pair, max_value):
  """The luminance and contrast-structure maps of SSIM (Wang 2004, equations 6 and 13)."""
  c1, c2 = (_K1 * max_value) ** 2, (_K2 * max_value) ** 2
  x, x_hat = pair[0], pair[1]
  moments = _blur(xp, xp.stack([x, x_hat, x * x + x_hat * x_hat, x * x_hat]))
  mean, mean_hat = moments[0], moments[1]
  squares = mean * mean + mean_hat * mean_hat
  product = mean * mean_hat
  variances, covariance = moments[2] - squares, moments[3] - product
  return (2 * product + c1) / (squares + c1), (2 * covariance + c2) / (variances + c2)


def _blur(xp, x):
  """Valid Gaussian blur of [..., H, W].

  NumPy adds shifted images, on one thread. JAX multiplies by banded matrices: XLA takes a minute to
  differentiate the shifted sums, and its depthwise convolution is slow on CPUs.
  """
  taps = np.exp(-np.square(np.arange(_WINDOW_SIZE) - _MARGIN / 2) / (2 * _WINDOW_SIGMA**2))
  taps = (taps / taps.sum()).astype(x.dtype)
  blur = _blur_by_shifts if xp is np else _blur_by_products
  return blur(xp, blur(xp, x, taps).mT, taps).mT


def _blur_by_shifts(_, x, taps):
  """Along the last axis; the taps are symmetric."""
  width, centre = x.shape[-1] - _MARGIN, _MARGIN // 2
  total = taps[centre] * x[..., centre : centre + width]
  for i, tap in enumerate(taps[:centre]):
    total += tap * (x[..., i : i + width] + x[..., _MARGIN - i : _MARGIN - i + width])
  return total


def _blur_by_products(xp, x, taps):
  """Along the last axis, in blocks, so that little of each band is zeros."""
  width = x.shape[-1] - _MARGIN
  blocks = []
  for start in range(0, width, _BLOCK):
    size = min(_BLOCK, width - start)
    # Accelerators would round to bfloat16 or TF32, and the variances would be noise.
    part = x[..., start : start + size + _MARGIN]
    blocks.append(xp.matmul(part, _band(size, taps), precision="highest"))
  return xp.concatenate(blocks, axis=-1)


def _band(size, taps):
  """[size + 10, size]: column j holds the window from row j on."""
  band = np.zeros((size + _MARGIN, size), taps.dtype)
  for row, tap in enumerate(taps):
    band[row + np.arange(size), np.arange(size)] = tap
  return band


def _halve(xp, x):
  """2 x 2 mean of [..., H, W]; an odd side is first padded by a zero on both ends, which count."""
  pad = [(0, 0)] * (x.ndim - 2) + [(side % 2, side % 2) for side in x.shape[-2:]]
  x = xp.pad(x, pad) if any(before for before, _ in pad) else x
  height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
  rows = x[..., 0:height:2, :] + x[..., 1:height:2, :]
  return (rows[..., 0:width:2] + rows[..., 1:width:2]) / 4


def _relu_power(xp, base, exponent):
  """max(base, 0) ** exponent with a finite gradient (zero) where base <= 0."""
  positive = base > 0
  return xp.where(positive, xp.where(positive, base, 1.0) ** exponent, 0.0)
