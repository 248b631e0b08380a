"""Patches get the chroma that a JPEG file of 4:2:0 would leave them."""

import io

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cae_jax.training.chroma import halve_chroma
from tests.models import photo

PHOTOS = np.stack([photo(64, 96, seed) for seed in range(40)])


def _jpeg(image, subsampling):
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG", quality=100, subsampling=subsampling)
  return np.asarray(Image.open(buffer)).astype(float)


def test_a_share_of_the_images_is_as_jpeg_files_are():
  rgb = jnp.asarray(PHOTOS, jnp.float32)
  halved = lambda share: np.asarray(jax.jit(halve_chroma)(rgb, jax.random.key(0), share))
  found, everything = halved(0.5), halved(1.0)
  changed = (found != PHOTOS).any(axis=(1, 2, 3))
  assert 10 < changed.sum() < 30
  np.testing.assert_array_equal(everything[changed], found[changed])
  np.testing.assert_array_equal(everything, np.clip(np.rint(everything), 0, 255))
  error = lambda a, b: np.square(a - b).mean(axis=(1, 2, 3))
  jpegs = np.stack([_jpeg(image, "4:2:0") for image in PHOTOS])
  rounded = error(np.stack([_jpeg(image, "4:4:4") for image in PHOTOS]), PHOTOS)
  near = error(everything, jpegs) < error(jpegs, PHOTOS.astype(float)) / 2
  assert (rounded < 2).all()  # of quality 100, JPEG itself changes next to nothing
  assert near.mean() > 0.6  # interpolated as Pillow does; the others are repeated


def test_grey_stays_grey_and_no_share_changes_nothing():
  grey = jnp.asarray(PHOTOS[..., :1].repeat(3, -1), jnp.float32)
  np.testing.assert_array_equal(halve_chroma(grey, jax.random.key(1), 1.0), grey)
  rgb = jnp.asarray(PHOTOS, jnp.float32)
  np.testing.assert_array_equal(halve_chroma(rgb, jax.random.key(1), 0.0), rgb)
