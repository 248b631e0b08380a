"""Builds the pages of the API from the docstrings, with pdoc.

python docs/make_api.py [FOLDER]     (docs/api if not given; needs `pip install ".[docs]"`)
"""

import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path

import pdoc

import cae_jax

# Said of things that are right: the installed package is meant, not the folder of that name; of the
# inherited field of a TypedDict pdoc finds no source; and annotations of Flax, Optax and Pillow
# name what those libraries import for type checkers only.
_HARMLESS = re.compile(
  r"'cae_jax' may refer to either the installed"
  r"|Cannot determine where cae_jax\.data\.patches\.MaskedBatch\.image is taken from"
  r"|Error parsing type annotation .* for cae_jax\.\S+\.(\w+_init|opt_state|__init__)\."
  r"|.* type annotation for (cae_jax\.pillow\.CaeImageFile\.im|PIL\.\S+):"
  r"|Error parsing type annotation .* for (cae_jax\.pillow\.CaeImageFile\.im|PIL\.\S+)\.",
  re.DOTALL,
)


def main(folder: Path) -> None:
  """Writes the pages; raises RuntimeError where pdoc warns of something."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    _show_all_modules()
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("cae_jax", output_directory=folder)
  messages = {str(warning.message) for warning in caught}
  unexpected = sorted(message for message in messages if not _HARMLESS.match(message))
  if unexpected:
    raise RuntimeError("\n".join(["pdoc warns of:", *unexpected]))


def _show_all_modules() -> None:
  """Packages with `__all__` would hide their modules, and the names imported when asked for."""
  modules = [found.name for found in pkgutil.walk_packages(cae_jax.__path__, "cae_jax.")]
  for package in map(importlib.import_module, ["cae_jax", *modules]):
    if hasattr(package, "__path__") and hasattr(package, "__all__"):
      vars(package).update({name: getattr(package, name) for name in package.__all__})
      inside = [module.name for module in pkgutil.iter_modules(package.__path__)]
      package.__all__ = [*package.__all__, *(n for n in inside if n not in package.__all__)]


if __name__ == "__main__":
  main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "api"))
