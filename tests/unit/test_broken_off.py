"""A short run of tests/benchmarks/broken_off.py."""

import os

import pytest

from tests.benchmarks import broken_off

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def test_nothing_is_half_there(tmp_path):
  path = tmp_path / "record.json"
  folder = tmp_path / "work"
  folder.mkdir()
  record = broken_off.run(folder, len(broken_off.TROUBLES), seed=0, path=path)
  assert record.count == sum(record.outcomes.values()) == 5
  assert {name.partition(":")[0] for name in record.outcomes} == {*broken_off.TROUBLES}
