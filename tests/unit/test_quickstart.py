"""The first command of the README, with a tiny codec and without its training."""

import numpy as np

import cae_jax
from cae_jax.images.files import read_rgb
from experiments import cli, quickstart, train
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


def test_the_papers_network_is_trained_beside_it(monkeypatch, tmp_path):
  monkeypatch.setattr(quickstart, "show_codec", lambda folder, image: "shown")
  monkeypatch.setattr(quickstart, "_photograph", lambda data_dir: None)
  trained = []
  monkeypatch.setattr(train, "main", trained.append)
  arguments = [f"--output={tmp_path}", f"--data_dir={tmp_path / 'data'}", "--steps=7"]
  assert cli.run(quickstart.main, quickstart.define_flags, arguments) == 0
  [args] = trained
  assert (args.name, args.dataset, args.model) == ("sample_paper", "sample_photos", "paper")
  assert (args.workdir, args.data_dir) == (tmp_path / "paper", tmp_path / "data")
  assert args.steps == 7


def test_the_photograph_is_one_of_the_bundled_ones(tmp_path):
  image = quickstart._photograph(tmp_path)
  assert image.shape == (400, 600, 3)
  assert image.dtype == np.uint8
