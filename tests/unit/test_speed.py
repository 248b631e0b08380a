"""Measured speeds: what is taken from them. The measuring is tested by a visit."""

import concurrent.futures
import time

import jax.numpy as jnp
import pytest

from cae_jax.training import background, speed
from cae_jax.training.resident import Stage


class _Dispatch:
  """Stands for a dispatch that takes so long to compile, or cannot be."""

  def __init__(self, batch_size, seconds=0.0, error=None):
    self.stage = Stage(0.0, 16, batch_size)
    self.seconds, self.error = seconds, error

  def compile(self, state, steps):
    time.sleep(self.seconds)
    if self.error:
      raise self.error


def _speeds(rates):
  return {
    _Dispatch(size): speed.StepSpeed(16, size, 1.0, 1 / rate, rate, 0.0, 0.0)
    for size, rate in rates.items()
  }


@pytest.mark.parametrize(
  ("rates", "expected"),
  [({8: 50, 16: 91, 32: 100}, 16), ({8: 50, 16: 80, 32: 100}, 32), ({8: 100, 16: 90}, 8)],
)
def test_the_smallest_batch_that_is_nearly_as_fast_is_taken(rates, expected):
  assert speed.choose(_speeds(rates)).stage.batch_size == expected


def test_time_beside_the_pixels_is_where_no_pixels_are():
  steps = [speed.StepSpeed(16, b, 1.0, 0.5 + 0.25 * b, 1.0, 0.0, 0.0) for b in (8, 16, 32)]
  assert speed.fixed_seconds(steps) == pytest.approx(0.5)
  assert speed.fixed_seconds(steps[:1]) is None


def test_programs_that_take_too_long_are_not_waited_for():
  quick, slow = _Dispatch(8), _Dispatch(16, seconds=5)
  assert list(speed.compile_all([slow, quick], None, 2, timeout=1)) == [quick]


def test_one_program_is_always_waited_for():
  broken, slow = _Dispatch(8, error=MemoryError()), _Dispatch(16, seconds=0.2)
  assert list(speed.compile_all([broken, slow], None, 2, timeout=0)) == [slow]
  with pytest.raises(MemoryError):
    speed.compile_all([broken], None, 2, timeout=0)


def test_matrix_products_have_a_rate():
  assert 1e6 < speed.matrix_flops_per_s(jnp.float32, 64, seconds=0.01) < 1e15


def test_work_in_the_background():
  future = background.start(lambda x: x + 1, 1)
  assert future.result() == 2
  assert background.succeeded(future)
  failed = background.start(lambda: 1 / 0)
  concurrent.futures.wait([failed])
  assert not background.succeeded(failed)
