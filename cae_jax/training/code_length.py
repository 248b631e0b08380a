"""The objective of lossless models: how long the code is."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.training.losses import Batch, LossFn


def code_length_loss(model: nn.Module) -> LossFn:
  """Returns the loss of a `LosslessModel`: bits per sub-pixel.

  Returns:
    loss_fn(params, batch, *, key) -> (bits, {"loss"}).
  """

  def loss_fn(params: Any, batch: Batch, *, key: jax.Array):
    del key  # nothing here is random
    bits: Any = model.apply({"params": params}, batch)
    mean = jnp.mean(bits)
    return mean, {"loss": mean}

  return loss_fn


def code_lengths(model: nn.Module) -> Callable:
  """Measures blocks for validation: bits per sub-pixel as coded, by phase and channel.

  Returns:
    errors_fn(params, batch) -> {"loss": [B], "phase_0": [B], ... "channel_0": [B], ...}.
  """

  def errors_fn(params: Any, batch: Batch):
    bits: Any = model.apply({"params": params}, batch, True)
    return {
      "loss": bits.mean((0, 1)),
      **{f"phase_{i}": of_phase.mean(0) for i, of_phase in enumerate(bits)},
      **{f"channel_{c}": bits[:, c].mean(0) for c in range(bits.shape[1])},
    }

  return errors_fn
