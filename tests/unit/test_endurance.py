"""Short runs of tests/benchmarks/endurance.py."""

import functools

import pytest

import cae_jax
from cae_jax.codec.lossless.image import LosslessCodec
from tests.benchmarks import endurance
from tests.lossless import tiny_weights


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
  """All pictures without loss or nearly so, by tiny weights: nothing to compile."""
  codec = LosslessCodec(tiny_weights())

  def compress(x, *, keep_hidden_colour, lossless=False, near_lossless=None, quality=None):
    del lossless, quality
    return codec.compress(
      x, keep_hidden_colour=keep_hidden_colour, near_lossless=near_lossless or 0
    )

  monkeypatch.setattr(cae_jax, "compress", compress)
  monkeypatch.setattr(cae_jax, "decompress", codec.decompress)
  monkeypatch.setattr(endurance, "PICTURES", 12)


def test_many_files_in_one_process():
  found = endurance.memory(20)
  assert list(found) == [f"mib_after_{2 * i}" for i in range(1, 11)]


def test_growth_is_found(monkeypatch):
  sizes = iter(range(100, 1000, 10))
  monkeypatch.setattr(endurance, "resident_mib", lambda: next(sizes))
  with pytest.raises(AssertionError, match="'mib_after_10': 190"):
    endurance.memory(10)


def test_many_threads_at_once():
  found = endurance.threads(0.01, 3)
  assert found["files"] >= 3


def test_another_file_is_found(monkeypatch):
  numbers = iter(range(1000))
  monkeypatch.setattr(endurance, "there_and_back", lambda number, seed: next(numbers))
  with pytest.raises(AssertionError, match="became another"):
    endurance.threads(0.01, 2)
  with pytest.raises(AssertionError, match="became another"):
    endurance.memory(50)


def test_pools_are_compared(monkeypatch):
  """The processes are stood in for: real ones are started by the program."""

  class Pool:
    def __init__(self, jobs, context):
      self.way = context.get_start_method()

    def __enter__(self):
      return self

    def __exit__(self, *_):
      pass

    def map(self, function, *iterables):
      for arguments in zip(*iterables):
        yield "other" if self.way == wrong else function(*arguments)

  monkeypatch.setattr(endurance.concurrent.futures, "ProcessPoolExecutor", Pool)
  monkeypatch.setattr(endurance, "there_and_back", functools.cache(endurance.there_and_back))
  wrong = ""
  assert endurance.pools(6, 2)["files_by_spawn"] == 6
  wrong = "spawn"
  with pytest.raises(AssertionError, match="spawn makes other files"):
    endurance.pools(6, 2)
