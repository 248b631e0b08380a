"""SSIMULACRA2, of NumPy or JAX arrays, returning the same kind, for use in a training step too.

Jon Sneyers, version 2.1 of April 2023. What it computes, and its constants, are those of the
program `ssimulacra2` in libjxl 0.11 (https://github.com/libjxl/libjxl, tools/ssimulacra2.cc); there
is no paper that defines it.
"""

import functools

import numpy as np

from cae_jax.images import srgb
from cae_jax.images.metrics import filters, gaussian
from cae_jax.images.metrics.checks import check_shapes

SSIMULACRA2_MIN_SIDE = 8
_SCALES = 6
_BAND_ROWS = 64  # rows at a time of NumPy arrays, which are not fused
_C2 = 0.0009
# XYB (JPEG XL, ISO/IEC 18181-1): light of red, green and blue to three mixtures, whose cube roots
# are taken; the bias keeps them from zero.
_MIXTURES = np.array(
  [
    [0.3, 0.622, 0.078],
    [0.23, 0.692, 0.078],
    [0.24342268924547819, 0.20476744424496821, 0.55180986650955360],
  ]
)
_BIAS = 0.0037930732552754493
# Of each channel (X, Y, B) six scales, finest first; of each scale the weights of SSIM, artefacts
# and lost detail, first of their means, then of their 4-norms.
_WEIGHTS = (
  (0, 0.00073766067, 0, 0, 0.00077934817, 0),
  (0, 0.00043711557, 0, 1.1041726, 0.00066284834, 0.00015231633),
  (0, 0.0016406437, 0, 1.8422456, 11.441173, 0),
  (0.00079891094, 0.00017681644, 0, 1.8787595, 10.94907, 0),
  (0.0007289347, 0.96779371, 0, 0.00014003424, 0.9981767, 0.00031949756),
  (0.00045509921, 0, 0, 0.0013648766, 0, 0),
  (0, 0, 0, 7.4668903, 0, 17.445834),
  (0.00062356016, 0, 0, 6.6836781, 0.00037724408, 1.0278899),
  (225.20515, 0, 0, 19.213238, 0.0011401525, 0.0012377556),
  (176.39318, 0, 0, 24.43301, 0.28520803, 0.00044854369),
  (0, 0, 0, 34.779063, 44.835625, 0),
  (0, 0, 0, 0, 0, 0),
  (0, 0.00086805566, 0, 0, 0, 0),
  (0, 0.00053131919, 0, 0.00016533814, 0, 0),
  (0, 0, 0, 0.00041791718, 0.0017290828, 0),
  (0.0020827006, 0, 0, 8.8269828, 23.192433, 0),
  (95.10805, 0.9863978, 0.98343828, 0.0012286405, 171.26673, 0.98078589),
  (0, 0, 0, 0.00051300646, 0, 0.00010854058),
)
# The sum of all weighted norms to the loss of a polynomial, and its power that is taken from 100.
_SUM_SCALE = 0.9562382616834844
_CUBIC = (2.326765642916932, -0.020884521182843837, 6.248496625763138e-05)
_POWER = 0.6276336467831387


def ssimulacra2(x, x_hat, max_value=255.0, *, recursive=True, apply=map):
  """Returns the SSIMULACRA2 score: 100 for equal pictures, about 90 for no visible difference.

  About 70 is high quality, 50 medium, 30 low; it has no lower end. Pictures with a side below 113
  have fewer than six scales, and the program then puts weights meant for one scale or channel on
  another, as here: such scores only compare with their like.

  Args:
    x: [..., H, W, 3] the original, NumPy or JAX, sRGB samples, sides >= 8 (`SSIMULACRA2_MIN_SIDE`);
      what lies outside of 0 to `max_value` is clipped. A grey picture counts as RGB of three equal
      channels.
    x_hat: the distorted picture, of the same shape; the score is not symmetric.
    max_value: of white, 255 for 8 bit.
    recursive: blurs as the program does, by a recursion in float32 with its rounding errors (see
      `gaussian`), in JAX also for NumPy arrays: for scores that compare. False is exact, on NumPy
      arrays without JAX, and a few times faster where gradients are asked for: for losses.
    apply: what applies a function to bands of NumPy arrays where not recursive: `map`, or one that
      has threads.
  Returns:
    [...] of the same kind; differentiable, and its gradient is finite everywhere.
  Raises:
    ValueError: the shapes differ, a side is too small, or the pictures are not RGB.
  """
  _check(x, x_hat)
  on_numpy = x.__array_namespace__() is np
  if not recursive:
    return _measure(x, x_hat, max_value, gaussian.blur, _BAND_ROWS if on_numpy else None, apply)
  if on_numpy:
    return np.asarray(_compiled()(x, x_hat, max_value))
  return _measure(x, x_hat, max_value, _blur_recursively)


@functools.cache
def _compiled():
  import jax

  return jax.jit(functools.partial(_measure, blur=_blur_recursively))


def _blur_recursively(xp, x):
  return gaussian.blur_recursively(x.astype(xp.float32))


