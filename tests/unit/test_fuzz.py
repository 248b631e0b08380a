"""A short run of the fuzzer in tests/benchmarks/fuzz.py."""

import dataclasses
import functools
import itertools
from pathlib import Path

import numpy as np
import pytest

from cae_jax import api
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.errors import UsageError
from tests.benchmarks import fuzz
from tests.lossless import tiny_weights
from tests.models import context_codec


@functools.cache
def _lossless_codec():
  return LosslessCodec(tiny_weights())


@functools.cache
def _trial():
  return fuzz._Trial("lossless", Path())


@pytest.fixture(autouse=True)
def _shared_codec(monkeypatch):
  codecs = {"context": context_codec, "lossless": _lossless_codec}
  monkeypatch.setattr("cae_jax.codec.load", lambda path: codecs[Path(path).stem]())
  api._codec.cache_clear()
  yield
  api._codec.cache_clear()


def test_damaged_files_are_refused_as_such_or_decoded():
  record = fuzz.run(300, models=["context", "lossless"], seed=1)
  assert record.failures == []
  assert record.outcomes.keys() == {
    *("context 1", "context 2", "context 3", "context 4"),
    *("lossless 1", "lossless 2"),
  }
  # Damage of all kinds was found where it is.
  everywhere = {"header", "sections", "checksum", "rans", "tile"}
  for model, more in (("context", {"symbols", "metadata"}), ("lossless", {"plain"})):
    outcomes = record.total(model)
    assert outcomes.total() == 150
    refused = {name.removeprefix("refused: ") for name in outcomes if name.startswith("refused")}
    assert refused >= everywhere | more
    assert 0 < outcomes["decoded"] < 45


def test_a_run_goes_on_from_its_record(tmp_path):
  whole = fuzz.run(8, models=["lossless"], seed=3)
  path = tmp_path / "record.json"
  fuzz.run(3, models=["lossless"], seed=3, path=path)
  resumed = fuzz.run(8, models=["lossless"], seed=3, path=path)
  assert (resumed.outcomes, resumed.files) == (whole.outcomes, 8)
  assert fuzz.load(path, 3, ["lossless"]) == resumed
  with pytest.raises(UsageError, match=r"record\.json is of seed 3 and models lossless"):
    fuzz.run(8, models=["lossless"], seed=4, path=path)


def _hang(*_):
  while True:
    pass


def _grow(*_):
  return "decoded"


def _fail(*_):
  raise KeyError("missing")


@pytest.mark.parametrize(
  ("fault", "what"),
  [
    (_fail, "error: KeyError: 'missing'"),
    (lambda *_: fuzz._right(False, "flipped"), "wrong picture: flipped"),
    (_hang, "hang: more than 0.1 s"),
    (_grow, "memory: 64 MiB"),
  ],
)
def test_what_goes_wrong_is_kept(monkeypatch, fault, what):
  monkeypatch.setattr(fuzz, "SLOWEST_S", 0.1 if "hang" in what else 60)
  monkeypatch.setattr(fuzz, "GROWTH_MIB", 50)
  peaks = itertools.count(100, 64)
  if "memory" in what:
    monkeypatch.setattr(fuzz, "_peak_mib", lambda: next(peaks))
  monkeypatch.setattr(fuzz._Trial, "outcome", fault)
  record = fuzz.Record(seed=0, models=["lossless"])
  fuzz._try(record, _trial(), "lossless", 0)
  [failure] = record.failures
  assert failure["what"] == what
  assert len(bytes.fromhex(failure["data"])) > 0
  assert record.total() == {what.partition(":")[0]: 1}


def test_another_picture_than_the_files_is_found(monkeypatch):
  codec, trial, rng = _lossless_codec(), _trial(), np.random.default_rng(0)
  decode = codec._decode

  def flipped(*given):
    decoded = decode(*given)
    return dataclasses.replace(decoded, image=decoded.image[::-1])

  monkeypatch.setattr(codec, "_decode", flipped)
  with pytest.raises(fuzz.WrongPicture, match="whole differs"):
    trial.outcome(trial.files[0], rng)
