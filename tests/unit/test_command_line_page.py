"""The examples of docs/command-line.md run in their order, on small pictures and tiny weights."""

import re
from pathlib import Path

import pytest

from cae_jax import api
from cae_jax.commands import describing
from cae_jax.images.files import write_image
from cae_jax.weights import save_weights, shipped
from tests.command_line import run
from tests.integration.test_readme import commands as commands_of
from tests.lossless import tiny_weights
from tests.models import context_weights, looking_codec, photo

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
# What needs a shell is tried in test_streams.py, and `compare` and `completion` have tests, too.
EXAMPLES = [
  [*command.arguments]
  for command in commands_of(PAGE)
  if not {"<", ">", "|"} & {*command.arguments} and command.arguments[0] != "compare"
]


@pytest.fixture
def _reader(tmp_path, monkeypatch):
  """A reader's folder; the weights are tiny ones."""
  folder = tmp_path / "weights"
  folder.mkdir()
  save_weights(folder / "tiny.safetensors", context_weights())
  save_weights(folder / "exact.safetensors", tiny_weights())
  monkeypatch.setattr(shipped, "FOLDER", folder)
  monkeypatch.setattr(shipped, "DEFAULT", "tiny")
  monkeypatch.setattr(shipped, "EYE", "tiny")
  monkeypatch.setattr("cae_jax.codec.load", lambda path: looking_codec())
  api._codec.cache_clear()
  write_image(tmp_path / "photo.png", photo(48, 64))
  for name in ("a.png", "x/b.png"):
    (tmp_path / "photos" / name).parent.mkdir(exist_ok=True, parents=True)
    write_image(tmp_path / "photos" / name, photo(30, 40))
  monkeypatch.chdir(tmp_path)
  yield
  api._codec.cache_clear()


@pytest.mark.usefixtures("_reader")
def test_the_examples_run(capsys):
  assert len(EXAMPLES) >= 8
  for example in EXAMPLES:
    assert run(*example, *_again(example)) == 0, example
  assert "2 files, 2 skipped, " in capsys.readouterr().err
  assert Path("again/x/b.tif").exists()


def _again(example):
  """Options for an example that follows others, in this process: others lack the tiny weights."""
  if example[0] == "info":
    return []
  return ["--jobs=1"] if "--skip_existing" in example else ["--jobs=1", "--force"]


def test_the_fields_are_documented():
  fields = {
    *re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", PAGE, re.MULTILINE)))
  }
  known = {"input", "output", "status", "error", "input_bytes", "psnr_db", "notes"}
  known |= {"output_bytes", "output_width", "output_height"}
  known |= {"damage"}
  content = describing.describe_file(
    Path(__file__).parents[1] / "golden" / "context-rgb.cae"
  ).fields
  assert fields == known | content.keys()
