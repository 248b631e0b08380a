import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from cae_jax.models import entropy, laplacian


def test_gaussian_bits_are_those_of_the_bin_mass():
  y = jnp.array([0.0, 0.3, -2.0, 5.0, 7.5])
  means = jnp.array([0.0, 0.1, 1.0, 4.0, 0.0])
  scales = jnp.array([0.5, 1.0, 2.0, 0.3, 2.0])
  mass = norm.cdf(y + 0.5, means, scales) - norm.cdf(y - 0.5, means, scales)
  bits = jax.jit(entropy.gaussian_bits)(y, means, scales)
  np.testing.assert_allclose(bits, -np.log2(mass), rtol=1e-4)


def test_gaussian_bits_far_out_are_finite_and_have_gradients():
  y = jnp.array([40.0, -1000.0, 1e5])
  ones = jnp.ones(3)
  total = lambda y, means, scales: jnp.sum(entropy.gaussian_bits(y, means, scales))
  value, gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2)))(y, 0 * ones, 0.2 * ones)
  assert np.isfinite(value)
  for gradient in gradients:
    assert np.isfinite(gradient).all()
    assert (gradient != 0).all()


def test_scales_have_a_floor():
  zero = np.zeros(1, np.float32)
  bits = jax.jit(lambda scale: entropy.gaussian_bits(zero, zero, jnp.full(1, scale)))
  tiny = bits(np.float32(1e-6))
  np.testing.assert_array_equal(tiny, bits(np.float32(entropy.SCALE_FLOOR)))
  assert 0 <= tiny[0] < 1e-4


def test_scales_below_the_floor_can_grow_but_not_shrink():
  bits = lambda scales, y: entropy.gaussian_bits(y, jnp.zeros(1), scales).sum()
  gradient = jax.jit(jax.grad(bits))
  assert gradient(jnp.array([0.01]), jnp.array([2.0])) < 0
  assert gradient(jnp.array([0.01]), jnp.array([0.0])) == 0


def test_shapes_must_agree():
  with pytest.raises(ValueError, match=r"one shape, got \(2,\), \(2,\), \(1,\)"):
    entropy.gaussian_bits(jnp.zeros(2), jnp.zeros(2), jnp.ones(1))


def test_gaussian_pmfs_are_the_bits_of_integers():
  pmfs, scales = entropy.gaussian_pmfs(), entropy.scale_levels()
  widest = max(len(pmf) for pmf, _ in pmfs)
  integers = np.array([first + np.arange(widest) for _, first in pmfs], np.float32)
  scales = np.broadcast_to(scales[:, None].astype(np.float32), integers.shape)
  bits = jax.jit(entropy.gaussian_bits)(integers, np.zeros_like(integers), scales)
  for (pmf, _), row in zip(pmfs, bits):
    assert 1 - entropy.TAIL_MASS <= pmf.sum() <= 1 + 1e-12
    np.testing.assert_allclose(row[: len(pmf)], -np.log2(pmf), atol=0.02)


def test_magnitude_pmfs_are_the_bits_of_symbols():
  pmfs = entropy.magnitude_pmfs()
  magnitudes = np.arange(max(map(len, pmfs)), dtype=np.float32)
  symbol_bits = jax.jit(lambda scale: laplacian.symbol_bits(magnitudes, scale + 0 * magnitudes))
  for pmf, scale in zip(pmfs, entropy.scale_levels(), strict=True):
    assert 1 - entropy.TAIL_MASS <= pmf.sum() <= 1 + 1e-12
    bits = np.asarray(symbol_bits(np.float32(scale)))[: len(pmf)]
    of_one_sign = pmf / np.where(magnitudes[: len(pmf)], 2, 1)
    likely = pmf > 2e-3
    np.testing.assert_allclose(bits[likely], -np.log2(of_one_sign[likely]), atol=0.02)


@functools.cache
def _prior(channels=3):
  """A prior trained for a moment on Gaussians of means 0, 1, 2 and scales 1, 2, 3."""
  prior = entropy.FactorizedPrior(channels)
  params = jax.jit(prior.init)(jax.random.key(0), jnp.zeros((1, channels)))
  optimizer = optax.adam(0.02)

  def step(carry, key):
    params, state = carry
    y = jax.random.normal(key, (512, channels)) * jnp.arange(1, channels + 1)
    y = jnp.round(y + jnp.arange(channels))
    loss = lambda p: jnp.mean(prior.apply(p, y))
    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state)
    return (optax.apply_updates(params, updates), state), value

  keys = jax.random.split(jax.random.key(1), 400)
  (params, _), losses = jax.jit(lambda c: jax.lax.scan(step, c, keys))(
    (params, optimizer.init(params))
  )
  return prior, params, losses


def test_prior_learns_the_entropy():
  _, _, losses = _prior()
  gaussian = np.mean(np.log2(np.array([1, 2, 3]) * np.sqrt(2 * np.pi * np.e)))
  assert float(losses[-50:].mean()) == pytest.approx(gaussian, abs=0.1)


def test_prior_is_a_distribution():
  prior, params, _ = _prior()
  integers = jnp.repeat(jnp.arange(-60.0, 61.0)[:, None], 3, axis=1)
  masses = 2 ** -np.asarray(jax.jit(prior.apply)(params, integers), np.float64)
  np.testing.assert_allclose(masses.sum(axis=0), 1, atol=1e-3)


def test_prior_is_finite_far_out():
  prior, params, _ = _prior()
  y = jnp.full((1, 3), 1e4)
  total = lambda y: jnp.sum(prior.apply(params, y))
  value, gradient = jax.jit(jax.value_and_grad(total))(y)
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


def test_factorized_pmfs_are_the_bits_of_integers():
  prior, params, _ = _prior()
  pmfs = entropy.factorized_pmfs(params["params"])
  widest = max(len(pmf) for pmf, _ in pmfs)
  integers = np.stack([first + np.arange(widest) for _, first in pmfs], -1).astype(np.float32)
  bits = np.asarray(jax.jit(prior.apply)(params, integers))
  for channel, (pmf, _) in enumerate(pmfs):
    assert 1 - 2 * entropy.TAIL_MASS <= pmf.sum() <= 1
    probable = np.flatnonzero(pmf > 1e-4)
    np.testing.assert_allclose(bits[probable, channel], -np.log2(pmf[probable]), atol=0.01)


def test_spread_beyond_reason_is_an_error():
  _, params, _ = _prior()
  flat = {**params["params"], "matrix_0": params["params"]["matrix_0"] - 20}
  with pytest.raises(ValueError, match="spreads over more than 2\\^15 integers"):
    entropy.factorized_pmfs(flat)
