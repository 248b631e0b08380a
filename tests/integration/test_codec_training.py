"""A run of a codec model of one rate, from the command line to a file."""

import functools
import json

import jax
import numpy as np
import pytest

from cae_jax import codec
from cae_jax.images.files import read_rgb
from cae_jax.metrics_file import read_metrics
from cae_jax.models import build_model, model_class
from cae_jax.weights import WeightsError, load_weights
from experiments import train, train_parts
from experiments.program_flags import parse

OWN = ("--model=factorized", "--name=tiny", "--lmbda=0.05", "--bottleneck=6")


@pytest.fixture(scope="module")
def first(tiny_training, tmp_path_factory):
  """The workdir of a run of eight steps."""
  workdir = tmp_path_factory.mktemp("first")
  assert tiny_training.run_here(workdir, *OWN, "--steps=8") == 0
  return workdir


def test_a_run_leaves_weights_that_make_files(tiny_training, first):
  figures = read_metrics(first / "metrics.jsonl")[-1]
  assert figures["split"] == "valid"
  assert figures["rate_bpp"] > 0
  result = json.loads((first / "result.json").read_text())
  assert result["flags"]["lmbda"] == "--lmbda=0.05"
  assert not result["flags"].keys() & {"workdir", "source_dir", "data_dir"}
  ours = codec.load(first / "weights.safetensors")
  assert ours.weights.config["fixed_lmbda"] == 0.05
  image = read_rgb(tiny_training.source_dir / "test.png")
  data = ours.compress(image)
  assert ours.decompress(data).shape == image.shape
  with pytest.raises(ValueError, match="'tiny' has one rate only; leave bpp out"):
    ours.compress(image, bpp=1.0)


def test_weights_of_another_network_are_no_start(tiny_training, first, tmp_path, capsys):
  start = f"--start_weights={first / 'weights.safetensors'}"
  assert tiny_training.run_here(tmp_path, *OWN, start, "--bottleneck=7") == 2
  assert "another network (bottleneck 6 instead of 7)" in capsys.readouterr().err


def test_a_run_goes_on_from_weights(tiny_training, finished_run, tmp_path, capsys):
  """The paper's network, which compiles in a fifth of the time."""
  start = finished_run / "weights.safetensors"
  still = ("--steps=2", "--learning_rate=0", "--warmup_steps=200", "--test_split=")
  own = ("--upsampling=nearest", f"--start_weights={start}")
  assert tiny_training.run_here(tmp_path, *own, *still) == 0
  said = capsys.readouterr().out
  assert said.count("--warmup_steps=200 is longer than half of the run: 0 instead") == 1
  trained, kept = load_weights(start), load_weights(tmp_path / "weights.safetensors")
  same = functools.partial(np.testing.assert_allclose, rtol=1e-6)  # the running mean rounds
  jax.tree.map(same, trained.params, kept.params)


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
  config = train_parts.config(parse(train.define_flags, given))
  assert config.items() >= expected.items()
  assert type(build_model(config)) is model_class(config["model"])


def test_what_is_not_finite_does_not_become_weights():
  too_large = {"conv": {"kernel": np.array([1, np.inf], np.float16)}}
  with pytest.raises(WeightsError, match="parameter conv/kernel is not finite in float16"):
    codec.calibrate_weights("tiny", {}, too_large, [])
