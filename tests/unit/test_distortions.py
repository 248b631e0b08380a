"""Distortions: their scale, their parts, and that they can be descended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.images.metrics import ms_ssim, ssimulacra2
from cae_jax.training import distortions

_EYE = distortions.choose("eye", 0.25)


def _pair(side):
  """Two pictures of waves, and the same with more and less noise."""
  rng = np.random.default_rng(3)
  y, x = np.mgrid[:side, :side] / 20
  waves = 128 + 60 * np.stack([np.sin(x + y), np.cos(x - y), np.sin(x * y / 4)], -1)
  rgb = jnp.asarray(np.stack([waves, waves.transpose(1, 0, 2)]), jnp.float32)
  noise = rng.normal(0, 1, rgb.shape) * np.array([3.0, 9.0]).reshape(2, 1, 1, 1)
  return rgb, rgb + jnp.asarray(noise, jnp.float32)


PAIR = _pair(24)  # of three of SSIMULACRA2's scales
LARGE_PAIR = _pair(176)  # large enough for MS-SSIM


@pytest.fixture(scope="module")
def measured():
  """Distortions and figures by name, and the metrics themselves, of one program."""

  def measure(pair, large_pair):
    eyes = {share: distortions.choose("eye", share)(*pair) for share in (0.0, 0.25, 1.0)}
    found = {name: distortions.choose(name)(*pair) for name in ("mse", "eye")}
    found["ms_ssim"] = distortions.choose("ms_ssim")(*large_pair)
    return found, eyes, ssimulacra2(*pair, recursive=False), ms_ssim(*large_pair)

  return jax.device_get(jax.jit(measure)(PAIR, LARGE_PAIR))


def test_every_name_measures_each_image(measured):
  found, *_ = measured
  assert found.keys() == {*distortions.DISTORTIONS}
  for distortion, _ in found.values():
    assert distortion.shape == (2,)
    assert 0 < distortion[0] < distortion[1]


def test_mse_and_ms_ssim_are_what_they_say(measured):
  found, _, _, similarity = measured
  mse, figures = found["mse"]
  np.testing.assert_allclose(mse, np.square(PAIR[1] - PAIR[0]).mean((1, 2, 3)), rtol=1e-5)
  assert figures == {}
  distortion, figures = found["ms_ssim"]
  np.testing.assert_allclose(distortion, 1280 * (1 - similarity), rtol=1e-5)
  np.testing.assert_allclose(figures["ms_ssim"], similarity, rtol=1e-6)


def test_eye_mixes_by_its_share(measured):
  found, eyes, score, _ = measured
  mse, _ = found["mse"]
  mixed, figures = eyes[0.25]
  np.testing.assert_allclose(mixed, 0.75 * mse + 0.25 * eyes[1.0][0], rtol=1e-5)
  np.testing.assert_allclose(figures["ssimulacra2"], score, rtol=1e-5)
  np.testing.assert_allclose(eyes[0.0][0], mse, rtol=1e-5)


def test_gradients_are_finite_where_nothing_differs():
  rgb = PAIR[0][:, :16, :16]
  gradient = jax.jit(jax.grad(lambda decoded: _EYE(rgb, decoded)[0].sum()))(rgb)
  assert np.isfinite(gradient).all()
