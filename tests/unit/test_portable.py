import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training import portable
from cae_jax.training.optimizers import make_optimizer, make_schedule
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


def test_the_schedule_goes_on(state, tmp_path):
  portable.write_parts(tmp_path, state, DATA_STATE)
  back, _ = portable.read_parts(tmp_path, state.params, optimizer())
  assert int(optax.tree.get(back.opt_state, "count")) == 42
  moments = optax.tree.get(back.opt_state, "mu")
  assert not any(np.any(a) for a in jax.tree.leaves(moments))


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
  with pytest.raises(ValueError, match="different steps"):
    portable.read_parts(tmp_path, state.params, optimizer())


def test_another_model_is_refused(state, tmp_path):
  portable.write_parts(tmp_path, state, DATA_STATE)
  other = {**state.params, "b": jnp.zeros(51)}
  with pytest.raises(ValueError, match=r"b is \(50,\), expected \(51,\)"):
    portable.read_parts(tmp_path, other, optimizer())
