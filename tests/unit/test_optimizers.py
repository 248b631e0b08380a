import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.errors import UsageError
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


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("sgd", optax.sgd(0.1, momentum=0.9, nesterov=True)),
    ("adam", optax.adam(0.1, b1=0.9, b2=0.99)),
    ("adamw", optax.adamw(0.1, b1=0.9, b2=0.99, weight_decay=1e-4)),
  ],
)
def test_constants_are_these(name, expected):
  params = {"a": jnp.float32(3.0)}

  def updates(optimizer):
    state = optimizer.init(params)
    for gradient in (1.0, -0.5, 2.0):
      update, state = optimizer.update({"a": jnp.float32(gradient)}, state, params)
      yield float(update["a"])

  found = list(updates(optimizers.make_optimizer(name, 0.1)))
  np.testing.assert_allclose(found, list(updates(expected)), rtol=1e-6)


def test_weights_decay_but_not_what_is_not_trained():
  params = {"kernel": jnp.ones((2, 3)), "spread": jnp.ones(3)}
  ours, optaxs = optimizers.make_optimizer("adamw", 0.1), optax.adamw(0.1, b2=0.99)
  grads = jax.tree.map(jnp.zeros_like, params)
  updates, state = ours.update(grads, ours.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -1e-5, rtol=1e-6)
  np.testing.assert_array_equal(updates["spread"], 0)
  # Checkpoints of runs go on.
  assert jax.tree.structure(state) == jax.tree.structure(optaxs.init(params))


@pytest.mark.parametrize("name", optimizers.SCHEDULES)
def test_schedules_rise_and_decay(name):
  schedule = optimizers.make_schedule(name, 1e-2, 100, warmup_steps=10)
  rates = np.array([schedule(step) for step in range(101)])
  assert rates.max() == pytest.approx(1e-2)
  assert rates[0] < rates[5] < rates[10]
  assert rates[-1] == pytest.approx(1e-2 if name == "constant" else 1e-4, rel=1e-3)


def test_a_trapezoidal_schedule_ends_low_after_a_long_warmup():
  schedule = optimizers.make_schedule("trapezoidal", 1e-2, 100, warmup_steps=50)
  rates = np.array([schedule(step) for step in range(101)])
  assert rates.max() == pytest.approx(1e-2)
  assert rates[-1] == pytest.approx(1e-4, rel=1e-3)


def test_trapezoidal_schedule_stays_at_the_peak():
  schedule = optimizers.make_schedule("trapezoidal", 1e-2, 100, warmup_steps=10)
  rates = np.array([schedule(step) for step in range(101)])
  np.testing.assert_allclose(rates[10:71], 1e-2)
  assert (np.diff(rates[70:]) < 0).all()


@pytest.mark.parametrize("name", optimizers.SCHEDULES)
@pytest.mark.parametrize(("steps", "fitting"), [(1, 0), (12, 1), (150, 15)])
def test_a_run_shorter_than_its_warmup_warms_up_for_a_tenth(name, steps, fitting):
  assert optimizers.fitting_warmup(200, steps) == fitting
  short = optimizers.make_schedule(name, 1e-2, steps, 200)
  expected = optimizers.make_schedule(name, 1e-2, steps, fitting)
  rates = [float(short(step)) for step in range(steps + 1)]
  assert rates == [float(expected(step)) for step in range(steps + 1)]
  assert max(rates) == pytest.approx(1e-2)
  # Resumed with more steps, the run goes on where the longer one would be: in its warm-up.
  longer = optimizers.make_schedule(name, 1e-2, 1000, 200)
  assert float(longer(steps)) == pytest.approx(1e-2 * (1 + steps * 199 / 200) / 200, rel=1e-4)


def test_a_warmup_of_half_a_run_stays():
  """One that is longer than half of the run would leave little for the decay."""
  assert [optimizers.fitting_warmup(w, 200) for w in (0, 100, 101, 200)] == [0, 100, 20, 20]


def test_errors_name_the_choices():
  with pytest.raises(UsageError, match="unknown optimizer 'newton'; choose one of sgd, adam"):
    optimizers.make_optimizer("newton", 1e-3)
  with pytest.raises(UsageError, match="unknown schedule 'step'; choose one of cosine"):
    optimizers.make_schedule("step", 1e-3, 10)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_rate_that_is_none_is_refused(rate):
  with pytest.raises(UsageError, match=f"learning rate {rate}; expected a finite number"):
    optimizers.make_schedule("cosine", rate, 10)


@pytest.mark.parametrize("largest", [0.1, 100.0])
def test_clipping_is_by_the_norm_of_all_arrays(largest):
  grads = {"a": jnp.ones((2, 3)), "b": {"c": jnp.full((2, 3), -2.0), "d": jnp.float32(3.0)}}
  sgd = optimizers.make_optimizer("sgd", 1.0, clip_norm=largest)
  plain = optax.chain(optax.clip_by_global_norm(largest), optimizers.make_optimizer("sgd", 1.0))
  updates, expected = (o.update(grads, o.init(grads))[0] for o in (sgd, plain))
  jax.tree.map(lambda u, e: np.testing.assert_allclose(u, e, rtol=1e-6), updates, expected)
  np.testing.assert_allclose(optimizers.global_norm(grads), optax.tree.norm(grads), rtol=1e-6)
