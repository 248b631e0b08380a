"""A run cut at any step and resumed is the uncut run, to the last bit."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.data.patches import center_patches, training_patches
from cae_jax.metrics_file import read_metrics
from cae_jax.models import init_params
from cae_jax.models.paper import PaperAutoencoder
from cae_jax.training import losses, portable, sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.loop import LoopConfig, train
from cae_jax.training.state import create_state

STEPS = 10
MODEL = PaperAutoencoder(channels=(4, 6, 8))


class _Noise:
  """Three small pictures of noise."""

  def __len__(self):
    return 3

  def __getitem__(self, index):
    rng = np.random.default_rng(index)
    return {"image": rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), "name": str(index)}


class _Cut:
  """Batches that send this process a signal while the batch of a certain step is made."""

  def __init__(self, batches, at: int):
    self._batches, self._at = batches, at
    self.get_state, self.set_state = batches.get_state, batches.set_state
    self._made = 0

  def __next__(self):
    self._made += 1
    if self._made == self._at:
      os.kill(os.getpid(), signal.SIGTERM)
    return next(self._batches)


def _train(workdir, cut=None, optimizer=None, poison=None, start=None, **config):
  batches = training_patches(_Noise(), patch_size=16, batch_size=4, seed=1)
  loss_fn = losses.mse_loss(MODEL)
  return train(
    LoopConfig(steps=STEPS, log_every=2, validate_every=4, seed=1, **config),
    params=init_params(MODEL, 0),
    loss_fn=loss_fn if poison is None else _poisoned(loss_fn, poison),
    errors_fn=losses.image_errors(MODEL),
    optimizer=optimizer or optax.adam(1e-2),
    batches=_Cut(batches, cut) if cut else batches,
    valid_batches=center_patches(_Noise(), patch_size=32, batch_size=2),
    workdir=workdir,
    mesh=sharding.data_mesh(),
    start=start,
  )


def _poisoned(loss_fn, value):
  """A loss that is not finite for batches whose first pixel is even."""

  def poisoned(params, batch, *, key):
    loss, figures = loss_fn(params, batch, key=key)
    even = batch["image"][0, 0, 0, 0] % 2 == 0
    return loss * jnp.where(even, value, 1.0), figures

  return poisoned


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uncut")
  return workdir, _train(workdir)


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_resumed_run_is_bit_identical(uncut, tmp_path, cut):
  _, expected = uncut
  first = _train(tmp_path, cut=cut)
  assert not first.finished
  assert int(first.state.step) == cut
  resumed = _train(tmp_path)
  assert resumed.finished
  jax.tree.map(np.testing.assert_array_equal, resumed.state, expected.state)


def test_log_goes_on_where_it_was(uncut, tmp_path):
  workdir, _ = uncut
  _train(tmp_path, cut=6)
  _train(tmp_path)
  steps = lambda folder: [(m["step"], m["split"]) for m in read_metrics(folder / "metrics.jsonl")]
  assert steps(tmp_path) == steps(workdir)


def test_last_and_best_checkpoints_are_kept(tmp_path):
  _train(tmp_path)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    assert checkpoints.last_step == STEPS
    losses_by_step = {
      m["step"]: m["loss"]
      for m in read_metrics(tmp_path / "metrics.jsonl")
      if m["split"] == "valid"
    }
    assert checkpoints.best_step == min(losses_by_step, key=losses_by_step.__getitem__)


def test_no_checkpoint_is_an_error(tmp_path):
  state = create_state({"w": jnp.zeros(1)}, optax.sgd(1.0))
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(FileNotFoundError, match="no checkpoint in"),
  ):
    checkpoints.restore(state)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_steps_that_are_not_finite_change_nothing(tmp_path, value):
  result = _train(tmp_path, poison=value)
  assert 0 < int(result.state.skipped) < STEPS
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.state.params))
  assert int(result.state.step) == STEPS


def test_a_run_goes_on_elsewhere(tmp_path):
  """All but the optimiser's memory comes along; without memory nothing is lost."""
  sgd = optax.sgd(optax.linear_schedule(1e-2, 1e-3, STEPS))
  whole = _train(tmp_path / "whole", optimizer=sgd)
  here = _train(tmp_path / "here", cut=5, optimizer=sgd)
  assert 0 < int(here.state.step) < STEPS
  with Checkpoints(tmp_path / "here" / "checkpoints") as checkpoints:
    _, data_state = checkpoints.restore(here.state)
  portable.write_parts(tmp_path / "parts", here.state, data_state)
  start = portable.read_parts(tmp_path / "parts", init_params(MODEL, 0), sgd)
  there = _train(tmp_path / "there", optimizer=sgd, start=start)
  assert there.finished
  for name in ("params", "ema_params"):
    ours, expected = getattr(there.state, name), getattr(whole.state, name)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


def test_a_run_stops_after_its_minutes(tmp_path):
  stopped = _train(tmp_path, max_minutes=0.0)
  assert int(stopped.state.step) == 2
  assert not stopped.finished
  assert _train(tmp_path).finished


def test_a_carried_state_may_go_on_with_other_patches(tmp_path):
  """Without a place in the data they begin anew."""
  here = _train(tmp_path / "here", cut=5)
  portable.write_parts(tmp_path / "parts", here.state, None)
  start = portable.read_parts(tmp_path / "parts", init_params(MODEL, 0), optax.adam(1e-2))
  there = _train(tmp_path / "there", start=(start[0], None))
  assert there.finished
  assert int(there.state.step) == STEPS
