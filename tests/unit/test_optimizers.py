import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training import optimizers


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_descends(name):
  """Fits a 1x1 convolution to another one."""
  x = jax.random.normal(jax.random.key(0), (64, 4))
  target = jax.random.normal(jax.random.key(1), (1, 1, 4, 3))
  params = {"kernel": jnp.zeros((1, 1, 4, 3)), "bias": jnp.zeros(3)}
  rate = 0.3 if name == "muon" else 0.05  # an update of Muon is a fifth of the rate
  schedule = optimizers.make_schedule("cosine", rate, 200, 10)
  optimizer = optimizers.make_optimizer(name, schedule, clip_norm=1.0)

  def loss_fn(params):
    return jnp.mean(jnp.square(x @ params["kernel"][0, 0] + params["bias"] - x @ target[0, 0]))

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss_fn)(params), state, params)
    return (optax.apply_updates(params, updates), state), None

  start = (params, optimizer.init(params))
  (fitted, _), _ = jax.jit(lambda start: jax.lax.scan(step, start, length=200))(start)
  assert loss_fn(fitted) < 0.05 * loss_fn(params)


@pytest.mark.parametrize("name", optimizers.SCHEDULES)
def test_schedules_rise_and_decay(name):
  schedule = optimizers.make_schedule(name, 1e-2, 100, warmup_steps=10)
  rates = np.array([schedule(step) for step in range(101)])
  assert rates.max() == pytest.approx(1e-2)
  assert rates[0] < rates[5] < rates[10]
  assert rates[-1] == pytest.approx(1e-2 if name == "constant" else 1e-4, rel=1e-3)


def test_trapezoidal_schedule_stays_at_the_peak():
  schedule = optimizers.make_schedule("trapezoidal", 1e-2, 100, warmup_steps=10)
  rates = np.array([schedule(step) for step in range(101)])
  np.testing.assert_allclose(rates[10:71], 1e-2)
  assert (np.diff(rates[70:]) < 0).all()


def test_errors_name_the_choices():
  with pytest.raises(ValueError, match="unknown optimizer 'newton'; choose one of sgd, adam"):
    optimizers.make_optimizer("newton", 1e-3)
  with pytest.raises(ValueError, match="unknown schedule 'step'; choose one of cosine"):
    optimizers.make_schedule("step", 1e-3, 10)
  with pytest.raises(ValueError, match="warm-up of 20 steps is longer than the run of 10"):
    optimizers.make_schedule("cosine", 1e-3, 10, 20)
