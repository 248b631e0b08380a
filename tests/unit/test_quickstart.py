"""The first command of the README, with a tiny codec and without its training."""

import subprocess
import types
from pathlib import Path

import numpy as np

import cae_jax
from cae_jax.images.files import read_rgb
from experiments import quickstart
from tests.models import context_codec, photo


def test_the_photograph_its_file_and_pictures_are_left(monkeypatch, tmp_path):
  codec, image = context_codec(), photo(100, 130)
  monkeypatch.setattr(cae_jax, "load", lambda: codec)
  line = quickstart.show_codec(tmp_path / "new", image)
  read = lambda name: read_rgb(tmp_path / "new" / name)
  np.testing.assert_array_equal(read("coffee.png"), image)
  data = (tmp_path / "new" / "coffee.cae").read_bytes()
  np.testing.assert_array_equal(read("coffee_decoded.png"), codec.decompress(data))
  assert read("coffee_compared.png").std() > 5
  assert line.startswith(f"{tmp_path}/new/coffee.cae: {len(data)} bytes, ")
  assert "JPEG of that size: " in line


def test_arguments_go_to_the_training(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(quickstart, "show_codec", lambda folder, image: "shown")
  monkeypatch.setattr(quickstart, "_photograph", lambda: None)
  commands = []
  run = lambda command, check: commands.append(command) or types.SimpleNamespace(returncode=2)
  monkeypatch.setattr(subprocess, "run", run)
  assert quickstart.main(["--steps=7"]) == 2
  [[_, *arguments]] = commands
  flagfile = arguments[2].removeprefix("--flagfile=")
  assert arguments[:2] == ["-m", "experiments.train"]
  assert arguments[3:] == ["--workdir=runs/quickstart/paper", "--steps=7"]
  assert "--name=sample_paper" in Path(flagfile).read_text()


def test_the_photograph_is_one_of_the_bundled_ones():
  image = quickstart._photograph()
  assert image.shape == (400, 600, 3)
  assert image.dtype == np.uint8
