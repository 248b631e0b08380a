"""Distortions: their scale, their parts, and that they can be descended."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.images.metrics import ms_ssim, ssimulacra2
from cae_jax.training import distortions

_EYE = distortions.choose("eye", 0.25)


@pytest.fixture(scope="module")
def pair():
  """Two pictures of waves, and the same with more and less noise."""
  rng = np.random.default_rng(3)
  y, x = np.mgrid[:176, :176] / 20
  waves = 128 + 60 * np.stack([np.sin(x + y), np.cos(x - y), np.sin(x * y / 4)], -1)
  rgb = jnp.asarray(np.stack([waves, waves.transpose(1, 0, 2)]), jnp.float32)
  noise = rng.normal(0, 1, rgb.shape) * np.array([3.0, 9.0]).reshape(2, 1, 1, 1)
  return rgb, rgb + jnp.asarray(noise, jnp.float32)


def test_every_name_measures_each_image(pair):
  for name in distortions.DISTORTIONS:
    distortion, _ = jax.jit(distortions.choose(name))(*pair)
    assert distortion.shape == (2,)
    assert 0 < distortion[0] < distortion[1]


def test_mse_and_ms_ssim_are_what_they_say(pair):
  mse, figures = distortions.measure_mse(*pair)
  np.testing.assert_allclose(mse, np.square(pair[1] - pair[0]).mean((1, 2, 3)), rtol=1e-5)
  assert figures == {}
  distortion, figures = distortions.measure_ms_ssim(*pair)
  np.testing.assert_allclose(distortion, 1280 * (1 - ms_ssim(*pair)), rtol=1e-5)
  np.testing.assert_allclose(figures["ms_ssim"], ms_ssim(*pair), rtol=1e-6)


def test_eye_mixes_by_its_share(pair):
  mixed, figures = jax.jit(_EYE)(*pair)
  mse = distortions.measure_mse(*pair)[0]
  of_score = jax.jit(distortions.choose("eye", 1.0))(*pair)[0]
  np.testing.assert_allclose(mixed, 0.75 * mse + 0.25 * of_score, rtol=1e-5)
  score = functools.partial(ssimulacra2, recursive=False)
  np.testing.assert_allclose(figures["ssimulacra2"], jax.jit(score)(*pair), rtol=1e-5)
  np.testing.assert_allclose(jax.jit(distortions.choose("eye", 0.0))(*pair)[0], mse, rtol=1e-5)


def test_gradients_are_finite_where_nothing_differs(pair):
  rgb, _ = pair
  gradient = jax.jit(jax.grad(lambda decoded: _EYE(rgb, decoded)[0].sum()))(rgb)
  assert np.isfinite(gradient).all()
