"""A short run of the fuzzer in tests/benchmarks/fuzz.py."""

import pytest

from cae_jax import commands
from tests.benchmarks import fuzz
from tests.golden import FOLDER
from tests.models import context_codec


@pytest.fixture(autouse=True)
def _shared_codec(monkeypatch):
  monkeypatch.setattr("cae_jax.codec.load", lambda _: context_codec())
  yield
  commands.load_codec.cache_clear()


def test_damaged_files_are_refused_as_such_or_written(tmp_path):
  outcomes = fuzz.run(FOLDER / "context.safetensors", tmp_path, 400, seed=1)
  assert outcomes.total() == 400
  # Damage of all kinds was found where it is; what was written has broken metadata, or none.
  refused = {"magic", "version", "header", "metadata", "sections", "symbols", "checksum"}
  refused |= {"rans", "plain", "escapes"}
  assert outcomes.keys() == refused | {*fuzz.SUFFIXES, "opacity in .jpg"}
  assert sum(outcomes[suffix] for suffix in fuzz.SUFFIXES) < 160
