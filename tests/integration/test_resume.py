"""The loop: a run cut at any step and resumed is the uncut run, and one that diverges stops.

The network is one matrix, since the loop does not care; the paper's is resumed in `test_training`.
"""

import functools
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.data.patches import center_patches, training_patches
from cae_jax.errors import UsageError
from cae_jax.metrics_file import read_metrics
from cae_jax.training import optimizers, portable, sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.loop import DivergedError, LoopConfig, train, validate
from cae_jax.training.state import create_state
from cae_jax.training.workdir import locked

STEPS = 10


def _params():
  return {"matrix": jnp.eye(3) / 2}


def _loss(params, batch, *, key):
  """Error of noisy pixels times a matrix; reports no PSNR."""
  x = batch["image"] / 255
  noisy = x + 0.1 * jax.random.normal(key, x.shape)
  error = jnp.mean(jnp.square(noisy @ params["matrix"] - x))
  return error, {"root": jnp.sqrt(error)}


def _errors(params, batch):
  x = batch["image"] / 255
  return {"loss": jnp.mean(jnp.square(x @ params["matrix"] - x), axis=(1, 2, 3))}


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


def _train(workdir, cut=None, optimizer=None, loss_fn=_loss, start=None, params=None, **config):
  batches = training_patches(_Noise(), patch_size=16, batch_size=4, seed=1)
  return train(
    LoopConfig(**{"steps": STEPS, "log_every": 2, "validate_every": 4, "seed": 1, **config}),
    params=_params() if params is None else params,
    loss_fn=loss_fn,
    errors_fn=_errors,
    optimizer=optimizer or optax.adam(1e-2),
    batches=_Cut(batches, cut) if cut else batches,
    valid_batches=center_patches(_Noise(), patch_size=32, batch_size=2),
    workdir=workdir,
    mesh=sharding.data_mesh(),
    start=start,
  )


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


@pytest.mark.parametrize("name", ["soap", "muon"])
def test_memory_of_every_optimizer_comes_along(name, tmp_path):
  """Cut between two refinements of SOAP's bases, which are of steps 10 and 20."""
  kernel = {"matrix": jnp.eye(3)[None, None] / 2}  # Muon is for kernels
  rate = optimizers.make_schedule("linear", 1e-2, 22, 2)
  run = functools.partial(
    _train,
    params=kernel,
    optimizer=optimizers.make_optimizer(name, rate, clip_norm=1.0),
    steps=22,
    log_every=11,
    validate_every=22,
  )
  expected = run(tmp_path / "uncut")
  assert not run(tmp_path / "cut", cut=15).finished
  resumed = run(tmp_path / "cut")
  jax.tree.map(np.testing.assert_array_equal, resumed.state, expected.state)


def test_log_goes_on_where_it_was(uncut, tmp_path):
  workdir, _ = uncut
  _train(tmp_path, cut=6)
  _train(tmp_path)
  steps = lambda folder: [(m["step"], m["split"]) for m in read_metrics(folder / "metrics.jsonl")]
  assert steps(tmp_path) == steps(workdir)


def test_a_second_signal_lets_the_checkpoint_be_written(tmp_path, monkeypatch):
  leave = Checkpoints.__exit__

  def signalled(self, *exception):
    os.kill(os.getpid(), signal.SIGTERM)
    leave(self, *exception)

  monkeypatch.setattr(Checkpoints, "__exit__", signalled)
  assert int(_train(tmp_path, cut=1).state.step) == 1
  assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


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


def test_the_progress_bar_shows_what_the_loss_returns(tmp_path, capsys):
  _train(tmp_path)
  shown = capsys.readouterr().err
  last = read_metrics(tmp_path / "metrics.jsonl")[-2]
  assert f"loss={last['loss']:.4g}, root={last['root']:.4g}]" in shown


def test_a_folder_where_another_run_is_at_work_is_left_alone(tmp_path):
  with locked(tmp_path), ThreadPoolExecutor() as other_threads:
    _train(tmp_path, steps=1)  # a run of this thread
    with pytest.raises(UsageError, match="another run is at work here"):
      other_threads.submit(_train, tmp_path).result()


def _diverging(value, share=1):
  """The loss, but not finite in one of so many batches."""

  def loss_fn(params, batch, *, key):
    loss, figures = _loss(params, batch, key=key)
    bad = batch["image"][0, 0, 0, 0] % share == 0
    return loss * jnp.where(bad, value, 1.0), figures

  return loss_fn


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_steps_that_are_not_finite_change_nothing(tmp_path, value):
  result = _train(tmp_path, loss_fn=_diverging(value, share=5))
  assert 0 < int(result.state.skipped) < STEPS / 2
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.state.params))
  assert int(result.state.step) == STEPS
  assert all(np.isfinite(line["loss"]) for line in read_metrics(tmp_path / "metrics.jsonl"))


def test_a_diverged_run_stops_and_leaves_its_best_checkpoint(tmp_path):
  sgd = optax.sgd(optax.piecewise_constant_schedule(0.1, {5: 1e38}))
  with pytest.raises(DivergedError, match=r"last 5 steps up to step 10.* of step [48] \("):
    _train(tmp_path, optimizer=sgd, steps=100, max_skipped=4)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    best, _ = checkpoints.restore_best(create_state(_params(), sgd))
  assert int(best.skipped) == max(int(best.step) - 5, 0)
  assert np.isfinite(best.params["matrix"]).all()


def test_half_a_run_of_skipped_steps_is_enough(tmp_path):
  with pytest.raises(DivergedError, match="last 6 steps up to step 6; start again with a lower"):
    _train(tmp_path, loss_fn=_diverging(np.nan))


def test_a_run_goes_on_elsewhere(tmp_path):
  """All but the optimiser's memory comes along; without memory nothing is lost."""
  sgd = optax.sgd(optax.linear_schedule(1e-2, 1e-3, STEPS))
  whole = _train(tmp_path / "whole", optimizer=sgd)
  here = _train(tmp_path / "here", cut=5, optimizer=sgd)
  assert 0 < int(here.state.step) < STEPS
  with Checkpoints(tmp_path / "here" / "checkpoints") as checkpoints:
    _, data_state = checkpoints.restore(here.state)
  portable.write_parts(tmp_path / "parts", here.state, data_state)
  start = portable.read_parts(tmp_path / "parts", _params(), sgd)
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


def test_the_parameters_given_stay_there(tmp_path):
  """As a notebook's cell needs them that is run again."""
  params = _params()
  _train(tmp_path / "once", params=params)
  np.testing.assert_array_equal(params["matrix"], np.eye(3) / 2)
  assert _train(tmp_path / "again", params=params).finished


def test_a_carried_state_may_go_on_with_other_patches(tmp_path):
  """Without a place in the data they begin anew."""
  here = _train(tmp_path / "here", cut=5)
  portable.write_parts(tmp_path / "parts", here.state, None)
  start = portable.read_parts(tmp_path / "parts", _params(), optax.adam(1e-2))
  there = _train(tmp_path / "there", start=(start[0], None))
  assert there.finished
  assert int(there.state.step) == STEPS


def test_padding_does_not_count_whatever_its_figures_are():
  batch = {"image": np.zeros((2, 8, 8, 3)), "mask": np.array([1, 0], np.float32)}
  errors = lambda params, batch: {"psnr_db": np.array([30.0, np.inf])}
  assert validate(errors, None, [batch, batch]) == {"psnr_db": 30.0}
