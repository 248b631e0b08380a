"""What stands in several files of the project says the same."""

import re
import tomllib
from pathlib import Path

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
