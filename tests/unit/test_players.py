"""Players that take turns in a step: each moves what is its own, and sees the moves before it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training.sharding import data_mesh
from cae_jax.training.state import create_state
from cae_jax.training.step import make_train_step

RATE = 0.25
PARAMS = {"first": {"a": 1.0}, "second": {"b": 2.0}}


def first_loss(params, batch, *, key):
  """Of both, so it has a gradient for both."""
  del key
  loss = params["first"]["a"] * params["second"]["b"] * jnp.mean(batch)
  return loss, {"seen": params["second"]["b"]}


def second_loss(params, batch, *, key):
  del key
  loss = params["second"]["b"] * params["first"]["a"] * jnp.mean(batch)
  return loss, {"seen": params["first"]["a"]}


def stepped(batch=2.0, losses=None, rates=(RATE, RATE)):
  optimizers = dict(zip(("first", "second"), map(optax.sgd, rates)))
  losses = losses or {"first": first_loss, "second": second_loss}
  state = create_state(jax.tree.map(jnp.float32, PARAMS), optimizers)
  assert state.opt_state.keys() == optimizers.keys()
  step = make_train_step(losses, optimizers, data_mesh())
  return step(state, jnp.full(8, batch, jnp.float32))


def test_they_alternate():
  state, figures = stepped()
  a = 1.0 - RATE * 2.0 * 2.0  # against the other's first parameter
  b = 2.0 - RATE * 2.0 * a  # against the first player's new one
  assert float(state.params["first"]["a"]) == a
  assert float(state.params["second"]["b"]) == b
  assert {name: float(value) for name, value in figures.items()} == {
    "first_loss": 4.0,
    "first_grad_norm": 4.0,
    "first_seen": 2.0,
    "loss": 2.0 * a * 2.0,
    "grad_norm": abs(2.0 * a),
    "seen": a,
    "skipped": 0.0,
  }


def test_one_alone_moves_as_ever():
  state, figures = stepped(losses={"second": second_loss})
  assert float(state.params["second"]["b"]) == 2.0 - RATE * 2.0
  assert state.params["first"] == PARAMS["first"]
  assert figures.keys() == {"loss", "grad_norm", "seen", "skipped"}


def test_all_draw_the_same():
  def loss(params, batch, *, key):
    return params["first"]["a"] * params["second"]["b"], {"draw": jax.random.uniform(key)}

  _, figures = stepped(losses={"first": loss, "second": loss})
  assert float(figures["draw"]) == float(figures["first_draw"])


@pytest.mark.parametrize("player", [0, 1])
def test_a_step_that_one_cannot_take_is_nobodys(player):
  rates = [RATE, RATE]
  rates[player] = math.nan
  state, figures = stepped(rates=rates)
  assert bool(figures["skipped"])
  assert (int(state.step), int(state.skipped)) == (1, 1)
  for params in (state.params, state.ema_params):
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
