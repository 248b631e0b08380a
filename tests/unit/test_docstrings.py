"""Docstrings of public functions open with a verb: "Reads ...", not "The image of ..."."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).parents[2] / "cae_jax"
ROOMS = ("codec", "coding", "data", "evaluation", "images", "models", "training", "weights")
# What ends in an s and is no verb, as a first word.
_NOT_VERBS = {
  "Bits", "Bytes", "Channels", "Curves", "Gradients", "Images", "Indexes", "Latents", "Lengths",
  "Losses", "Means", "Parameters", "Patches", "Pixels", "Points", "Ranges", "Rows", "Scales",
  "Settings", "Sides", "Symbols", "Tables", "This", "Values", "Weights",
}  # fmt: skip


def _public_functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, str]]:
  """(name, docstring) of functions and methods, but for properties and what has no docstring."""
  for node in ast.iter_child_nodes(tree):
    if isinstance(node, ast.ClassDef):
      yield from _public_functions(node, f"{prefix}{node.name}.")
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
      continue
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    docstring = ast.get_docstring(node)
    if docstring and not any(name.endswith("property") for name in decorators):
      yield f"{prefix}{node.name}", docstring


def _opens_with_a_verb(docstring: str) -> bool:
  word = re.match(r"\w*", docstring)[0]
  return bool(re.fullmatch(r"[A-Z][a-z]+s", word)) and word not in _NOT_VERBS


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_open_with_a_verb(room):
  faults = [
    f"{path.relative_to(_PACKAGE)}: {name}: {docstring.splitlines()[0]}"
    for path in sorted((_PACKAGE / room).glob("**/*.py"))
    for name, docstring in _public_functions(ast.parse(path.read_text(encoding="utf-8")))
    if not _opens_with_a_verb(docstring)
  ]
  assert faults == []


def test_what_a_verb_is():
  assert _opens_with_a_verb("Reads a file.")
  assert not _opens_with_a_verb("The image of a file.")
  assert not _opens_with_a_verb("uint8 [H, W, 3] -> bytes.")
  assert not _opens_with_a_verb("Means over the images.")
