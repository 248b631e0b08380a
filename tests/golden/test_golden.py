import re

import pytest

from cae_jax.codec.lossless.layout import Layout
from cae_jax.coding.bitstream import unpack
from cae_jax.weights import read_metadata
from cae_jax.weights.shipped import shipped
from tests.golden import FOLDER, GENERATIONS, check

ALL = check.names()
RELEASED = [name for name in ALL if name.endswith("-released")]
FILES = sorted(set(ALL) - set(RELEASED))
LOSSLESS = [name for name in FILES if name.startswith("lossless")]


def test_all_are_there():
  assert len(FILES) == 18 + len(LOSSLESS) == 33
  assert sorted(f"{name}-released" for name in GENERATIONS) == sorted(RELEASED)


def test_none_has_changed():
  """Files that are here decode for ever: new ones come beside them, with a line of their own."""
  assert check.changed() == []


def test_all_versions_are_there():
  versions = {name: (FOLDER / f"{name}.cae").read_bytes()[4] for name in ALL}
  of = {number: {name for name in ALL if versions[name] == number} for number in (1, 2, 3, 4)}
  assert of[2] == {name for name in FILES if name.endswith("2")} | set(RELEASED)
  assert of[3] == {name for name in FILES if name.endswith("3")}
  assert of[4] == {name for name in FILES if name.endswith("4")}
  assert set(versions.values()) == {1, 2, 3, 4}


def test_released_generations_are_shipped():
  assert {name: read_metadata(path)["hash"] for name, path in shipped().items()} == GENERATIONS
  text = (FOLDER.parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
  assert dict(re.findall(r"^\| `([\w-]+)` \| `(\w{16})` \|", text, re.M)) == GENERATIONS


@pytest.mark.parametrize("name", ALL)
def test_golden_file_decodes(name):
  """Lossless ones exactly; of the others the symbols, the pixels but for the rounding of floats."""
  found = check.compare(name)
  assert found.is_right, found


def test_the_command_says_what_it_has_found(monkeypatch, capsys):
  names = ["context-pixel", "lossless-drawing"]
  monkeypatch.setattr(check, "names", lambda: names)
  monkeypatch.setattr("sys.argv", ["check"])
  assert check.main() == 0
  said = capsys.readouterr().out
  for word in ("Python: ", "JAX: ", "NumPy: ", "BLAS: ", "device: ", "processor: "):
    assert word in said
  assert "lossless-drawing     version 1: same\n2 of 2 as they must be, " in said
  wrong = check.Comparison("context-grey", 1, 100, 3, 7, is_right=False)
  monkeypatch.setattr(check, "compare", lambda name: wrong)
  monkeypatch.setattr(check, "changed", lambda: ["context.png"])
  assert check.main() == 1
  said = capsys.readouterr().out
  assert "context-grey         version 1: 3 of 100 samples differ by at most 7 WRONG" in said
  assert "context.png: not the file of SHA256SUMS\n0 of 2 as they must be, 0 the same" in said


def test_another_picture_is_found(monkeypatch):
  found = check.read_image(FOLDER / "lossless-pixel.png", exact=True)
  found.pixels[...] ^= 1
  monkeypatch.setattr(check, "read_image", lambda *_, **__: found)
  assert not check.compare("lossless-pixel").is_right
  assert check.compare("lossless-pixel").largest == 1


def test_lossless_golden_files_have_all_that_there_can_be():
  contents = {}
  for name in LOSSLESS:
    container = unpack((FOLDER / f"{name}.cae").read_bytes())
    layout = Layout.unpack(container.header.parameters)
    methods = {section[4] for section in container.sections}
    contents[name.split("-")[1]] = layout, methods, len(container.sections)
  for name in ("rgb", "grey16", "rgb16", "near", "near16"):
    assert contents[name][1:] == ({0}, 1)
  assert contents["rgba"][1:] == contents["rgba2"][1:] == ({0, 1}, 2)
  assert contents["tiles"][1:] == contents["tiles2"][1:] == ({0}, 2)
  assert contents["drawing"][1] == contents["noise"][1] == {1}
  assert contents["counted"][0].counted
  assert contents["whole"][0].whole
  assert contents["near16"][0].step == 19
