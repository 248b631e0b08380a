"""What a training run carries from step to step."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import flax
import jax
import jax.numpy as jnp
import optax

# Of all parameters, or of those of each player, by its name (`training.step`).
Optimizer: TypeAlias = optax.GradientTransformation | Mapping[str, optax.GradientTransformation]


@flax.struct.dataclass
class TrainState:
  """All that a step reads and writes; everything in it is checkpointed.

  Attributes:
    step: int32, steps done, skipped ones included.
    params: trained parameters, float32.
    ema_params: their exponential moving average, which validation and export use.
    opt_state: the optimiser's, or those of players by their names.
    skipped: int32, steps that changed no parameter, since something in them was not finite.
  """

  step: jax.Array
  params: Any
  ema_params: Any
  opt_state: Any
  skipped: jax.Array


def create_state(params: Any, optimizer: Optimizer) -> TrainState:
  """Makes a state at step 0, of copies: its buffers are donated, the caller's stay."""
  if isinstance(optimizer, Mapping):
    opt_state: Any = {name: own.init(params[name]) for name, own in optimizer.items()}
  else:
    opt_state = optimizer.init(params)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=jax.tree.map(jnp.copy, params),
    ema_params=jax.tree.map(jnp.copy, params),
    opt_state=opt_state,
    skipped=jnp.zeros((), jnp.int32),
  )
