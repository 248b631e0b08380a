"""What the loop writes down of a run, whatever the steps are."""

import time

import numpy as np
import optax
import pytest

from cae_jax.metrics_file import read_metrics
from cae_jax.training import sharding
from cae_jax.training.loop import LoopConfig, run_steps
from cae_jax.training.state import create_state
from cae_jax.training.workdir import holds_run


class Steps:
  """Steps of no work, the first of which compiles for half a second."""

  def __init__(self, at_once=1):
    self._at_once, self._compiled = at_once, False

  def advance(self, state, step, limit):
    if not self._compiled:
      time.sleep(0.5)
      self._compiled = True
    done = min(self._at_once, limit)
    figures = {"loss": np.ones(done), "skipped": np.zeros(done, bool)}
    return state.replace(step=state.step + done), figures

  def finished(self, step):
    return step >= 6

  def get_state(self):
    return None

  def set_state(self, state):
    pass


class ByTheClock(Steps):
  """A run whose time is over by when a checkpoint is written."""

  _is_over = False

  def finished(self, step):
    return self._is_over

  def get_state(self):
    self._is_over = True


def _lines(tmp_path, stepper, split="train", **config):
  """The result, and the lines of a split, of a run of parameters 1 whose average is 3."""
  state = create_state({"w": np.float32(1)}, optax.sgd(1.0))
  result = run_steps(
    LoopConfig(steps=6, log_every=2, validate_every=100, **config),
    stepper,
    start=(state.replace(ema_params={"w": np.float32(3)}), None),
    errors_fn=lambda params, batch: {"loss": params["w"] * np.ones(1)},
    valid_batches=[{"mask": np.ones(1)}],
    workdir=tmp_path,
    mesh=sharding.data_mesh(),
  )
  lines = read_metrics(tmp_path / "metrics.jsonl")
  return result, [line for line in lines if line["split"] == split]


def test_the_average_of_the_parameters_is_validated(tmp_path):
  _, [line] = _lines(tmp_path, Steps(), split="valid")
  assert line["loss"] == 3


def test_what_a_run_starts_from_is_validated_once(tmp_path):
  broken = Steps()
  broken.advance = lambda *_: 1 / 0  # before there is a checkpoint
  with pytest.raises(ZeroDivisionError):
    _lines(tmp_path, broken, validate_start=True)
  assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [0]
  assert not holds_run(tmp_path)
  for _ in range(2):  # the run, and the same command again
    _, lines = _lines(tmp_path, Steps(), split="valid", validate_start=True)
    assert [line["step"] for line in lines] == [0, 6]
    assert holds_run(tmp_path)


def test_a_run_that_was_stopped_is_not_finished(tmp_path):
  result, _ = _lines(tmp_path, ByTheClock(), max_minutes=0)
  assert int(result.state.step) == 2
  assert not result.finished


def test_compiling_is_no_step(tmp_path):
  result, lines = _lines(tmp_path, Steps())
  assert [line["step"] for line in lines] == [2, 4, 6]
  assert min(line["steps_per_s"] for line in lines) > 10
  assert result.step_seconds < 0.1


def test_a_line_whose_steps_were_not_timed_has_no_speed(tmp_path):
  _, lines = _lines(tmp_path, Steps(at_once=2))
  assert ["steps_per_s" in line for line in lines] == [False, True, True]
