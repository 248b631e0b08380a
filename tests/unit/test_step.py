"""A step: its keys, its average; and if it is not finite it changes nothing but the counters."""

import dataclasses
import math

import jax
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


def test_every_step_of_every_seed_draws_anew():
  optimizer = optax.sgd(0.1)
  loss_fn = lambda params, batch, *, key: (params["w"], {"draw": jax.random.uniform(key)})

  def draws(seed):
    step = make_train_step(loss_fn, optimizer, data_mesh(), seed=seed)
    state = create_state({"w": jnp.float32(1)}, optimizer)
    for _ in range(3):
      state, figures = step(state, jnp.ones(8))
      yield float(figures["draw"])

  first, again, other = (list(draws(seed)) for seed in (0, 0, 1))
  assert first == again
  assert len({*first, *other}) == 6


@pytest.mark.parametrize(("done", "decay"), [(0, 0.1), (8, 0.5), (1000, 0.5)])
def test_the_average_is_short_at_first_and_then_of_the_decay(done, decay):
  optimizer = optax.sgd(1.0)
  loss_fn = lambda params, batch, *, key: (params["w"] * jnp.mean(batch), {})
  step = make_train_step(loss_fn, optimizer, data_mesh(), ema_decay=0.5)
  state = create_state({"w": jnp.float32(3)}, optimizer)
  state, _ = step(dataclasses.replace(state, step=jnp.int32(done)), jnp.ones(8))
  assert float(state.params["w"]) == 2
  assert float(state.ema_params["w"]) == pytest.approx(decay * 3 + (1 - decay) * 2)
