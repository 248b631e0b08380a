import types

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.context import CodedOutput
from cae_jax.training.losses import rate_distortion_loss, spread_evenly

SIDE = 8


def make_model():
  """Says x for x_hat, and params, one number for each image, for its bits a pixel."""

  def apply(variables, x, tradeoff, *, key, method):
    assert method == "noisy"
    del tradeoff, key
    return CodedOutput(x, variables["params"] * SIDE**2, jnp.zeros(len(x)))

  lmbda = lambda tradeoff: jnp.full_like(tradeoff, 0.009)
  return types.SimpleNamespace(apply=apply, lmbda=lmbda, tradeoff_range=(-1.0, 1.0))


def loss_of(rates, **options):
  """((what is minimised, figures), gradient) of images of these rates, without any error."""
  batch = {"image": jnp.zeros((len(rates), SIDE, SIDE, 3), jnp.uint8)}
  loss_fn = rate_distortion_loss(make_model(), **options)
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


def test_tradeoffs_fill_the_range_in_an_order_of_their_own():
  draws = np.stack([spread_evenly(jax.random.key(i), 8, -1.0, 3.0) for i in range(40)])
  np.testing.assert_array_equal(np.sort(draws) // 0.5, np.tile(np.arange(-2, 6), (40, 1)))
  assert (np.ptp(draws, axis=0) > 3).all()  # whatever the row
