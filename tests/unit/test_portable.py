import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from cae_jax.errors import UsageError
from cae_jax.training import portable
from cae_jax.training.optimizers import OPTIMIZERS, make_optimizer, make_schedule
from cae_jax.training.state import create_state

DATA_STATE = {"next": 7}


def optimizer():
  return make_optimizer("soap", make_schedule("linear", 1e-2, 100), 1.0)


@pytest.fixture
def state():
  rng = np.random.default_rng(0)
  arrays = lambda: {
    "a": {"kernel": jnp.asarray(rng.normal(size=(20, 30)), jnp.float32)},
    "b": jnp.asarray(rng.normal(size=50), jnp.float32),
  }
  fresh = create_state(arrays(), optimizer())
  return dataclasses.replace(fresh, step=jnp.asarray(42, jnp.int32), ema_params=arrays())


def test_a_state_goes_and_comes(state, tmp_path):
  paths = portable.write_parts(tmp_path, state, DATA_STATE, part_bytes=3000)
  assert len(paths) == 2
  assert max(path.stat().st_size for path in paths) < 3500
  back, data = portable.read_parts(tmp_path, state.params, optimizer())
  assert data == DATA_STATE
  assert int(back.step) == 42
  for one, other in ((back.params, state.params), (back.ema_params, state.ema_params)):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_the_schedule_goes_on(name, tmp_path):
  """The optimiser is a fresh one at the rate of the step: moments of nothing are not corrected."""
  rng = np.random.default_rng(0)
  gradients = lambda: {"kernel": rng.normal(size=(2, 2, 3, 5)), "bias": rng.normal(size=5)}
  params = jax.tree.map(jnp.float32, gradients())
  schedule = make_schedule("linear", 1e-2, 100)
  opt = make_optimizer(name, schedule, 1.0)
  at_42 = dataclasses.replace(create_state(params, opt), step=jnp.asarray(42))
  portable.write_parts(tmp_path, at_42, DATA_STATE)
  carried, fresh = portable.read_parts(tmp_path, params, opt)[0].opt_state, opt.init(params)
  update = jax.jit(opt.update, donate_argnums=1)  # donated as in training
  for step in range(3):
    grads = jax.tree.map(jnp.float32, gradients())
    updates, carried = update(grads, carried, params)
    expected, fresh = update(grads, fresh, params)
    fall = float(schedule(42 + step) / schedule(step))
    for ours, theirs in zip(jax.tree.leaves(updates), jax.tree.leaves(expected)):
      np.testing.assert_allclose(ours, fall * theirs, rtol=1e-5)


def test_without_a_schedule_there_is_nothing_to_set(state, tmp_path):
  portable.write_parts(tmp_path, state, DATA_STATE)
  back, _ = portable.read_parts(tmp_path, state.params, optax.adam(1e-3))
  assert int(optax.tree.get(back.opt_state, "count")) == 0


def test_old_parts_do_not_stay(state, tmp_path):
  portable.write_parts(tmp_path, state, DATA_STATE, part_bytes=3000)
  [path] = portable.write_parts(tmp_path, state, DATA_STATE)
  assert list(tmp_path.iterdir()) == [path]


def test_parts_have_to_be_whole_and_of_one_run(state, tmp_path):
  with pytest.raises(FileNotFoundError, match="found none"):
    portable.read_parts(tmp_path, state.params, optimizer())
  _, second = portable.write_parts(tmp_path, state, DATA_STATE, part_bytes=3000)
  kept = second.read_bytes()
  second.unlink()
  with pytest.raises(FileNotFoundError, match="state-1-of-2"):
    portable.read_parts(tmp_path, state.params, optimizer())
  portable.write_parts(
    tmp_path, dataclasses.replace(state, step=jnp.asarray(43)), DATA_STATE, part_bytes=3000
  )
  second.write_bytes(kept)
  with pytest.raises(UsageError, match="different steps"):
    portable.read_parts(tmp_path, state.params, optimizer())


def test_a_damaged_part_is_named(state, tmp_path):
  [path] = portable.write_parts(tmp_path, state, DATA_STATE)
  whole = path.read_bytes()
  save_file({"a": np.zeros(3)}, path)
  foreign = path.read_bytes()
  for content in (b"", whole[:100], whole[:-1], foreign):
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"{path} is no part of a state, or damaged"):
      portable.read_parts(tmp_path, state.params, optimizer())


def test_another_model_is_refused(state, tmp_path):
  portable.write_parts(tmp_path, state, DATA_STATE)
  other = {**state.params, "b": jnp.zeros(51)}
  with pytest.raises(UsageError, match=r"b is \(50,\), expected \(51,\)"):
    portable.read_parts(tmp_path, other, optimizer())


def test_a_light_state_has_half_the_precision_and_no_average(state, tmp_path):
  whole = portable.write_parts(tmp_path / "whole", state, DATA_STATE)
  light = portable.write_parts(
    tmp_path / "light", state, DATA_STATE, dtype=np.float16, average=False
  )
  size = lambda paths: sum(path.stat().st_size for path in paths)
  assert size(light) < 0.3 * size(whole)
  back, _ = portable.read_parts(tmp_path / "light", state.params, optimizer())
  for params in (back.params, back.ema_params):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), params, state.params)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}


def test_the_parts_of_a_file_are_in_order_and_alone(tmp_path):
  (tmp_path / "a.tar").write_bytes(bytes(range(12)))
  folder = tmp_path / "parts"
  folder.mkdir()
  portable.cut(tmp_path / "a.tar", folder, 5)
  portable.cut(tmp_path / "a.tar", folder, 1)
  parts = sorted(folder.iterdir())
  assert len(parts) == 12
  assert b"".join(part.read_bytes() for part in parts) == bytes(range(12))
