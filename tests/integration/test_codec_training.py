"""A run of a codec model of one rate, from the command line to a file."""

import json

import jax
import numpy as np
import pytest

from cae_jax import codec
from cae_jax.images.files import read_rgb
from cae_jax.metrics_file import read_metrics
from cae_jax.models import build_model, model_class
from cae_jax.weights import load_weights
from experiments import train
from experiments.program_flags import parse


def test_a_run_leaves_weights_that_make_files(tiny_training, tmp_path):
  own = ("--model=factorized", "--name=tiny", "--lmbda=0.05", "--steps=4", "--bottleneck=6")
  done = tiny_training.run(tmp_path, *own)
  assert done.returncode == 0, done.stderr
  figures = read_metrics(tmp_path / "metrics.jsonl")[-1]
  assert figures["split"] == "valid"
  assert figures["rate_bpp"] > 0
  result = json.loads((tmp_path / "result.json").read_text())
  assert result["flags"]["lmbda"] == "--lmbda=0.05"
  ours = codec.load(tmp_path / "weights.safetensors")
  assert ours.weights.config["fixed_lmbda"] == 0.05
  image = read_rgb(tiny_training.source_dir / "test.png")
  data = ours.compress(image)
  assert ours.decompress(data).shape == image.shape
  with pytest.raises(ValueError, match="'tiny' has one rate only; leave bpp out"):
    ours.compress(image, bpp=1.0)


def test_a_run_goes_on_from_weights(tiny_training, tmp_path):
  own = ("--model=factorized", "--name=tiny", "--lmbda=0.05", "--bottleneck=6", "--test_split=")
  assert tiny_training.run(tmp_path / "first", *own, "--steps=4").returncode == 0
  first = tmp_path / "first" / "weights.safetensors"
  start, still = f"--start_weights={first}", ("--steps=2", "--learning_rate=0")
  done = tiny_training.run(tmp_path / "second", *own, start, *still)
  assert done.returncode == 0, done.stderr
  second = load_weights(tmp_path / "second" / "weights.safetensors")
  jax.tree.map(np.testing.assert_array_equal, load_weights(first).params, second.params)
  other = tiny_training.run(tmp_path / "third", *own, start, "--bottleneck=7")
  assert other.returncode != 0
  assert "another network (bottleneck 6 instead of 7)" in other.stderr


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    (
      ["--model=hyperprior", "--hidden_channels=8", "--latent_channels=12", "--lmbda=0.05"],
      {"hidden_channels": 8, "latent_channels": 12, "fixed_lmbda": 0.05},
    ),
    (
      ["--model=context", "--channels=8,16", "--blocks=1,1", "--width=24", "--lmbda_max=0.1"],
      {"channels": [8, 16], "blocks": [1, 1], "width": 24, "lmbda_max": 0.1},
    ),
  ],
)
def test_flags_are_the_settings_of_the_model(given, expected):
  config = train._config(parse(train.define_flags, given))
  assert config.items() >= expected.items()
  assert type(build_model(config)) is model_class(config["model"])
