"""The documentation site, made by Sphinx of the pages that are read in the repository, too.

    pip install -e ".[docs]" && sphinx-build -W --keep-going -c docs . site

Its sources lie in the whole repository, so that a link or a picture is the same here and there.
Added are the tables of contents below and the API, a page for each package of `cae_jax`. With
CAE_JAX_RUN_NOTEBOOKS=1 the notebooks are run, for minutes, and show what they draw.
"""

import gc
import inspect
import os
import pkgutil
import re
from pathlib import Path

from pygments.lexers.special import TextLexer

import cae_jax

gc.set_threshold(30_000, 20, 20)  # hardly ever: a build makes millions of nodes that stay
_ROOT = Path(__file__).parents[1]

project = "cae_jax"
version = release = cae_jax.__version__
root_doc = "README"
include_patterns = [
  "*.md",
  "docs/*.md",
  "docs/**/*.md",
  "docs/api/*.rst",
  "cae_jax/weights/*.md",
  "experiments/notebooks/*.ipynb",
]
exclude_patterns = [
  "BUILD_NOTES.md",
  # Folders that Sphinx would search in vain.
  *(path.name for path in _ROOT.iterdir() if path.is_dir() and not (path / "__init__.py").exists()),
]
exclude_patterns.remove("docs")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # as GitHub makes them
nb_execution_mode = "force" if os.environ.get("CAE_JAX_RUN_NOTEBOOKS") else "off"
nb_execution_timeout = 1800  # seconds
nb_execution_raise_on_error = True

default_role = "literal"
autodoc_default_options = {
  "members": True,
  "undoc-members": True,
  "ignore-module-all": True,
  "show-inheritance": True,
}
autodoc_member_order = "bysource"
autodoc_mock_imports = ["apache_beam"]  # not in the environment of the site
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
# Decisions and lab files are found by the lists of their folders, not in the navigation.
# Fields have the names of fields of other classes.
suppress_warnings = ["toc.not_included", "ref.python"]
toc_object_entries = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "cae_jax"
html_copy_source = False
html_additional_pages = {"index": "redirect.html"}
templates_path = ["site"]

# Below the text of these pages: the pages they lead to, by caption.
_GUIDES = ["docs/tutorial", "docs/how-to/README", "experiments/notebooks/*"]
_PROJECT = ["docs/architecture", "docs/decisions/README", "docs/lab/README"]
_PROJECT += ["docs/records/README", "CONTRIBUTING", "SECURITY", "CHANGELOG"]
_IN_HOW_TO = ["docs/pillow", "docs/gpu"]
_PAGES = sorted(f"docs/{page.stem}" for page in (_ROOT / "docs").glob("*.md"))
_REFERENCE = [name for name in _PAGES if name not in _GUIDES + _PROJECT + _IN_HOW_TO]
_WEIGHTS = [
  f"Weights: {p.stem} <cae_jax/weights/{p.stem}>" for p in _ROOT.glob("cae_jax/weights/*.md")
]
_CONTENTS = {
  "README": {
    "Guides": _GUIDES,
    "Reference": [*_REFERENCE, *sorted(_WEIGHTS), "API <docs/api/cae_jax>"],
    "Project": _PROJECT,
  },
  "docs/how-to/README": {"": ["*", *(f"/{name}" for name in _IN_HOW_TO)]},
}


def setup(app) -> None:
  """Called by Sphinx."""
  app.add_lexer("hex", TextLexer)  # the examples of docs/format.md
  app.connect("builder-inited", lambda _: _write_api(_ROOT / "docs" / "api"))
  app.connect("source-read", _add_contents)
  # Before napoleon, which looks for sections.
  app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)
  app.connect("autodoc-process-docstring", _property_as_it_stands, priority=600)
  app.connect("autodoc-skip-member", _is_told_by_its_class)
  app.connect("autodoc-process-signature", _readable_signature)


def _add_contents(app, name: str, source: list[str]) -> None:
  for caption, pages in _CONTENTS.get(name, {}).items():
    options = [":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
    source[0] += "\n".join(["", "```{toctree}", *options, "", *pages, "```", ""])


def _write_api(folder: Path) -> None:
  """Writes a page for each public package, with its modules, and one that leads to them."""
  folder.mkdir(exist_ok=True)
  packages: dict[str, list[str]] = {"cae_jax": []}
  for module in sorted(pkgutil.walk_packages(cae_jax.__path__, "cae_jax."), key=lambda m: m.name):
    if any(part.startswith("_") for part in module.name.split(".")):
      continue
    if module.ispkg:
      packages[module.name] = []
    else:
      packages[module.name.rpartition(".")[0]].append(module.name)
  for page in folder.glob("*.rst"):
    if page.stem not in packages:
      page.unlink()
  for package, modules in packages.items():
    inside = [name for name in packages if name.rpartition(".")[0] == package]
    lines = [*_heading(package, "="), f".. automodule:: {package}"]
    for module in modules:
      lines += ["", *_heading(module, "-"), f".. automodule:: {module}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {name}" for name in inside), ""]
    page, text = folder / f"{package}.rst", "\n".join(lines)
    if not page.exists() or page.read_text(encoding="utf-8") != text:  # else it is up to date
      page.write_text(text, encoding="utf-8")


def _heading(text: str, line: str) -> list[str]:
  return [text, line * len(text), ""]


def _as_restructured_text(app, what, name, obj, options, lines: list[str]) -> None:
  lines[:] = _restructured(lines)


def _property_as_it_stands(app, what, name, obj, options, lines: list[str]) -> None:
  """Napoleon takes what stands before a colon for a type."""
  if what == "property" and obj.__doc__:
    lines[:] = [*_restructured(inspect.cleandoc(obj.__doc__).splitlines()), ""]


def _restructured(lines: list[str]) -> list[str]:
  """Docstrings are plain text with `code`, and examples that are indented by four spaces."""
  result: list[str] = []
  for line in lines:
    indented = line.startswith("    ")
    if indented and (not result or not result[-1]):
      result += ["::", ""]
    result.append(line if indented else _escaped(line))
  return result


def _readable_signature(app, what, name, obj, options, signature, returned):
  """Defaults such as <factory> would leave the whole signature unformatted."""
  if signature and "<" in signature:
    return re.sub(r"<[^<>]*>", "...", signature), returned
  return None


def _is_told_by_its_class(app, what, name, obj, skip, options) -> bool | None:
  """Fields, which the docstring of a class lists."""
  function = callable(obj) or isinstance(obj, property | classmethod | staticmethod)
  return True if what == "class" and not function else None


def _escaped(line: str) -> str:
  """What has a meaning in reStructuredText alone, outside `code`."""
  parts = re.split(r"(`[^`]+`)", line)
  parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
  return re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "".join(parts))
