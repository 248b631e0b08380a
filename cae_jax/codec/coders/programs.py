"""The transforms of all coders as compiled programs.

Functions of (model, parameters, arrays), with the model static: coders of equal networks share
their programs, whatever their weights, and a coder that nobody holds any more is freed.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax import backend
from cae_jax.images.color import to_uint8
from cae_jax.models import Model

ONE_RATE = np.zeros(1, np.float32)  # the trade-off of models that have none


def on_device(params: Mapping[str, Any]) -> Any:
  """Puts parameters of a weights file, which may be in half precision, on the device.

  Raises:
    BackendError: JAX cannot work here.
  """
  backend.require()
  # Not jnp.asarray, which would compile a program for each shape.
  return jax.device_put(jax.tree.map(lambda a: np.asarray(a, np.float32), dict(params)))


@functools.partial(jax.jit, static_argnums=0)
def analyse(model: Model, params: Any, image: jax.Array) -> jax.Array:
  """Turns uint8 [H, W, 3] into y [h, w, M] float32; H and W multiples of `model.multiple`."""
  x = image[None].astype(jnp.float32) / 255
  return apply(model, params, "analyse", x)[0]


@functools.partial(jax.jit, static_argnums=0)
def synthesise(model: Model, params: Any, y_hat: jax.Array, tradeoff: jax.Array) -> jax.Array:
  """Turns y_hat [h, w, M] at a trade-off [1] into uint8 [H, W, 3]."""
  return to_uint8(255 * apply(model, params, "synthesise", y_hat[None], tradeoff)[0])


def apply(model: Model, params: Any, method: str, *args: Any) -> Any:
  """Calls a method of a model with its parameters."""
  return model.apply({"params": params}, *args, method=method)
