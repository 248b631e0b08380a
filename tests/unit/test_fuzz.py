"""A short run of the fuzzer in tests/benchmarks/fuzz.py."""

from tests.benchmarks import fuzz
from tests.models import context_codec


def test_damaged_files_are_refused_as_such():
  outcomes = fuzz.run(context_codec(), 300, seed=1)
  assert outcomes.total() == 300
  assert outcomes["unnamed"] == 0
  # Damage of all kinds was found where it is.
  assert outcomes.keys() >= {"magic", "header", "sections", "symbols", "rans", "checksum"}
  assert outcomes["decoded"] < 60  # of files in which only metadata, say, was changed
