"""The objective of lossless models: how long the code is."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.training.losses import Batch, ErrorsFn, LossFn


def code_length_loss(model: nn.Module) -> LossFn:
  """Makes the loss of a `LosslessModel`: bits per sub-pixel.

  Returns:
    loss_fn(params, batch, *, key) -> (bits, {"bpsp"}), the same.
  """

  def loss_fn(params: Any, batch: Batch, *, key: jax.Array):
    del key  # nothing here is random
    bits, share = model.apply({"params": params}, batch), _coded(batch)
    mean = jnp.sum(bits * share) / jnp.sum(share)
    return mean, {"bpsp": mean}

  return loss_fn


def _coded(batch: Batch) -> Any:
  """[3, 3, B]: 1 for all phases of the channels that are coded, else 0."""
  return jnp.broadcast_to(batch["coded"].T, (3, *batch["coded"].T.shape))


def code_length_errors(model: nn.Module) -> ErrorsFn:
  """Makes what validation measures for `code_length_loss`, block by block, as coded.

  Returns:
    errors_fn(params, batch) -> {"loss": [B], "bpsp": [B]}, the same.
  """

  def errors_fn(params: Any, batch: Batch):
    bits, share = model.apply({"params": params}, batch, True), _coded(batch)
    bpsp = (bits * share).sum((0, 1)) / share.sum((0, 1))
    return {"loss": bpsp, "bpsp": bpsp}

  return errors_fn
