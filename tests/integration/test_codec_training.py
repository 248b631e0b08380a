"""Runs of codec models of one rate, from the command line to files."""

import json

import pytest

from cae_jax import codec
from cae_jax.images.files import read_rgb
from cae_jax.training.reporting import read_metrics

_MODELS = {
  "hyperprior": (
    "--hidden_channels=8",
    "--latent_channels=12",
    "--patch_size=64",
    "--valid_patch_size=64",
    "--batch_size=2",
  ),
  "factorized": ("--bottleneck=6",),
}


@pytest.mark.parametrize("model", sorted(_MODELS))
def test_a_run_leaves_weights_that_make_files(model, tiny_training, tmp_path):
  flags = (f"--model={model}", f"--name={model}", "--lmbda=0.05", "--steps=4", *_MODELS[model])
  done = tiny_training.run(tmp_path, *flags)
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
  with pytest.raises(ValueError, match=f"{model}' has one rate only; leave bpp out"):
    ours.compress(image, bpp=1.0)
