"""The discriminator: what it sees, and that its layers cannot grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from cae_jax.models.discriminator import PatchDiscriminator, largest_singular_value, whitened

MODEL = PatchDiscriminator((4, 6, 8), latent_features=5)


@pytest.fixture(scope="module")
def parts():
  """(logits of parameters, inputs), parameters, inputs."""
  rng = np.random.default_rng(0)
  inputs = (
    jnp.asarray(rng.uniform(size=(2, 64, 192, 3)), jnp.float32),
    jnp.asarray(rng.normal(0, 3, (2, 4, 12, 7)), jnp.float32),
    jnp.asarray(rng.normal(size=(2, 2)), jnp.float32),
  )
  params = jax.jit(MODEL.init)(jax.random.key(0), *inputs)
  return jax.jit(MODEL.apply), params, inputs


def test_a_logit_for_each_sixteen_pixels(parts):
  apply, params, (x, y_hat, conditions) = parts
  logits = apply(params, x, y_hat, conditions)
  assert logits.shape == (2, 4, 12)
  assert (apply(params, x, -y_hat, conditions) != logits).all()
  assert (apply(params, x, y_hat, conditions + 1) != logits).all()


def test_a_logit_sees_104_pixels(parts):
  apply, params, (x, y_hat, conditions) = parts
  change = apply(params, x.at[:, :, 96:112].add(1.0), y_hat, conditions)
  changed = np.asarray(change != apply(params, x, y_hat, conditions)).any((0, 1))
  np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(3, 10))


def test_kernels_of_any_size_give_the_same_logits(parts):
  """Their largest singular value is divided out."""
  apply, params, inputs = parts
  larger = jax.tree.map(lambda a: 7 * a, params)
  np.testing.assert_allclose(apply(larger, *inputs), apply(params, *inputs), rtol=1e-3, atol=1e-5)


def test_the_largest_singular_value_and_its_gradient():
  rng = np.random.default_rng(1)
  matrix = jnp.asarray(rng.normal(size=(30, 12)) * 2.0 ** -np.arange(12), jnp.float32)
  left, values, right = np.linalg.svd(matrix)
  value, gradient = jax.value_and_grad(largest_singular_value)(matrix)
  assert value == pytest.approx(values[0], rel=1e-3)
  np.testing.assert_allclose(gradient, np.outer(left[:, 0], right[0]), atol=0.02)


def test_whitened_blocks_are_their_cosine_transform():
  x = np.random.default_rng(2).uniform(size=(1, 4, 8, 3)).astype(np.float32)
  blocks = whitened(jnp.asarray(x))
  assert blocks.shape == (1, 1, 2, 48)
  for right in range(2):
    block = scipy.fft.dctn(2 * x[0, :, 4 * right : 4 * right + 4] - 1, axes=(0, 1), norm="ortho")
    found = np.asarray(blocks)[0, 0, right].reshape(4, 4, 3)
    np.testing.assert_allclose(found[0, 0], block[0, 0] / 4, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1, 3], 6 * block[1, 3], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[3, 0], 4.5 * block[3, 0], rtol=1e-5, atol=1e-5)
