"""Tiny codecs for tests: of the paper's model, and of a context model that never was trained."""

import functools

import jax
import numpy as np

from cae_jax.codec import Codec, calibrate, calibrate_context, from_weights
from cae_jax.models import build_model, init_params
from cae_jax.models.block_transforms import klt
from cae_jax.models.context import ContextModel, start_from_klt
from cae_jax.weights import Weights
from tests.trained import pictures

CONTEXT = {
  "model": "context",
  "latent_channels": 24,
  "channels": [16, 16],
  "blocks": [1, 1],
  "groups": [8, 16],
  "group_steps": [2, 1],
  "width": 16,
  "hyper_channels": 4,
  "hyper_features": 8,
  "lmbda_min": 0.0009,
  "lmbda_max": 0.09,
}
PAPER = {
  "model": "paper",
  "channels": [4, 6, 8],
  "kernel_size": 3,
  "bottleneck": 0,
  "upsampling": "nearest",
  "latent_bits": 0,
  "coding_bits": 8,
  "preprocessing": "ycbcr",
}


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
  """Smooth colours, an edge and some grain: uint8 [height, width, 3]."""
  return pictures(1, max(height, width), seed)[0, :height, :width]


@functools.cache
def context_weights() -> Weights:
  """A block transform with small random networks around it, calibrated."""
  model = build_model(CONTEXT)
  assert isinstance(model, ContextModel)
  images = [photo(128, 128, i) for i in range(8)]
  blocks = [i.reshape(8, 16, 8, 16, 3).swapaxes(1, 2).reshape(-1, 16, 16, 3) for i in images]
  params = start_from_klt(
    model, init_params(model, 0), *klt(np.concatenate(blocks), model.latent_channels)
  )
  params = jax.device_get(params)
  rng = np.random.default_rng(0)
  # What starts at zero: the last layers of the context passes and of the transforms' networks.
  for number in range(len(model.passes)):
    _shake(params[f"context_{number}"], "kernel_2", 0.1, rng)
  for side in ("analysis", "synthesis"):
    _shake(params[side]["ConditionalConv_2"]["Conv_0"], "kernel", 0.02, rng)
  tables = calibrate_context(model, params, images[:2])
  return Weights("tiny", CONTEXT, params, tables)


@functools.cache
def context_codec() -> Codec:
  """A codec of `context_weights`."""
  return from_weights(context_weights())


@functools.cache
def paper_codec(**changes) -> Codec:
  """An untrained codec of the paper's model with some settings changed."""
  config = {**PAPER, **changes}
  model = build_model(config)
  params = init_params(model, 0)
  rng = np.random.default_rng(0)
  images = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(3)]
  tables = calibrate(model, params, config["preprocessing"], images, config["coding_bits"])
  return from_weights(Weights("tiny-paper", config, jax.device_get(params), tables))


def _shake(params, name: str, size: float, rng: np.random.Generator) -> None:
  params[name] = np.asarray(rng.normal(0, size, params[name].shape), np.float32)
