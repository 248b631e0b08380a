"""Imports between the package's rooms point downward, as docs/architecture.md draws them."""

import ast
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parents[2] / "cae_jax"
# Modules beside the rooms are tools of all of them, at the bottom, but for those named here.
_LEVELS = {
  "images": 1,
  "coding": 1,
  "models": 2,
  "data": 2,
  "weights": 2,
  "codec": 3,
  "training": 3,
  "api": 4,
  "evaluation": 4,
  "commands": 5,
  "pillow": 5,
  "batch": 6,
  "bulk": 6,
  "cli": 7,
}


def _imported(tree: ast.AST) -> Iterator[str]:
  """The rooms and modules of cae_jax that a file imports, also inside functions."""
  for node in ast.walk(tree):
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom) and node.module == "cae_jax":
      names = [f"cae_jax.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [node.module or ""]
    yield from (name.split(".")[1] for name in names if name.startswith("cae_jax."))


def _upward(room: str, target: str) -> bool:
  level, other = (_LEVELS.get(name, 0) for name in (room, target))
  return (other >= level and other > 0) or {room, target} == {"training", "evaluation"}


def test_imports_point_downward():
  faults = []
  for path in sorted(_PACKAGE.rglob("*.py")):
    room = path.relative_to(_PACKAGE).with_suffix("").parts[0]
    targets = set(_imported(ast.parse(path.read_text(encoding="utf-8")))) - {room}
    if room != "__init__":
      faults += [f"{path.relative_to(_PACKAGE)} imports {t}" for t in targets if _upward(room, t)]
  assert faults == []


def test_what_points_upward():
  assert _upward("models", "codec")
  assert _upward("errors", "images")
  assert _upward("evaluation", "training")
  assert not _upward("codec", "models")
  assert not _upward("models", "errors")
