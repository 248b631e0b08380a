"""Patches with the chroma resolution of common files; photographs that were shrunk have more."""

import jax
import jax.numpy as jnp

from cae_jax.images.color import rgb_to_ycbcr, ycbcr_to_rgb

_REPEATED = 0.2  # share of them where a decoder did not interpolate


def halve_chroma(rgb: jax.Array, key: jax.Array, share: float) -> jax.Array:
  """Gives a share of the images chroma of half the resolution, as JPEG 4:2:0 does (JFIF 1.02).

  Means of 2x2 pixels, then interpolated between their middles or, of a fifth, repeated. `share` of
  each image by itself, at random.

  Args:
    rgb: float32 [B, H, W, 3] of whole numbers from 0 to 255, H and W even.
    key: draws which.
    share: 0 to 1.
  Returns:
    The same of all images.
  """
  batch, height, width, _ = rgb.shape
  ycbcr = rgb_to_ycbcr(rgb)
  half = ycbcr[..., 1:].reshape(batch, height // 2, 2, width // 2, 2, 2).mean(axis=(2, 4))
  between = jax.image.resize(half, (batch, height, width, 2), "linear")
  repeated = half.repeat(2, axis=1).repeat(2, axis=2)
  draws = jax.random.uniform(key, (2, batch, 1, 1, 1))
  chroma = jnp.where(draws[1] < _REPEATED, repeated, between)
  changed = ycbcr_to_rgb(jnp.concatenate([ycbcr[..., :1], chroma], axis=-1))
  return jnp.where(draws[0] < share, jnp.clip(jnp.round(changed), 0, 255), rgb)
