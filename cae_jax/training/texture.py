"""How far local statistics of two pictures are apart: a Wasserstein distortion of fixed filters."""

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.color import rgb_to_ycbcr

_SCALES = 4
_WINDOW = 8  # responses across: 8, 16, 32 and 64 pixels
_LEAST_DEVIATION = 1.0  # grey levels; below is what rounding leaves
# What a level of Y, Cb and Cr changes in RGB: roots of the sums of squares.
_CHANNELS = np.sqrt([3, 1.772**2 + 0.344**2, 1.402**2 + 0.714**2])


def _cosines() -> np.ndarray:
  """[3, 3, 3, 27]: the nine orthonormal cosines of 3x3 pixels, of each scaled channel by itself."""
  n = np.arange(3)
  rows = np.cos(np.pi * np.outer(n, n + 0.5) / 3) * np.sqrt(np.where(n, 2, 1) / 3)[:, None]
  basis = np.einsum("pi,qj->ijpq", rows, rows).reshape(3, 3, 9)
  filters = np.einsum("ijf,cd->ijcdf", basis, np.diag(_CHANNELS))
  return filters.reshape(3, 3, 3, 27).astype(np.float32)


_FILTERS = _cosines()


def filter_wasserstein(x: jax.Array, x_hat: jax.Array) -> jax.Array:
  """Measures a Wasserstein distortion of the responses of fixed filters, on the scale of the MSE.

  Qiu et al. 2024 (arXiv:2310.03629), equation 5: squared differences of means and of standard
  deviations in windows. Their features are a network's; here they are the cosines of 3x3 pixels, in
  YCbCr, at four scales. So grass may be other grass, of the same contrast, orientation and grain,
  and no package and little time is needed. In windows of one pixel it would be the MSE of RGB.

  Args:
    x, x_hat: float32 [B, H, W, 3] in 0 to 255, sides multiples of 64.
  Returns:
    [B], from 0; its gradient is finite everywhere.
  """
  pair = rgb_to_ycbcr(jnp.concatenate([x, x_hat]))
  total = jnp.zeros(x.shape[0])
  for scale in range(_SCALES):
    if scale:
      pair = _means(pair, 2)
    responses = jax.lax.conv_general_dilated(
      pair, jnp.asarray(_FILTERS), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    statistics = jnp.concatenate(_statistics(responses), axis=-1)
    ours, theirs = jnp.split(statistics, 2)
    total += 2 * jnp.mean(jnp.square(ours - theirs), axis=(1, 2, 3))
  return total / _SCALES


def _statistics(responses) -> tuple[jax.Array, jax.Array]:
  """Means and standard deviations in windows."""
  mean = _means(responses, _WINDOW)
  variance = jnp.maximum(_means(jnp.square(responses), _WINDOW) - jnp.square(mean), 0)
  return mean, jnp.sqrt(variance + _LEAST_DEVIATION**2)


def _means(x, side: int):
  """Means of side x side values: [B, H, W, C] -> [B, H / side, W / side, C]."""
  batch, height, width, channels = x.shape
  blocks = x.reshape(batch, height // side, side, width // side, side, channels)
  return jnp.mean(blocks, axis=(2, 4))
