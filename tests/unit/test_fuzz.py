"""A short run of the fuzzer in tests/benchmarks/fuzz.py."""

from pathlib import Path

import pytest

from cae_jax import api
from cae_jax.codec.lossless.image import LosslessCodec
from tests.benchmarks import fuzz
from tests.golden import FOLDER
from tests.lossless import tiny_weights
from tests.models import context_codec


@pytest.fixture(autouse=True)
def _shared_codec(monkeypatch):
  codecs = {"context": context_codec, "lossless": lambda: LosslessCodec(tiny_weights())}
  monkeypatch.setattr("cae_jax.codec.load", lambda path: codecs[Path(path).stem]())
  api._codec.cache_clear()
  yield
  api._codec.cache_clear()


def test_damaged_files_are_refused_as_such_or_written(tmp_path):
  outcomes = fuzz.run(FOLDER / "context.safetensors", tmp_path, 400, seed=1)
  assert outcomes.total() == 400
  # Damage of all kinds was found where it is; what was written has broken metadata, or none.
  refused = {"magic", "version", "header", "metadata", "sections", "symbols", "checksum"}
  refused |= {"rans", "plain", "escapes", "tile"}
  assert outcomes.keys() - {"opacity in .jpg"} == refused | {*fuzz.SUFFIXES}
  assert sum(outcomes[suffix] for suffix in fuzz.SUFFIXES) < 160


def test_damaged_lossless_files_are_refused_as_such_or_hold_their_picture(tmp_path):
  outcomes = fuzz.run(tmp_path / "lossless.safetensors", tmp_path, 200, seed=0)
  assert outcomes.total() == 200
  refused = {"magic", "version", "header", "metadata", "sections", "checksum", "parameters"}
  refused |= {"rans", "escapes", "tile", "plain"}
  assert outcomes.keys() - {"too many pixels"} == refused | {*fuzz.EXACT_SUFFIXES}
  assert sum(outcomes[suffix] for suffix in fuzz.EXACT_SUFFIXES) < 40
