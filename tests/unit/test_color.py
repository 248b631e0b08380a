import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.images import color


def test_known_colours():
  rgb = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.float64)
  expected = [[255, 128, 128], [0, 128, 128], [76.245, 84.97, 255.5], [29.07, 255.5, 107.27]]
  np.testing.assert_allclose(color.rgb_to_ycbcr(rgb), expected, atol=0.01)


def test_inverse_is_exact_for_every_colour():
  """All 2^24 colours come back within half a grey level, so rounding restores them."""
  plane = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1)
  for red in range(256):
    rgb = np.insert(plane, 0, red, axis=-1).astype(np.float32)
    restored = color.ycbcr_to_rgb(color.rgb_to_ycbcr(rgb))
    assert np.abs(restored - rgb).max() < 1e-3


def test_jax_and_numpy_agree():
  rgb = np.random.default_rng(0).uniform(0, 255, (4, 5, 3)).astype(np.float32)
  jitted = jax.jit(color.rgb_to_ycbcr)(jnp.asarray(rgb))
  np.testing.assert_allclose(jitted, color.rgb_to_ycbcr(rgb), rtol=1e-5, atol=1e-4)


def test_wrong_channels():
  with pytest.raises(ValueError, match="three channels"):
    color.rgb_to_ycbcr(np.zeros((2, 2)))
