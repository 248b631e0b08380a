import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models import gdn

normalise = jax.jit(gdn.normalise, static_argnames="inverse")


def _normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_definition():
  x, beta = _normal(0, 2, 3, 4), jnp.array([0.5, 1.0, 2.0, 3.0])
  gamma = jnp.abs(_normal(1, 4, 4))
  root = np.sqrt(beta + np.einsum("bpj,ji->bpi", np.square(x), gamma))
  np.testing.assert_allclose(normalise(x, beta, gamma), x / root, rtol=1e-5)
  np.testing.assert_allclose(normalise(x, beta, gamma, inverse=True), x * root, rtol=1e-5)


def test_special_cases():
  """Without gamma it scales; for large inputs of one channel it saturates."""
  x, zeros = _normal(2, 1, 5, 3), jnp.zeros((3, 3))
  np.testing.assert_allclose(normalise(x, jnp.full(3, 4.0), zeros), x / 2, rtol=1e-6)
  large = jnp.array([[1e4], [-1e6]])
  saturated = normalise(large, jnp.ones(1), jnp.full((1, 1), 0.25))
  np.testing.assert_allclose(saturated, [[2.0], [-2.0]], rtol=1e-4)


@pytest.mark.parametrize("inverse", [False, True])
def test_start(inverse):
  x = _normal(3, 2, 4, 4, 8)
  y, _ = jax.jit(gdn.GDN(inverse).init_with_output)(jax.random.key(0), x)
  root = np.sqrt(1 + 0.1 * np.square(x))
  expected = x * root if inverse else x / root
  np.testing.assert_allclose(y, expected, rtol=1e-4)


def test_bounds_hold_and_can_be_left_upwards_only():
  roots = jnp.array([-1.0, 0.0, 2.0])
  np.testing.assert_allclose(gdn.squared(roots), [0, 0, 4], atol=1e-10)
  assert (gdn.squared(roots, 1e-6) >= 0.99e-6).all()
  up = jax.grad(lambda r: -jnp.sum(gdn.squared(r)))(roots)
  assert (up < 0).all()  # a step down this gradient raises all three
  down = jax.grad(lambda r: jnp.sum(gdn.squared(r)))(roots)
  np.testing.assert_allclose(down, [0, 0, 4], atol=1e-6)


def test_gradients_are_finite_everywhere():
  module = gdn.GDN()
  x = jnp.stack([jnp.zeros(4), jnp.full(4, 1e4), _normal(4, 4)])

  @jax.jit
  def gradients_of(x):
    params = module.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p - 10, params)  # far below the bounds
    return jax.grad(lambda p, x: jnp.sum(jnp.square(module.apply(p, x))), (0, 1))(params, x)

  gradients = gradients_of(x)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
