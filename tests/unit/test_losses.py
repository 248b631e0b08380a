import types

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.base import CodedOutput
from cae_jax.training.losses import (
  RateDistortionConfig,
  rate_distortion_errors,
  rate_distortion_loss,
  spread_evenly,
)

SIDE = 8


def make_model():
  """Says x for x_hat, and params, one number for each image, for its bits a pixel."""

  def apply(variables, x, tradeoff, *, key, method):
    assert method == "noisy"
    del tradeoff, key
    return CodedOutput(x, x, variables["params"] * SIDE**2, jnp.zeros(len(x)))

  lmbda = lambda tradeoff: jnp.full_like(tradeoff, 0.009)
  return types.SimpleNamespace(apply=apply, lmbda=lmbda, tradeoff_range=(-1.0, 1.0))


def loss_of(rates, **options):
  """((what is minimised, figures), gradient) of images of these rates, without any error."""
  batch = {"image": jnp.zeros((len(rates), SIDE, SIDE, 3), jnp.uint8)}
  loss_fn = rate_distortion_loss(make_model(), RateDistortionConfig(**options))
  return jax.value_and_grad(loss_fn, has_aux=True)(rates, batch, key=jax.random.key(0))


def test_cost_is_the_mean_over_images():
  (loss, _), gradient = loss_of(jnp.array([0.25, 1.0, 4.0]))
  np.testing.assert_allclose(loss, 1.75, rtol=1e-6)
  np.testing.assert_allclose(gradient, np.full(3, 1 / 3), rtol=1e-6)


def test_small_powers_of_the_cost_count_per_cents():
  rates = np.array([0.25, 1.0, 4.0])
  for power, share in ((0.5, rates**0.5), (0.01, np.ones(3))):
    _, gradient = loss_of(jnp.asarray(rates), cost_power=power)
    per_cent = rates * gradient
    np.testing.assert_allclose(per_cent / per_cent[1], share, rtol=0.02)


def test_reported_loss_is_the_mean_of_costs_whatever_is_minimised():
  rates = jnp.array([0.25, 1.0, 4.0])
  (minimised, figures), _ = loss_of(rates, cost_power=0.5)
  np.testing.assert_allclose(minimised, 2 * (0.5 + 1 + 2) / 3, rtol=1e-6)
  np.testing.assert_allclose(figures["loss"], 1.75, rtol=1e-6)


def validated(levels, error=0.0):
  """Figures of flat images of these levels, decoded to others by an error.

  Their y are a bit a pixel for each level, and ten at a trade-off of 1; their z a quarter of a bit.
  """

  def apply(variables, x, tradeoff, *, method):
    assert method == "rounded"
    bits = jnp.array([255 * x[:, 0, 0, 0] + 10 * tradeoff, jnp.full(len(x), 0.25)])
    return CodedOutput(x + error / 255, x, *(SIDE**2 * bits))

  lmbda = lambda tradeoff: 0.009 * 4**tradeoff
  model = types.SimpleNamespace(apply=apply, lmbda=lmbda, valid_tradeoffs=(0.0, 1.0))
  images = np.broadcast_to(np.uint8(levels)[:, None, None, None], (len(levels), SIDE, SIDE, 3))
  return rate_distortion_errors(model)({}, {"image": images})


def test_rates_are_of_both_latents():
  figures = validated([1, 2, 3])
  np.testing.assert_allclose(figures["z_bpp"], [0.25] * 3)
  np.testing.assert_allclose(figures["rate_bpp"], [6.25, 7.25, 8.25], rtol=1e-6)


def test_every_image_is_validated_at_every_tradeoff():
  figures = validated([1, 2, 3])
  np.testing.assert_allclose(figures["rate_bpp@0"], [1.25, 2.25, 3.25], rtol=1e-6)
  np.testing.assert_allclose(figures["rate_bpp@1"], [11.25, 12.25, 13.25], rtol=1e-6)


def test_a_cost_is_rate_and_weighed_error_over_the_root_of_lmbda():
  costs = validated([1, 2], error=10)["loss"]
  at_0, at_1 = np.array([1.25, 2.25]) + 0.009 * 100, np.array([11.25, 12.25]) + 0.036 * 100
  np.testing.assert_allclose(costs, (at_0 + at_1 / 2) / 2, rtol=1e-5)


def test_validation_rounds_as_a_file_does():
  assert np.isinf(validated([1, 2], error=0.4)["psnr_db"]).all()


def test_tradeoffs_fill_the_range_in_an_order_of_their_own():
  draws = np.stack([spread_evenly(jax.random.key(i), 8, -1.0, 3.0) for i in range(40)])
  np.testing.assert_array_equal(np.sort(draws) // 0.5, np.tile(np.arange(-2, 6), (40, 1)))
  assert (np.ptp(draws, axis=0) > 3).all()  # whatever the row
