"""A step that is not finite changes nothing but the counters."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training.sharding import data_mesh
from cae_jax.training.state import create_state
from cae_jax.training.step import make_train_step


def stepped(w, rate, batch):
  """(state, figures) after a step of descent on w * mean(batch)."""
  optimizer = optax.sgd(rate)
  loss_fn = lambda params, batch, *, key: (params["w"] * jnp.mean(batch), {"psnr": jnp.ones(())})
  step = make_train_step(loss_fn, optimizer, data_mesh())
  return step(create_state({"w": jnp.float32(w)}, optimizer), jnp.full(8, batch, jnp.float32))


def test_a_finite_step_counts():
  state, figures = stepped(1.0, 0.5, 2.0)
  assert float(state.params["w"]) == 0.0
  assert (int(state.step), int(state.skipped)) == (1, 0)
  assert {name: float(value) for name, value in figures.items()} == {
    "loss": 2.0,
    "grad_norm": 2.0,
    "psnr": 1.0,
    "skipped": 0.0,
  }


@pytest.mark.parametrize(
  ("w", "rate", "batch"),
  [
    pytest.param(1.0, 0.5, math.nan, id="nan"),
    pytest.param(1.0, 0.5, math.inf, id="infinite loss"),
    pytest.param(0.0, 0.5, math.inf, id="infinite gradient"),
    pytest.param(1.0, math.nan, 2.0, id="rate"),
    pytest.param(1.0, 3e38, 2.0, id="parameters overflow"),
  ],
)
def test_what_is_not_finite_is_skipped(w, rate, batch):
  state, figures = stepped(w, rate, batch)
  assert bool(figures["skipped"])
  assert (int(state.step), int(state.skipped)) == (1, 1)
  for params in (state.params, state.ema_params):
    np.testing.assert_array_equal(params["w"], w)
