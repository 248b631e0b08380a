"""What stands in several files of the project says the same."""

import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cae_jax

ROOT = Path(__file__).parents[2]


def test_one_version():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
  citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
  readme = (ROOT / "README.md").read_text(encoding="utf-8")
  versions = [
    *re.findall(r"^version: (.+)$", citation, re.MULTILINE),
    *re.findall(r"@software\{cae_jax,.*version = \{([^}]+)\}", readme),
    project["version"],
  ]
  assert versions == [cae_jax.__version__] * 3


def test_the_workflow_and_the_machine_run_the_same_scripts():
  workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
  called = lambda text: set(re.findall(r"\.ci/(\w+)", text))
  scripts = {path.name for path in (ROOT / ".ci").iterdir() if not path.suffix}
  by_others = {name: called((ROOT / ".ci" / name).read_text("utf-8")) for name in scripts}
  assert by_others["run"] == called(workflow) - {"run"}
  assert set().union({"run"}, *by_others.values()) == scripts
  assert all(os.access(ROOT / ".ci" / name, os.X_OK) for name in scripts)


def test_every_python_that_is_promised_is_tried():
  workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
  project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
  oldest = project["requires-python"].removeprefix(">=")
  lists = re.findall(r"python: \[(.*)\]", workflow)
  assert len(lists) == 2
  assert all(versions.split(", ")[0] == f'"{oldest}"' for versions in lists)
  said = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
  assert all(versions.split(", ") == [f'"{version}"' for version in said] for versions in lists)


def test_every_file_of_the_package_is_installed():
  tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
  patterns = ["*.py", *tool["setuptools"]["package-data"]["*"]]
  names = [path.name for path in (ROOT / "cae_jax").rglob("*") if path.is_file()]
  kept = [name for name in names if not name.endswith(".pyc")]
  assert [name for name in kept if not any(fnmatch.fnmatch(name, p) for p in patterns)] == []
  assert "py.typed" in kept  # PEP 561


def test_files_are_fit_to_be_committed():
  command = ["git", "ls-files", "-z"]
  listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
  if listed.returncode:
    pytest.skip("not a checkout of git")
  names = [name for name in listed.stdout.decode().split("\0") if name]
  command = [sys.executable, ".ci/check_files.py", *names]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout
