"""What the codec models of one rate have in common, and what is special about each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models.exact.stack import EntropyStack
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.models.hyperprior.exact import as_stack
from tests.trained import CONFIGS, passes, pictures, trained

NAMES = sorted(CONFIGS)


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss(name):
  losses = trained(name).losses
  assert np.isfinite(losses).all()
  assert losses[-5:].mean() < 0.4 * losses[:5].mean()


@pytest.mark.parametrize("name", NAMES)
def test_noisy_rate_is_near_the_rounded_one(name):
  noisy, rounded = passes(name)
  assert noisy.x_hat.shape == rounded.x_hat.shape == (2, 64, 64, 3)
  assert rounded.y_bits.shape == rounded.z_bits.shape == (2,)
  assert (rounded.y_bits > 50).all()
  np.testing.assert_allclose(noisy.y_bits, rounded.y_bits, rtol=0.15)
  # Straight-through rounding: both synthesise from rounded latents.
  np.testing.assert_allclose(noisy.x_hat, rounded.x_hat, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_training_changes_every_parameter(name):
  done = trained(name)
  before, after = (jax.tree.leaves_with_path(tree) for tree in (done.initial, done.params))
  for (path, old), (_, new) in zip(before, after, strict=True):
    assert np.isfinite(new).all(), path
    assert np.any(new != old), path


@pytest.mark.parametrize("name", NAMES)
def test_lmbda_is_one(name):
  np.testing.assert_array_equal(trained(name).model.lmbda(jnp.array([-1.0, 0.5])), np.float32(0.02))


def test_factorized_rate_counts_latents_alone():
  noisy, rounded = passes("factorized")
  assert not np.any(noisy.z_bits)
  assert not np.any(rounded.z_bits)


def test_factorized_gains_scale_the_latents():
  model, params = trained("factorized").model, trained("factorized").params
  encode = jax.jit(lambda p: model.apply({"params": p}, pictures(1, 8) / 255.0, method="analyse"))
  doubled = {**params, "log_gain": params["log_gain"] + np.log(2)}
  y = encode(params)
  assert y.shape == (1, 2, 2, 10)
  np.testing.assert_allclose(encode(doubled), 2 * y, rtol=1e-5)


def test_hyperprior_has_the_parameters_of_compressai():
  """As many weights in each part as mbt2018-mean at low rates (N, M = 128, 192)."""
  model = HyperpriorModel()
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), jnp.zeros(1))["params"]
  )
  count = lambda part: sum(p.size for p in jax.tree.leaves(shapes[part]))
  expected = {
    "analysis": 1_493_312,
    "synthesis": 1_493_123,
    "hyper_analysis": 1_040_768,
    "hyper_synthesis": 2_992_992,
  }
  assert {part: count(part) for part in expected} == expected


def test_hyper_synthesis_is_an_entropy_stack():
  """The folded layers that integers evaluate are the trained ones."""
  model, params = trained("hyperprior").model, trained("hyperprior").params
  z_hat = jnp.asarray(np.random.default_rng(0).integers(-9, 9, (1, 3, 2, 8)), jnp.float32)
  conditional = lambda z: model.apply({"params": params}, z, method="conditional")
  means, log_scales = jax.jit(conditional)(z_hat)
  stack = EntropyStack(model.hyper_layers)
  outputs = jax.jit(stack.apply)(
    {"params": as_stack(params["hyper_synthesis"])}, z_hat, jnp.zeros(1)
  )
  assert float(jnp.std(means)) > 0.05
  np.testing.assert_allclose(outputs, jnp.concatenate([means, log_scales], -1), atol=1e-4)
