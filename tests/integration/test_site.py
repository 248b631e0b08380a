"""The documentation site, built by the command that users run, without a warning."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cae_jax
from tests.integration.conftest import environment

pytest.importorskip("sphinx", reason='Sphinx is not installed: pip install ".[docs]"')
_ROOT = Path(__file__).parents[2]
# Lists that are found from pages, not in the navigation.
_UNLISTED = ("docs/decisions/0", "docs/lab/20")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("site")
  command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs"]
  command += ["-d", str(folder / "doctrees"), ".", str(folder / "html")]
  done = subprocess.run(command, cwd=_ROOT, env=environment(), capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return folder / "html"


def _page(site: Path, name: str) -> str:
  return (site / f"{name}.html").read_text(encoding="utf-8")


def test_every_public_module_is_on_the_page_of_its_package(site):
  for module in pkgutil.walk_packages(cae_jax.__path__, "cae_jax."):
    if not any(part.startswith("_") for part in module.name.split(".")):
      package = module.name if module.ispkg else module.name.rpartition(".")[0]
      assert f'id="module-{module.name}"' in _page(site, f"docs/api/{package}")


def test_pages_show_what_users_call(site):
  start = _page(site, "docs/api/cae_jax")
  assert 'id="cae_jax.load"' in start
  assert 'id="cae_jax.api.compress"' in start
  assert "the shipped ones, others by name, or a file" in start
  codec = _page(site, "docs/api/cae_jax.codec")
  names = ("image.Codec.compress", "image.Codec.encode", "decoded.FileDecoder.decompress")
  assert [name for name in names if f'id="cae_jax.codec.{name}"' not in codec] == []
  assert 'Bases: <a class="reference internal" href="#cae_jax.codec.decoded.FileDecoder"' in codec


def test_docstrings_are_set_as_they_are_meant(site):
  start = _page(site, "docs/api/cae_jax")
  # Indented examples are code, and `code` is, too.
  assert re.search(r"<pre>(<[^>]*>)*codec</span>", start)
  codec = _page(site, "docs/api/cae_jax.codec")
  assert re.search(r"Parameters<.*?<li><p><strong>image</strong>", codec, re.DOTALL)
  # What stands before a colon in the first line of a property is no type.
  assert "Channels but for opacity: 1 or 3." in _page(site, "docs/api/cae_jax.coding")


def test_every_page_can_be_found(site):
  navigation = set(re.findall(r'class="reference internal" href="([^"#]+)"', _page(site, "README")))
  pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
  pages -= {"index.html", "search.html", "genindex.html", "py-modindex.html", "README.html"}
  assert {page for page in pages - navigation if not page.startswith(_UNLISTED)} == set()


def test_readme_notebooks_and_pictures_are_there(site):
  assert 'url=README.html"' in _page(site, "index")
  assert "ModelOfParts" in _page(site, "experiments/notebooks/3_a_model_from_parts")
  assert list((site / "_images").glob("context2_rate_distortion.png"))
