"""How far textures of two pictures are apart, by fixed filters or by features of a network."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.color import rgb_to_ycbcr
from cae_jax.images.metrics.texture import dists_of
from cae_jax.images.preprocessing import dct_matrix
from cae_jax.nhwc import convolve

# Measures decoded images against their originals: float32 [B, H, W, 3] each, in 0 to 255 -> [B].
Texture = Callable[[jax.Array, jax.Array], jax.Array]
# float32 [B, H, W, 3] in 0 to 255 -> maps [B, h, w, C], whose mean squares are about one.
Features = Callable[[jax.Array], Sequence[jax.Array]]

_SCALES = 4
_WINDOW = 8  # responses across: 8, 16, 32 and 64 pixels
_LEAST_DEVIATION = 1.0  # grey levels; below is what rounding leaves
# What a level of Y, Cb and Cr changes in RGB: roots of the sums of squares.
_CHANNELS = np.sqrt([3, 1.772**2 + 0.344**2, 1.402**2 + 0.714**2])


def _cosines() -> np.ndarray:
  """[3, 3, 3, 27]: the nine orthonormal cosines of 3x3 pixels, of each scaled channel by itself."""
  rows = dct_matrix(3)
  basis = np.einsum("pi,qj->ijpq", rows, rows).reshape(3, 3, 9)
  filters = np.einsum("ijf,cd->ijcdf", basis, np.diag(_CHANNELS))
  return filters.reshape(3, 3, 3, 27).astype(np.float32)


_FILTERS = _cosines()

# Squared grey levels that a distance of features of 1 counts as much as.
_OF_FEATURES = 1000.0
_FEATURE_WINDOW = 16  # pixels across
_LEAST_OF_FEATURES = 0.01  # deviation; gradients are finite by it

_BLOCK, _BLOCKS = 16, 4  # pixels of a block, blocks of a window, across


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
    responses = convolve(pair, jnp.asarray(_FILTERS))
    ours, theirs = jnp.split(responses, 2)
    total += _squared_distance(ours, theirs, _WINDOW, _LEAST_DEVIATION)
  return total / _SCALES


def feature_texture(features: Features) -> Texture:
  """Measures by features of a network: a Wasserstein distortion and a DISTS, added.

  Both are of `images.metrics.texture`, of patches here and in windows that do not overlap, whose
  gradients take less time; a distance of 1 counts as 1000 squared grey levels. By itself the first
  lets a texture be another sample, and the second holds edges where they are.

  Args:
    features: of a network. Metrics by the same one say little of what is trained with it.
  """

  def distortion(x: jax.Array, x_hat: jax.Array) -> jax.Array:
    ours, theirs = features(x), features(x_hat)
    squares = []
    for a, b in zip(ours, theirs, strict=True):
      window = max(_FEATURE_WINDOW * a.shape[1] // x.shape[1], 1)
      squares.append(_squared_distance(a, b, window, _LEAST_OF_FEATURES))
    total = jnp.mean(jnp.stack(squares), axis=0) + dists_of(x, x_hat, ours, theirs)
    return _OF_FEATURES * total

  return distortion


def repeated_error(error: jax.Array) -> jax.Array:
  """Measures what errors repeat from block to block, such as a grid, on the scale of the MSE.

  A synthesis puts 16x16 pixels at a time beside each other, of a position of latents, and a pattern
  that is the same in all of them is the cheapest texture it can draw. In windows of 4x4 blocks
  errors are averaged over the blocks, around the window's mean; their squares count 16 times. So
  noise costs what it does in the MSE, and a pattern of the whole window 16 times that.

  Args:
    error: float32 [B, H, W, 3], sides multiples of 64.
  Returns:
    [B].
  """
  batch, height, width, channels = error.shape
  side = _BLOCK * _BLOCKS
  windows = error.reshape(
    batch, height // side, _BLOCKS, _BLOCK, width // side, _BLOCKS, _BLOCK, channels
  )
  pattern = jnp.mean(windows, axis=(2, 5))
  pattern -= jnp.mean(pattern, axis=(2, 4), keepdims=True)
  return _BLOCKS**2 * jnp.mean(jnp.square(pattern), axis=(1, 2, 3, 4, 5))


def _squared_distance(x, x_hat, window: int, least: float) -> jax.Array:
  """[B]: of means, and of standard deviations, in windows."""
  (mean, deviation), (mean_hat, deviation_hat) = (_statistics(a, window, least) for a in (x, x_hat))
  squares = jnp.square(mean - mean_hat) + jnp.square(deviation - deviation_hat)
  return jnp.mean(squares, axis=(1, 2, 3))


def _statistics(responses, window: int, least: float) -> tuple[jax.Array, jax.Array]:
  """Means and standard deviations in windows; the latter are at least `least`."""
  mean = _means(responses, window)
  variance = jnp.maximum(_means(jnp.square(responses), window) - jnp.square(mean), 0)
  return mean, jnp.sqrt(variance + least**2)


def _means(x, side: int):
  """Means of side x side values: [B, H, W, C] -> [B, H / side, W / side, C]."""
  batch, height, width, channels = x.shape
  blocks = x.reshape(batch, height // side, side, width // side, side, channels)
  return jnp.mean(blocks, axis=(2, 4))
