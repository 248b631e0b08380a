"""Latents that follow a Laplacian, and their rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import laplace

from cae_jax.models import laplacian


def test_laplacian_bits_are_those_of_the_bin_mass():
  y = jnp.array([0.0, 0.3, -0.5, -2.0, 5.0])
  scales = jnp.array([0.5, 1.0, 2.0, 0.6, 4.0])
  cdf = lambda x: laplace.cdf(x, scale=scales / np.sqrt(2))
  mass = cdf(y + 0.5) - cdf(y - 0.5)
  bits = jax.jit(laplacian.laplacian_bits)(y, scales)
  np.testing.assert_allclose(bits, -np.log2(mass), rtol=1e-3)


def test_laplacian_bits_have_a_ceiling_and_finite_gradients():
  y, scales = jnp.array([0.0, 0.5, 1.0, 1e5]), jnp.array([1e-9, 0.2, 1e6, 0.2])
  total = lambda y, scales: jnp.sum(laplacian.laplacian_bits(y, scales))
  gradients = jax.jit(jax.grad(total, (0, 1)))(y, scales)
  assert all(np.isfinite(gradient).all() for gradient in gradients)
  bits = laplacian.laplacian_bits(y, scales)
  np.testing.assert_allclose(bits[3], -np.log2(laplacian.LIKELIHOOD_FLOOR), rtol=1e-5)
  assert 0 <= bits[0] < 1e-2


def test_laplacian_shapes_must_agree():
  with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(1,\)"):
    laplacian.laplacian_bits(jnp.zeros(2), jnp.ones(1))


def test_symbols_are_those_of_a_quantiser_with_a_dead_zone():
  """Frequencies of quantised Laplacian samples against the stated probabilities."""
  rng = np.random.default_rng(0)
  for scale in (0.4, 1.0, 3.0):
    zone = float(laplacian.assumed_dead_zone(jnp.float32(scale)))
    samples = rng.laplace(scale=scale / np.sqrt(2), size=400_000)
    size = np.maximum(np.floor(np.abs(samples) + 0.5 - zone), 0)
    bits = laplacian.symbol_bits(jnp.arange(4.0), jnp.full(4, scale))
    expected = 2.0 ** -np.asarray(bits, np.float64) * [1, 2, 2, 2]  # both signs
    counted = [np.mean(size == n) for n in range(4)]
    np.testing.assert_allclose(counted, expected, atol=0.003)


def test_symbol_bits_have_a_ceiling_and_finite_gradients():
  symbols, scales = jnp.array([0.0, 1.0, -3.0, 1e5]), jnp.array([1e-9, 0.2, 1e6, 0.2])
  gradients = jax.grad(lambda s: jnp.sum(laplacian.symbol_bits(symbols, s)))(scales)
  assert np.isfinite(gradients).all()
  bits = laplacian.symbol_bits(symbols, scales)
  np.testing.assert_allclose(bits[3], -np.log2(laplacian.LIKELIHOOD_FLOOR), rtol=1e-5)
  assert 0 <= bits[0] < 1e-2


@pytest.mark.parametrize("bits", [laplacian.laplacian_bits, laplacian.symbol_bits])
def test_scales_below_the_floor_can_grow_but_not_shrink(bits):
  gradient = jax.grad(lambda scales, x: bits(x, scales).sum())
  scales = jnp.array([0.01])
  assert gradient(scales, jnp.array([2.0])) < 0  # a larger scale costs less
  assert gradient(scales, jnp.array([0.0])) == 0


@pytest.mark.parametrize("curvature", [12.0, 17.34, 40.0])
def test_dead_zone_is_where_both_symbols_cost_the_same(curvature):
  """With errors that weigh 1.5 times as much."""
  scales = jnp.array([0.15, 0.5, 1.0, 4.0])
  zones = laplacian.dead_zone(scales, jnp.full(4, curvature))
  bits = lambda symbol: laplacian.symbol_bits(jnp.full(4, symbol), scales)
  cost = lambda symbol: bits(symbol) + 1.5 * curvature / 2 * jnp.square(0.5 + zones - symbol)
  inside = zones < 1
  assert inside.sum() >= 3
  np.testing.assert_allclose(cost(0.0)[inside], cost(1.0)[inside], rtol=1e-4)
  assert (np.diff(zones) < 0).all()
  assert (zones > 0).all()
  np.testing.assert_array_equal(laplacian.dead_zone(scales, 1e-3), 1)


def test_relaxed_bits_have_the_value_of_the_symbols_and_gradients_for_both():
  y, scales, noise = jnp.array([0.2, 1.7]), jnp.array([0.5, 1.0]), jnp.array([0.4, -0.3])
  symbols = jnp.array([0.0, 2.0])
  relaxed = lambda y, s: jnp.sum(laplacian.relaxed_symbol_bits(y, symbols, s, noise))
  value, (of_y, of_scales) = jax.value_and_grad(relaxed, (0, 1))(y, scales)
  hard = lambda s: jnp.sum(laplacian.symbol_bits(symbols, s))
  soft = lambda y: jnp.sum(laplacian.laplacian_bits(y + noise, scales))
  np.testing.assert_allclose(value, hard(scales), rtol=1e-6)
  np.testing.assert_allclose(of_scales, jax.grad(hard)(scales), rtol=1e-6)
  np.testing.assert_allclose(of_y, jax.grad(soft)(y), rtol=1e-6)


def test_numpy_and_jax_say_the_same():
  rng = np.random.default_rng(0)
  y, scales = (a.astype(np.float32) for a in (rng.laplace(size=50), np.geomspace(0.05, 99, 50)))
  symbols = np.rint(y)
  functions = (
    laplacian.laplacian_bits,
    laplacian.symbol_bits,
    lambda y, s: laplacian.dead_zone(s, 17.0),
    lambda y, s: laplacian.dead_zone_rounding(y, laplacian.dead_zone(s, 17.0)),
  )
  for function, of in zip(functions, (y, symbols, y, y)):
    host, device = function(of, scales), function(jnp.asarray(of), jnp.asarray(scales))
    assert isinstance(host, np.ndarray)
    np.testing.assert_allclose(host, device, rtol=1e-5, atol=1e-5)
