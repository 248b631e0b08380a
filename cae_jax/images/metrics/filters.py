"""Blur and shrinking of NumPy and JAX arrays, fast and differentiable in both."""

import numpy as np

# Outputs of one product with a banded matrix.
_BLOCK = 128


def blur(xp, x, taps):
  """Blurs rows and columns, at the positions where the window fits.

  NumPy adds shifted images, on one thread. JAX multiplies by banded matrices: XLA takes a minute to
  differentiate the shifted sums, and its depthwise convolution is slow on CPUs.

  Args:
    xp: the namespace of `x`, NumPy or jax.numpy.
    x: [..., H, W] float.
    taps: [n] NumPy, symmetric, n odd.
  Returns:
    [..., H - n + 1, W - n + 1] of the type of `x`.
  """
  taps = taps.astype(x.dtype)
  along = _by_shifts if xp is np else _by_products
  return along(xp, along(xp, x, taps).mT, taps).mT


def halve(x):
  """Averages blocks of 2 x 2 of [..., H, W]; an odd last row or column is left out."""
  height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
  rows = x[..., 0:height:2, :] + x[..., 1:height:2, :]
  return (rows[..., 0:width:2] + rows[..., 1:width:2]) / 4


def _by_shifts(_, x, taps):
  """Along the last axis."""
  margin = len(taps) - 1
  width, centre = x.shape[-1] - margin, margin // 2
  total = taps[centre] * x[..., centre : centre + width]
  for i, tap in enumerate(taps[:centre]):
    total += tap * (x[..., i : i + width] + x[..., margin - i : margin - i + width])
  return total


def _by_products(xp, x, taps):
  """Along the last axis, in blocks, so that little of each band is zeros."""
  margin = len(taps) - 1
  width = x.shape[-1] - margin
  blocks = []
  for start in range(0, width, _BLOCK):
    size = min(_BLOCK, width - start)
    # Accelerators would round to bfloat16 or TF32, and the variances would be noise.
    part = x[..., start : start + size + margin]
    blocks.append(xp.matmul(part, _band(size, taps), precision="highest"))
  return xp.concatenate(blocks, axis=-1)


def _band(size, taps):
  """[size + n - 1, size]: column j holds the window from row j on."""
  band = np.zeros((size + len(taps) - 1, size), taps.dtype)
  for row, tap in enumerate(taps):
    band[row + np.arange(size), np.arange(size)] = tap
  return band
