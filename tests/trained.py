"""Tiny codec models of one rate, trained for a moment."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from cae_jax.models import Model, build_model, init_params
from cae_jax.models.base import CodedOutput
from cae_jax.training import sharding
from cae_jax.training.losses import rate_distortion_loss
from cae_jax.training.state import create_state
from cae_jax.training.step import make_train_step

CONFIGS = {
  "hyperprior": {
    "model": "hyperprior",
    "hidden_channels": 8,
    "latent_channels": 12,
    "slope": 0.125,
    "fixed_lmbda": 0.02,
  },
  "factorized": {
    "model": "factorized",
    "channels": [6, 8, 12],
    "kernel_size": 3,
    "bottleneck": 10,
    "upsampling": "subpixel",
    "fixed_lmbda": 0.02,
  },
}
_STEPS = 50
_UNUSED = np.zeros(2, np.float32)  # trade-offs


class Trained(NamedTuple):
  """A model, its parameters at first and at last, and the loss of every step."""

  config: dict[str, Any]
  model: Model
  initial: Any
  params: Any
  losses: np.ndarray


def pictures(count: int, side: int = 64, seed: int = 0) -> np.ndarray:
  """Smooth colours with an edge and some grain: uint8 [count, side, side, 3]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:side, :side] / 48
  images = []
  for _ in range(count):
    waves = np.stack([np.sin(a * y + b * x + c) for a, b, c in rng.normal(0, 3, (3, 3))], -1)
    image = 128 + 60 * waves + rng.normal(0, 4, waves.shape)
    image[:, rng.integers(side) :] += 40
    images.append(image)
  return np.clip(images, 0, 255).astype(np.uint8)


@functools.cache
def trained(name: str) -> Trained:
  """The model of a name in `CONFIGS` after some steps on `pictures`."""
  config = CONFIGS[name]
  model = build_model(config)
  optimizer = optax.adam(1e-2)
  mesh = sharding.data_mesh()
  step = make_train_step(rate_distortion_loss(model), optimizer, mesh)
  initial = jax.device_get(init_params(model, 0))
  # Where the step leaves it, too: else the second step would be compiled, as well.
  state = jax.device_put(create_state(initial, optimizer), sharding.replicated(mesh))
  batch = {"image": pictures(2)}
  losses = []
  for _ in range(_STEPS):
    state, figures = step(state, batch)
    losses.append(float(figures["loss"]))
  return Trained(config, model, initial, jax.device_get(state.params), np.array(losses))


@functools.cache
def passes(name: str) -> tuple[CodedOutput, CodedOutput]:
  """The trained model's noisy and rounded passes over `pictures(2)`."""
  model, params = trained(name).model, {"params": trained(name).params}

  def both(x):
    noisy = model.apply(params, x, _UNUSED, key=jax.random.key(0), method="noisy")
    return noisy, model.apply(params, x, _UNUSED, method="rounded")

  return jax.device_get(jax.jit(both)(pictures(2) / np.float32(255)))
