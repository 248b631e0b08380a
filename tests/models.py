"""Tiny codecs for tests: of the paper's model, and of a context model that never was trained."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.codec import Codec, calibrate_weights, from_weights
from cae_jax.models import build_model, init_params
from cae_jax.models.base import CodedOutput
from cae_jax.models.context import ContextModel
from cae_jax.models.context.look import changed_part
from cae_jax.weights import Weights, load_weights
from cae_jax.weights.look import Look
from tests.golden import FOLDER
from tests.trained import pictures

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
  """A block transform with small random networks around it: see tests/golden/make.py."""
  return load_weights(FOLDER / "context.safetensors")


@functools.cache
def context_codec() -> Codec:
  """A codec of `context_weights`."""
  return from_weights(context_weights())


@functools.cache
def context_look() -> Look:
  """A random look of `context_weights`, of float16."""
  rng = np.random.default_rng(0)
  change = lambda a: (0.1 * rng.normal(size=a.shape)).astype(np.float16)
  difference = jax.tree.map(change, changed_part(context_weights().params))
  return Look("tiny", context_weights().hash().hex(), difference, (45.0, 80.0), {"step": 7})


@functools.cache
def looking_codec() -> Codec:
  """A codec of `context_weights` and `context_look`."""
  return from_weights(context_weights(), context_look())


def hasty_pass(model: ContextModel, x, tradeoff) -> CodedOutput:
  """Rounds in the place of `ContextModel.rounded`, whose passes take long to compile."""
  y_hat = jnp.round(model.scaled_latents(model.analyse(x), tradeoff))
  no_bits = jnp.zeros(len(x))
  return CodedOutput(model.synthesise(y_hat, tradeoff), y_hat, no_bits, no_bits)


@functools.cache
def paper_codec(**changes) -> Codec:
  """An untrained codec of the paper's model with some settings changed."""
  config = {**PAPER, **changes}
  model = build_model(config)
  params = init_params(model, 0)
  rng = np.random.default_rng(0)
  images = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(3)]
  return from_weights(calibrate_weights("tiny-paper", config, params, images))
