"""Objectives: (params, batch, key) -> (loss, named figures)."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.images.metrics import psnr_from_mse
from cae_jax.images.preprocessing import Preprocessing, to_uint8

Batch = Mapping[str, jax.Array]
LossFn = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def mse_loss(model: nn.Module, preprocessing: Preprocessing) -> LossFn:
  """The paper's loss: mean squared error of what the network sees, normalised to [0, 1].

  Returns:
    loss_fn(params, batch, *, key) -> (loss, {"psnr_db"}), with batch["image"] uint8 [B, H, W, 3].
    The PSNR is of RGB, over all the batch, neither rounded nor clipped to 8 bits.
  """

  def loss_fn(params: Any, batch: Batch, *, key: jax.Array):
    del key  # nothing here is random
    rgb = batch["image"].astype(jnp.float32)
    x = preprocessing.forward(rgb)
    x_hat = _reconstruct(model, params, x)
    error = preprocessing.inverse(jax.lax.stop_gradient(x_hat)) - rgb
    return jnp.mean(jnp.square(x_hat - x)), {"psnr_db": psnr_from_mse(jnp.mean(jnp.square(error)))}

  return loss_fn


def image_errors(model: nn.Module, preprocessing: Preprocessing) -> Callable:
  """What validation measures, image by image.

  Returns:
    errors_fn(params, batch) -> {"loss": [B], "psnr_db": [B]}: the loss, and the PSNR of RGB after
    rounding to 8 bits.
  """

  def errors_fn(params: Any, batch: Batch):
    x = preprocessing.forward(batch["image"])
    x_hat = _reconstruct(model, params, x)
    decoded = to_uint8(preprocessing.inverse(x_hat)).astype(jnp.float32)
    return {
      "loss": _mean_square(x_hat - x),
      "psnr_db": psnr_from_mse(_mean_square(decoded - batch["image"].astype(jnp.float32))),
    }

  return errors_fn


def _reconstruct(model: nn.Module, params: Any, x: jax.Array) -> jax.Array:
  output: Any = model.apply({"params": params}, x)
  return output.x_hat


def _mean_square(error):
  return jnp.mean(jnp.square(error), axis=(1, 2, 3))
