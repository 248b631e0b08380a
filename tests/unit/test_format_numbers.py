"""The table of numbers in docs/format.md is what the code does."""

import importlib
import re
from pathlib import Path

import pytest

from cae_jax.models.exact.cells import Cells

_TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
_SECTION = _TEXT.split("## Numbers that the bytes depend on")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", _SECTION, re.M)


def test_the_table_is_found():
  assert len(ROWS) == _SECTION.count("\n| `") >= 30


@pytest.mark.parametrize(("name", "value"), ROWS, ids=[name for name, _ in ROWS])
def test_the_code_has_the_number_of_the_document(name, value):
  module, _, attribute = name.rpartition(".")
  attribute, _, key = attribute.partition("[")
  found = getattr(importlib.import_module(f"cae_jax.{module}"), attribute)
  found = found[int(key.rstrip("]"))] if key else found
  assert found == eval(value, {"Cells": Cells})
