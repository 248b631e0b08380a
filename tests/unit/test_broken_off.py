"""A short run of tests/benchmarks/broken_off.py."""

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks import broken_off

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def test_nothing_is_half_there(tmp_path):
  path = tmp_path / "record.json"
  # In a process of its own: it forks, and this one has the threads of JAX.
  command = [sys.executable, "-m", "tests.benchmarks.broken_off"]
  count = len(broken_off.TROUBLES)
  subprocess.run([*command, f"--count={count}", f"--record={path}"], check=True)
  record = json.loads(path.read_text())
  assert record["count"] == sum(record["outcomes"].values()) == count
  assert {name.partition(":")[0] for name in record["outcomes"]} == {*broken_off.TROUBLES}
