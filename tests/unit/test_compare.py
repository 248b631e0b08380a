"""`cae compare`: the page of one photograph."""

import json
import re
import sys
import webbrowser

import numpy as np
import pytest

from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.commands import loading
from cae_jax.images.files import write_image
from tests.command_line import one_error, run
from tests.lossless import tiny_weights
from tests.models import context_codec, photo

pytest.importorskip("plotly")


@pytest.fixture(autouse=True)
def opened(monkeypatch):
  """What a browser was asked to show; the tiny codec stands for the shipped one."""
  monkeypatch.setattr(loading, "load_codec", lambda weights: context_codec())
  asked = []
  monkeypatch.setattr(webbrowser, "open", lambda address: asked.append(address) or True)
  return asked


@pytest.fixture
def picture(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write_image(tmp_path / "tree.png", photo(90, 120, seed=2))
  return tmp_path / "tree.png"


def _gallery(page):
  data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
  [shown] = json.loads(data)["gallery"]
  return shown


def test_the_page_has_files_of_one_size(picture, tmp_path, opened, capsys):
  assert run("compare", picture, "--bytes=700", "--codecs=jpeg,webp,bpg", "--bpg-dir=nowhere") == 0
  *lines, path = capsys.readouterr().out.splitlines()
  assert path == "tree_compared.html"
  assert opened == [(tmp_path / path).as_uri()]
  sizes = [re.match(r"([\w ]+): (\d+) bytes, [\d.]+ bpp, [\d.]+ dB$", line) for line in lines[:3]]
  assert [match[1] for match in sizes] == ["tiny", "JPEG", "WebP"]
  assert all(500 < int(match[2]) <= 700 for match in sizes)
  assert lines[3].startswith("BPG: not run: ")
  page = (tmp_path / path).read_text()
  shown = _gallery(page)
  assert [x["label"] for x in shown["shown"]] == ["Original", "tiny", "JPEG", "WebP"]
  assert (shown["width"], shown["height"]) == (120, 90)
  assert shown["missing"][0].startswith("BPG: not run: ")
  for section, hidden in (("files", ""), ("curves", "hidden"), ("times", "hidden")):
    assert f'<section id="{section}" {hidden} aria' in page
  for match in sizes:
    assert f'<td class="number">{match[2]}</td>' in page


def test_the_browser_may_be_left_alone_or_absent(picture, tmp_path, opened, monkeypatch, capsys):
  options = "--codecs=jpeg", "--output=page.html"
  assert run("compare", picture, *options, "--no-open") == 0
  assert opened == []
  assert run("compare", picture, *options) == 2
  capsys.readouterr()
  monkeypatch.setattr(webbrowser, "open", lambda address: False)
  assert run("compare", picture, *options, "--force") == 0
  assert capsys.readouterr().err == "no browser was found that could show page.html\n"


def test_errors(picture, monkeypatch, capsys):
  (picture.parent / "tree_compared.html").write_text("mine")
  assert run("compare", picture) == 2
  assert "tree_compared.html exists; --force overwrites it" in one_error(capsys)
  assert run("compare", picture, "--output=b.png") == 2
  assert "b.png is no name of a page; expected --output=PAGE.html" in one_error(capsys)
  out = "--output=b.html"
  assert run("compare", picture, out, "--codecs=gif") == 2
  assert "unknown codec 'gif'" in one_error(capsys)
  assert run("compare", "absent.png", out) == 2
  assert "absent.png: No such file" in one_error(capsys)
  monkeypatch.setattr(loading, "load_codec", lambda weights: LosslessCodec(tiny_weights()))
  assert run("compare", picture, out, "--weights=lossless") == 2
  assert "the weights lossless are lossless; expected lossy ones" in one_error(capsys)
  assert not (picture.parent / "b.html").exists()


def test_a_drawing_is_compared_as_it_is_compressed(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  lossless = LosslessCodec(tiny_weights())
  codecs = {"lossless2": lossless}
  monkeypatch.setattr(loading, "load_codec", lambda name: codecs.get(name, context_codec()))
  drawing = np.full((90, 120, 3), 240, np.uint8)
  drawing[20:60, 30:90] = 10, 40, 90
  write_image(tmp_path / "plan.png", drawing)
  assert run("compare", "plan.png", "--codecs=jpeg", "--no_open") == 0
  [ours, jpeg, _] = capsys.readouterr().out.splitlines()
  size = len(lossless.compress(drawing))
  assert ours.startswith(f"{lossless.weights.name}: {size} bytes, ")
  assert jpeg.startswith("JPEG: ")


@pytest.mark.parametrize("package", ["plotly", "matplotlib"])
def test_without_its_packages_the_extra_is_named(package, picture, monkeypatch, capsys):
  for name in [*sys.modules]:
    if name.startswith("cae_jax.evaluation"):
      monkeypatch.delitem(sys.modules, name)
    elif name.partition(".")[0] == package:
      monkeypatch.setitem(sys.modules, name, None)
  assert run("compare", picture) == 2
  assert re.search(r'pip install "cae_jax\[(compare|report)\]"', one_error(capsys))


def test_images_are_seen_as_rgb(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  write_image(tmp_path / "grey.png", np.uint16(257) * photo(40, 50)[..., 0])
  assert run("compare", tmp_path / "grey.png", "--codecs=jpeg", "--no_open") == 0
  assert capsys.readouterr().out.endswith("grey_compared.html\n")
