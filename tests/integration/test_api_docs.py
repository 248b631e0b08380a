"""The pages of the API, built from the docstrings by the command that users run."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cae_jax
from tests.integration.conftest import environment

pytest.importorskip("pdoc", reason='pdoc is not installed: pip install ".[docs]"')
_COMMAND = Path(__file__).parents[2] / "docs" / "make_api.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("api")
  command = [sys.executable, str(_COMMAND), str(folder)]
  done = subprocess.run(command, env=environment(), capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return folder


def _page(folder: Path, module: str) -> str:
  return (folder / f"{module.replace('.', '/')}.html").read_text(encoding="utf-8")


def test_every_public_module_has_a_page(pages):
  names = {"cae_jax"} | {m.name for m in pkgutil.walk_packages(cae_jax.__path__, "cae_jax.")}
  public = {name for name in names if not any(part[0] == "_" for part in name.split("."))}
  written = {path.relative_to(pages).with_suffix("") for path in pages.rglob("*.html")}
  assert written - {Path("index")} == {Path(*name.split(".")) for name in public}


def test_pages_show_what_users_call(pages):
  start = _page(pages, "cae_jax")
  assert 'id="load"' in start
  assert "the shipped ones, others by name, or a file" in start
  codec = _page(pages, "cae_jax.codec.image")
  assert all(f'id="Codec.{name}"' in codec for name in ("compress", "encode", "decompress"))
  # A name that its package imports only when asked for.
  assert 'id="calibrate_weights"' in _page(pages, "cae_jax.codec")


def test_sections_of_docstrings_become_lists(pages):
  codec = _page(pages, "cae_jax.codec.image")
  assert re.search(r"Arguments:</h6>\s*<ul>\s*<li><strong>image:</strong>", codec)
