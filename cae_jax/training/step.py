"""One optimisation step, compiled once for all devices."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from cae_jax.training.losses import Batch, LossFn
from cae_jax.training.optimizers import global_norm
from cae_jax.training.sharding import replicated, split_batch
from cae_jax.training.state import Optimizer, TrainState

StepFn = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
  loss_fn: LossFn | Mapping[str, LossFn],
  optimizer: Optimizer,
  mesh: Mesh,
  *,
  seed: int = 0,
  ema_decay: float = 0.999,
) -> StepFn:
  """Makes the jit-compiled training step.

  The state is replicated and donated; the batch is split over the mesh, so XLA sums gradients over
  devices. The key is fold_in(seed, step): a resumed run draws what the uncut one would have drawn.
  A step whose loss, gradient or update is not finite is skipped: it changes nothing but the
  counters, so that what was finite once stays so.

  Several players, such as those of a GAN, take turns in a step: each moves parameters of its own,
  for a loss of its own, and sees what those before it have moved. All have the same batch and key,
  so what their losses have in common is computed once.

  Args:
    loss_fn, optimizer: or of several players those of each, by the names that their parameters
      have in `state.params`; losses, in the order of turns, are given the parameters of all.
    mesh: of the devices.
    seed: of the keys.
    ema_decay: of the average of the parameters.
  Returns:
    step_fn(state, batch) -> (state, {"loss", "grad_norm", what loss_fn reports, which may be
    another "loss" than what is minimised, and "skipped", bool}). Names of figures begin with that
    of their player, as in "discriminator_loss", but for the last one's.
  """

  def train_step(state: TrainState, batch: Batch):
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    moved = _in_turns if isinstance(loss_fn, Mapping) else _moved
    params, opt_state, figures, objectives = moved(
      loss_fn, optimizer, state.params, state.opt_state, batch, key
    )
    finite = jnp.isfinite(jnp.stack(objectives)).all()
    state = _keep_if(finite, _averaged(state, params, opt_state, ema_decay), state)
    skipped = state.skipped + (~finite).astype(jnp.int32)
    state = dataclasses.replace(state, step=state.step + 1, skipped=skipped)
    return state, {**figures, "skipped": ~finite}

  everywhere = replicated(mesh)
  return jax.jit(
    train_step,
    in_shardings=(everywhere, split_batch(mesh)),
    out_shardings=everywhere,
    donate_argnums=0,
  )


def _moved(loss_fn, optimizer, params, opt_state, batch, key):
  """New parameters and optimiser's state, figures, and all that has to be finite beside these."""
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (objective, figures), grads = grad_fn(params, batch, key=key)
  grad_norm = global_norm(grads)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  params = optax.apply_updates(params, updates)
  figures = {"loss": objective, "grad_norm": grad_norm, **figures}
  return params, opt_state, figures, [objective, grad_norm, global_norm(updates)]


def _in_turns(loss_fns, optimizers, params, opt_state, batch, key):
  """As `_moved`, of all players."""
  params, opt_state = dict(params), dict(opt_state)
  figures: dict[str, jax.Array] = {}
  objectives: list[jax.Array] = []
  for name, loss_fn in loss_fns.items():

    def own_loss(own, batch, *, key, name=name, loss_fn=loss_fn):
      return loss_fn({**params, name: own}, batch, key=key)

    params[name], opt_state[name], told, more = _moved(
      own_loss, optimizers[name], params[name], opt_state[name], batch, key
    )
    prefix = "" if name == list(loss_fns)[-1] else f"{name}_"
    figures |= {f"{prefix}{figure}": value for figure, value in told.items()}
    objectives += more
  return params, opt_state, figures, objectives


def _averaged(state, params, opt_state, ema_decay) -> TrainState:
  # Early on a shorter average, or the random start would weigh on it for thousands of steps.
  decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
  ema_params = optax.incremental_update(params, state.ema_params, 1 - decay)
  return dataclasses.replace(state, params=params, opt_state=opt_state, ema_params=ema_params)


def _keep_if(condition, new: Any, old: Any) -> Any:
  return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