def _measure(x, x_hat, max_value, blur, band=None, apply=map):
  """Scores; with a band, so many rows at a time, which must be even: the same in less memory."""
  xp = x.__array_namespace__()
  dtype = xp.result_type(x.dtype, xp.float32)

  def light_of_samples(rows):
    pair = xp.stack([x[..., rows, :, :].astype(dtype), x_hat[..., rows, :, :].astype(dtype)])
    return srgb.light_of(xp.clip(xp.moveaxis(pair, -1, -3) / max_value, 0, 1))

  light_of, (height, width) = light_of_samples, x.shape[-3:-1]
  norms: list = []  # of each scale [..., 3 channels, 6]
  while len(norms) < _SCALES:
    size = band or height
    rows = [slice(start, min(start + size, height)) for start in range(0, height, size)]
    of_band = functools.partial(_band, xp, blur, light_of)
    *means, halves = zip(*apply(of_band, rows))
    # By rows first: one sum over a whole image in float32 would be off.
    first_powers, fourth_powers = (xp.concatenate(each, axis=-1).mean(axis=-1) for each in means)
    norms.append(xp.concatenate([first_powers, _fourth_root(xp, fourth_powers)], axis=-1))
    if min(height, width) < SSIMULACRA2_MIN_SIDE:
      break
    light = xp.concatenate(halves, axis=-2)
    light_of, (height, width) = functools.partial(_rows, light), light.shape[-2:]
  # The program goes through its weights from the first on, however many scales there are.
  weights = np.array(_WEIGHTS[: 3 * len(norms)]).reshape(3, len(norms), 6)
  total = (xp.stack(norms, axis=-2) * weights.astype(dtype)).sum(axis=(-3, -2, -1))
  return _score(xp, total)


def _rows(light, rows):
  return light[..., rows, :]


def _band(xp, blur, light_of, rows):
  """Means of the error maps, and of their fourth powers, along some rows; and these rows halved.

  Args:
    light_of: gives light [2, ..., 3, rows, W] of rows, as far as there are any.
    rows: of one scale.
  Returns:
    Twice [..., 3 channels, 3, rows], and light of half the height and width.
  """
  first = max(rows.start - gaussian.MARGIN, 0)
  light = light_of(slice(first, rows.stop + gaussian.MARGIN))
  inner = slice(rows.start - first, rows.stop - first)
  maps = _maps(xp, blur, *_xyb(xp, light))[..., inner, :]
  fourth = xp.square(xp.square(maps))
  return maps.mean(axis=-1), fourth.mean(axis=-1), _halve(xp, light[..., inner, :])


def _check(x, x_hat):
  check_shapes(x, x_hat)
  if x.ndim < 3 or x.shape[-1] != 3:
    raise ValueError(
      f"SSIMULACRA2 needs RGB images [..., H, W, 3], got shape {x.shape}; repeat a grey channel "
      "three times, leave out opacity"
    )
  if min(x.shape[-3:-1]) < SSIMULACRA2_MIN_SIDE:
    raise ValueError(
      f"SSIMULACRA2 needs images [..., H, W, 3] with sides >= {SSIMULACRA2_MIN_SIDE}, got shape "
      f"{x.shape}; leave it out for smaller images"
    )


def _halve(xp, light):
  """2 x 2 mean of [..., H, W]; the last row or column of an odd side counts twice."""
  pad = [(0, 0)] * (light.ndim - 2) + [(0, side % 2) for side in light.shape[-2:]]
  return filters.halve(xp.pad(light, pad, mode="edge"))


def _xyb(xp, light):
  """XYB of [..., 3, H, W] light, each channel moved and scaled to about 0 to 1."""
  red, green, blue = (light[..., channel, :, :] for channel in range(3))
  mixed = [xp.cbrt(r * red + g * green + b * blue + _BIAS) for r, g, b in _MIXTURES.tolist()]
  long, medium, short = (value - float(np.cbrt(_BIAS)) for value in mixed)
  x, y = (long - medium) / 2, (long + medium) / 2
  return xp.stack([14 * x + 0.42, y + 0.01, short - y + 0.55], axis=-3)


def _maps(xp, blur, x, x_hat):
  """[..., 3 channels, 3, H, W]: the error maps of one scale."""
  mean, mean_hat, *squares = blur(xp, xp.stack([x, x_hat, x * x, x_hat * x_hat, x * x_hat]))
  variances = (squares[0] - mean * mean) + (squares[1] - mean_hat * mean_hat)
  covariance = squares[2] - mean * mean_hat
  # Without the brightness that divides in SSIM: XYB is even to the eye already.
  luminance = 1 - xp.square(mean - mean_hat)
  lost = 1 - luminance * (2 * covariance + _C2) / (variances + _C2)
  edges = (1 + abs(x_hat - mean_hat)) / (1 + abs(x - mean)) - 1  # artefacts, or lost detail
  return xp.maximum(xp.stack([lost, edges, -edges], axis=-3), 0)


def _fourth_root(xp, values):
  """Of values >= 0, with a finite gradient (zero) at zero."""
  positive = values > 0
  return xp.where(positive, xp.where(positive, values, 1.0) ** 0.25, 0.0)


def _score(xp, total):
  total = total * _SUM_SCALE
  first, second, third = _CUBIC
  loss = total * (first + total * (second + total * third))
  positive = loss > 0
  return 100 - 10 * xp.where(positive, xp.where(positive, loss, 1.0) ** _POWER, 0.0)
