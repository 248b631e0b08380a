import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from cae_jax.images import preprocessing
from cae_jax.images.color import to_uint8
from cae_jax.images.preprocessing import PREPROCESSINGS


def _image(seed=0, shape=(16, 24, 3)):
  return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_inverse_restores_every_pixel(name):
  forward, inverse = PREPROCESSINGS[name].forward, PREPROCESSINGS[name].inverse
  image = _image()
  x = jax.jit(forward)(image)
  assert x.dtype == jnp.float32
  np.testing.assert_array_equal(to_uint8(inverse(x)), image)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_range_is_normalised(name):
  """[0, 1], but for the half grey level by which full-range chroma exceeds 255."""
  corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1).T
  image = np.repeat(corners.astype(np.uint8)[:, None], 8, axis=0).repeat(8, axis=1)
  for picture in (image, _image()):
    x = PREPROCESSINGS[name].forward(picture)
    assert x.min() >= 0
    assert x.max() <= 255.5 / 255 + 1e-6


def test_block_dct_is_scipys():
  x = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
  ours = preprocessing.block_dct(x[:, :, None])[:, :, 0]
  np.testing.assert_allclose(ours, scipy.fft.dctn(x, norm="ortho"), atol=1e-5)


def test_block_dct_keeps_distances():
  x, z = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
  before = np.sum((x - z) ** 2)
  after = np.sum((preprocessing.block_dct(x) - preprocessing.block_dct(z)) ** 2)
  assert after == pytest.approx(before, rel=1e-5)


def test_block_dct_needs_whole_blocks():
  with pytest.raises(ValueError, match="multiples of 8, got 12x16"):
    preprocessing.block_dct(jnp.zeros((12, 16, 3)))
