"""How far textures are from each other, by features of a network: a DISTS, Wasserstein distortion.

Both let a texture be another sample of its kind, as people do who do not see the original: grass
for grass costs little, a smear costs much. All is differentiable, for use in a training step too;
`vgg.load()` is the network that figures are given for.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cae_jax.images.metrics import vgg
from cae_jax.images.metrics.checks import check_shapes

LOG2_SIGMA = 4  # windows of about 16 pixels
# Keeps ratios of what is zero on both sides at one.
_C1 = _C2 = 1e-6
# Of photographs, as of `vgg.Network.scales`: of samples in 0 to 255 around their mean.
_PICTURE_SCALE = 64.0
_LEAST_VARIANCE = 1e-4  # relative to the mean square of features; gradients are finite by it


def dists(x: jax.Array, x_hat: jax.Array, network: vgg.Network) -> jax.Array:
  """Returns a DISTS with uniform weights: 0 for equal pictures, above 0.5 for unrelated ones.

  Ding et al. 2020 (arXiv:2004.07728), equations 4 to 8: of each feature map the similarity of its
  means (texture) and the correlation of its values (structure), over the whole picture, and of the
  picture itself. Not with their 2,950 weights, which were fitted to ratings: here the picture and
  each stage count the same, all maps of one the same, texture and structure a half each. So values
  compare with each other, not with those of papers.

  Args:
    x, x_hat: float [B, H, W, 3] in 0 to 255.
    network: see `vgg.load`; with fewer stages fewer are compared.
  Returns:
    [B] float32; symmetric.
  Raises:
    ValueError: the shapes differ, or are not [B, H, W, 3].
  """
  _check(x, x_hat)
  return dists_of(x, x_hat, vgg.features(network, x), vgg.features(network, x_hat))


def wasserstein(
  x: jax.Array, x_hat: jax.Array, network: vgg.Network, log2_sigma: int = LOG2_SIGMA
) -> jax.Array:
  """Returns the Wasserstein distortion: 0 for equal pictures, above 0.5 for unrelated ones.

  Qiu et al. 2024 (arXiv:2310.03629), equation 5: of each feature map the squared differences of the
  means, and of the standard deviations, in windows around each place. Windows have one size, where
  the paper lets it grow with the distance from where a person looks. In pixels of the picture it is
  the same for all stages; those that see no finer than a window are compared value by value. The
  mean over places, maps, stages and the picture itself, relative to the features' mean square.

  Args:
    x, x_hat: float [B, H, W, 3] in 0 to 255.
    network: see `vgg.load`.
    log2_sigma: windows are about 2^log2_sigma pixels wide; with 0 nothing but values is compared.
  Returns:
    [B] float32; symmetric.
  Raises:
    ValueError: the shapes differ, or are not [B, H, W, 3].
  """
  _check(x, x_hat)
  return _wasserstein(x, x_hat, vgg.features(network, x), vgg.features(network, x_hat), log2_sigma)


@functools.partial(jax.jit, static_argnames="log2_sigma")
def both(
  x: jax.Array,
  x_hat: jax.Array,
  features: Sequence[jax.Array],
  features_hat: Sequence[jax.Array],
  log2_sigma: int = LOG2_SIGMA,
) -> tuple[jax.Array, jax.Array]:
  """Returns `dists` and `wasserstein` of pictures whose `vgg.features` are there, compiled."""
  return (
    dists_of(x, x_hat, features, features_hat),
    _wasserstein(x, x_hat, features, features_hat, log2_sigma),
  )


def _check(x, x_hat) -> None:
  check_shapes(x, x_hat)
  if x.ndim != 4 or x.shape[-1] != 3:
    raise ValueError(f"expected RGB pictures [B, H, W, 3], got shape {x.shape}")


def dists_of(
  x: jax.Array,
  x_hat: jax.Array,
  features: Sequence[jax.Array],
  features_hat: Sequence[jax.Array],
) -> jax.Array:
  """Returns `dists` of pictures whose `vgg.features` are there."""
  maps = zip((x / 255.0, *features), (x_hat / 255.0, *features_hat), strict=True)
  return 1 - jnp.mean(jnp.stack([_similarity(a, b) for a, b in maps]), axis=0)


def _similarity(a, b) -> jax.Array:
  """[B]: texture and structure of all maps of [B, h, w, C]."""
  over = (1, 2)
  mean_a, mean_b = a.mean(axis=over), b.mean(axis=over)
  centred_a, centred_b = a - mean_a[:, None, None], b - mean_b[:, None, None]
  variance_a, variance_b = jnp.square(centred_a).mean(over), jnp.square(centred_b).mean(over)
  covariance = (centred_a * centred_b).mean(over)
  texture = (2 * mean_a * mean_b + _C1) / (jnp.square(mean_a) + jnp.square(mean_b) + _C1)
  structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
  return (texture + structure).mean(axis=-1) / 2


def _wasserstein(x, x_hat, features: Sequence, features_hat: Sequence, log2_sigma: int):
  maps = [(x / _PICTURE_SCALE, x_hat / _PICTURE_SCALE)]
  levels = [log2_sigma]
  for stage, pair in enumerate(zip(features, features_hat, strict=True)):
    maps.append(pair)
    levels.append(max(log2_sigma - stage, 0))
  return jnp.mean(jnp.stack([_distortion(a, b, n) for (a, b), n in zip(maps, levels)]), axis=0)


def _distortion(a, b, level: int) -> jax.Array:
  """[B]: mean squared differences of the statistics, in windows of 2^level values."""
  if not level:
    return jnp.square(a - b).mean(axis=(1, 2, 3))
  (mean_a, deviation_a), (mean_b, deviation_b) = _statistics(a, level), _statistics(b, level)
  squares = jnp.square(mean_a - mean_b) + jnp.square(deviation_a - deviation_b)
  return squares.mean(axis=(1, 2, 3))


def _statistics(x, level: int) -> tuple[jax.Array, jax.Array]:
  """Mean and standard deviation, in windows of which neighbours overlap by about half."""
  mean, square = x, jnp.square(x)
  for _ in range(level):
    mean, square = vgg.halve(mean), vgg.halve(square)
  variance = jnp.maximum(square - jnp.square(mean), 0)
  return mean, jnp.sqrt(variance + _LEAST_VARIANCE)
