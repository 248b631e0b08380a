"""One optimisation step, compiled once for all devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from cae_jax.training.losses import Batch, LossFn
from cae_jax.training.sharding import replicated, split_batch
from cae_jax.training.state import TrainState

StepFn = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
  loss_fn: LossFn,
  optimizer: optax.GradientTransformation,
  mesh: Mesh,
  *,
  seed: int = 0,
  ema_decay: float = 0.999,
) -> StepFn:
  """Makes the jit-compiled training step.

  The state is replicated and donated; the batch is split over the mesh, so XLA sums gradients over
  devices. The key is fold_in(seed, step): a resumed run draws what the uncut one would have drawn.
  A step whose loss, gradient or new parameters are not finite is skipped: it changes nothing but
  the counters, so that what was finite once stays so.

  Returns:
    step_fn(state, batch) -> (state, {"loss", "grad_norm", what loss_fn reports, which may be
    another "loss" than what is minimised, and "skipped", bool}).
  """

  def train_step(state: TrainState, batch: Batch):
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (objective, figures), grads = grad_fn(state.params, batch, key=key)
    grad_norm = optax.tree.norm(grads)
    updated = _updated(state, grads, optimizer, ema_decay)
    norms = [objective, grad_norm, optax.tree.norm((updated.params, updated.ema_params))]
    finite = jnp.isfinite(jnp.stack(norms)).all()
    state = _keep_if(finite, updated, state)
    skipped = state.skipped + (~finite).astype(jnp.int32)
    state = dataclasses.replace(state, step=state.step + 1, skipped=skipped)
    return state, {"loss": objective, "grad_norm": grad_norm, **figures, "skipped": ~finite}

  everywhere = replicated(mesh)
  return jax.jit(
    train_step,
    in_shardings=(everywhere, split_batch(mesh)),
    out_shardings=everywhere,
    donate_argnums=0,
  )


def _updated(state, grads, optimizer, ema_decay) -> TrainState:
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  # Early on a shorter average, or the random start would weigh on it for thousands of steps.
  decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
  ema_params = optax.incremental_update(params, state.ema_params, 1 - decay)
  return dataclasses.replace(state, params=params, opt_state=opt_state, ema_params=ema_params)


def _keep_if(condition, new: Any, old: Any) -> Any:
  return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
