"""What a training run carries from step to step."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
  """All that a step reads and writes; everything in it is checkpointed.

  Attributes:
    step: int32, steps done, skipped ones included.
    params: trained parameters, float32.
    ema_params: their exponential moving average, which validation and export use.
    opt_state: the optimiser's.
    skipped: int32, steps that changed no parameter, since something in them was not finite.
  """

  step: jax.Array
  params: Any
  ema_params: Any
  opt_state: optax.OptState
  skipped: jax.Array


def create_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
  """Makes a state at step 0. The average starts as a copy, so that buffers can be donated."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema_params=jax.tree.map(jnp.copy, params),
    opt_state=optimizer.init(params),
    skipped=jnp.zeros((), jnp.int32),
  )
