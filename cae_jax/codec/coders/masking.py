"""Where errors are seen: files for the eye round more finely where little goes on.

An error is hidden by what goes on around it, and seen on smooth ground: the reason for variance
boosts of video encoders, and for the division by local variance in SSIM. The steps of a file are
the same everywhere; but its encoder weighs each latent's bits against its error, and here the error
counts more or less by the activity of the luma. Decoders have nothing to do with it.
"""

import numpy as np

from cae_jax.images.color import rgb_to_ycbcr

_STRENGTH = 0.3  # weights are activity to the power of minus this
_SIDE = 8  # pixels; finer than a latent position, so that ground beside an edge counts as ground
_STEP = 0.5  # between the classes' logarithms
_CLASSES = 3  # on either side of the middle
_STRIP = 64  # latent positions

WEIGHTS = 2.0 ** (_STEP * np.arange(-_CLASSES, _CLASSES + 1))  # of errors, for each class


def classes(rgb: np.ndarray, stride: int) -> np.ndarray:
  """Says how much errors count at each latent position.

  Args:
    rgb: uint8 [H, W, 3].
    stride: pixels of a position, a multiple of 8.
  Returns:
    int [ceil(H / stride), ceil(W / stride)], numbers of `WEIGHTS`; an image's mean has weight 1.
  """
  rows = _STRIP * stride
  strips = [_activity(rgb[top : top + rows], stride) for top in range(0, len(rgb), rows)]
  activity = np.concatenate(strips)
  exponents = _STRENGTH * (activity.mean() - activity)
  return np.clip(np.rint(exponents / _STEP).astype(int), -_CLASSES, _CLASSES) + _CLASSES


def _activity(rgb: np.ndarray, stride: int) -> np.ndarray:
  """log2 of the luma's standard deviation, the mean over 8x8 blocks of each position."""
  luma = rgb_to_ycbcr(rgb.astype(np.float32))[..., 0]
  luma = np.pad(luma, [(0, -side % stride) for side in luma.shape], mode="edge")
  height, width = (side // stride for side in luma.shape)
  blocks = luma.reshape(luma.shape[0] // _SIDE, _SIDE, luma.shape[1] // _SIDE, _SIDE)
  each = 0.5 * np.log2(1 + blocks.var(axis=(1, 3)))
  return each.reshape(height, stride // _SIDE, width, stride // _SIDE).mean(axis=(1, 3))
