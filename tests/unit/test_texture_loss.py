"""The texture distortion: what it lets pass, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.training.texture import (
  _CHANNELS,
  _FILTERS,
  feature_texture,
  filter_wasserstein,
  repeated_error,
)


@pytest.fixture(scope="module")
def noise():
  """Three pictures of the same kind of grain on grey: float32 [3, 128, 128, 3]."""
  rng = np.random.default_rng(0)
  return jnp.asarray(128 + 20 * rng.normal(size=(3, 128, 128, 3)), jnp.float32)


@pytest.fixture(scope="module")
def distortion():
  return jax.jit(filter_wasserstein)


def test_filters_are_orthonormal_for_each_channel():
  matrix = _FILTERS.reshape(27, 27)
  expected = np.diag(np.repeat(_CHANNELS**2, 9))
  np.testing.assert_allclose(matrix.T @ matrix, expected, atol=1e-5)


def test_another_sample_costs_little_and_a_smear_much(noise, distortion):
  x = noise[:1]
  other, grey = noise[1:2], jnp.full_like(x, 128)
  mse = lambda a: float(jnp.mean(jnp.square(a - x)))
  assert float(distortion(x, x)[0]) == 0
  assert mse(other) > 1.9 * mse(grey)
  assert float(distortion(x, other)[0]) < 0.2 * float(distortion(x, grey)[0])
  # On the scale of the MSE: what is gone is half of the energy or so, at all scales.
  assert 0.05 * mse(grey) < float(distortion(x, grey)[0]) < mse(grey)


def test_a_shift_of_colour_counts_as_much_as_in_the_mse(noise, distortion):
  x = jnp.full_like(noise[:1], 100)
  for shift in ([6, 6, 6], [3, -2, 0], [-3, 1, 9]):
    shift = jnp.asarray(shift, jnp.float32)
    # Borders, beyond which are zeros, count a little more.
    expected = pytest.approx(float(jnp.mean(jnp.square(shift))), rel=0.25)
    assert float(distortion(x, x + shift)[0]) == expected


def test_an_error_that_repeats_costs_16_times_as_much_as_noise():
  rng = np.random.default_rng(0)
  noise = rng.normal(size=(4, 192, 128, 3))
  grid = np.tile(rng.normal(size=(4, 16, 16, 3)), (1, 12, 8, 1))
  shift = np.full((4, 192, 128, 3), 3.0)
  energy = lambda a: np.square(a - a.mean((1, 2), keepdims=True)).mean((1, 2, 3))
  found = repeated_error(jnp.asarray(np.concatenate([noise, grid, shift]), jnp.float32))
  np.testing.assert_allclose(found[:4], energy(noise), rtol=0.15)
  np.testing.assert_allclose(found[4:8], 16 * energy(grid), rtol=1e-4)
  np.testing.assert_allclose(found[8:], 0, atol=1e-6)


def _features(x):
  """Two maps as of a network: edges, and their mean magnitudes at half of the resolution."""
  edges = (x[:, :, 1:] - x[:, :, :-1])[:, :, :-1] / 20
  edges = jnp.pad(edges, ((0, 0), (0, 0), (0, 2), (0, 0)))
  halves = jnp.abs(edges).reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3)
  return [edges, halves.mean((2, 4))]


def test_by_features_too_another_sample_costs_less_than_a_smear(noise):
  distortion = jax.jit(feature_texture(_features))
  x, grey = noise[:1], jnp.full_like(noise[:1], 128)
  assert float(distortion(x, x)[0]) == pytest.approx(0, abs=1e-3)
  other, smear = (float(distortion(x, a)[0]) for a in (noise[1:2], grey))
  assert 0 < other < 0.7 * smear
  # Each picture by itself.
  both = distortion(jnp.concatenate([x, x]), jnp.concatenate([noise[1:2], grey]))
  np.testing.assert_allclose(both, [other, smear], rtol=1e-4)


@pytest.mark.parametrize("distortion", [filter_wasserstein, feature_texture(_features)])
def test_gradients_are_finite_where_nothing_differs(noise, distortion):
  for x in (noise, jnp.full_like(noise, 128)):
    gradient = jax.jit(jax.grad(lambda x, y: distortion(x, y).sum(), argnums=1))(x, x)
    assert np.isfinite(gradient).all()
