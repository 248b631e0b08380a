"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from cae_jax.errors import UsageError
from cae_jax.training.soap import soap

_WEIGHT_DECAY = 1e-4  # of AdamW
_NOT_TRAINED = frozenset({"spread"})  # of `ContextModel`: its gradient is 0


def _muon(rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
  """Muon (Jordan 2024) on convolution kernels, as matrices [k * k * C_in, C_out]; Adam elsewhere.

  Its updates have an RMS of 0.2 times the rate for every shape, about Adam's (arXiv:2502.16982).
  """
  return optax.contrib.muon(
    rate, adam_b2=0.99, consistent_rms=0.2, muon_weight_dimension_numbers=_kernels_as_matrices
  )


def _kernels_as_matrices(params: Any) -> Any:
  as_matrix = MuonDimensionNumbers((0, 1, 2), 3)
  return jax.tree.map(lambda p: as_matrix if p.ndim == 4 else None, params)


def _adamw(rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
  """AdamW (Loshchilov and Hutter 2019) that leaves alone what is not trained."""
  # As `optax.adamw`; its mask would give the state another structure.
  return optax.chain(
    optax.scale_by_adam(b1=0.9, b2=0.99),
    optax.stateless(_decayed),
    optax.scale_by_learning_rate(rate),
  )


def _decayed(updates: Any, params: Any) -> Any:
  def decayed(path: tuple, update: jax.Array, param: jax.Array) -> jax.Array:
    is_trained = getattr(path[-1], "key", None) not in _NOT_TRAINED
    return update + _WEIGHT_DECAY * param if is_trained else update

  return jax.tree.map_with_path(decayed, updates, params)


OPTIMIZERS: dict[str, Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]] = {
  # The paper says "gradient descent", no more; momentum makes it usable.
  "sgd": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
  "adam": lambda rate: optax.adam(rate, b1=0.9, b2=0.99),
  "adamw": _adamw,
  "muon": _muon,
  "soap": soap,
}
SCHEDULES = ("cosine", "constant", "linear", "trapezoidal")
_FINAL_FRACTION = 0.01  # of the rate, at the last step
DECAYING_FRACTION = 0.3  # of the steps, of a trapezoidal schedule


def make_schedule(
  name: str, learning_rate: float, steps: int, warmup_steps: int = 0
) -> optax.Schedule:
  """Makes a linear warm-up, then the named decay to a hundredth of the rate at step `steps`.

  A trapezoidal schedule stays at the peak and decays linearly over the last 30 % of the steps, so
  that a run whose length is not settled yet can go on at the peak.

  Args:
    warmup_steps: shortened by `fitting_warmup`.
  Raises:
    UsageError: an unknown name, or a rate that is no number.
  """
  if not 0 <= learning_rate < math.inf:
    raise UsageError(f"learning rate {learning_rate}; expected a finite number from 0 on")
  warmup_steps = fitting_warmup(warmup_steps, steps)
  rest = max(steps - warmup_steps, 1)
  match name:
    case "constant":
      decay = optax.constant_schedule(learning_rate)
    case "linear":
      decay = optax.linear_schedule(learning_rate, _FINAL_FRACTION * learning_rate, rest)
    case "cosine":
      decay = optax.cosine_decay_schedule(learning_rate, rest, alpha=_FINAL_FRACTION)
    case "trapezoidal":
      decaying = min(max(round(DECAYING_FRACTION * steps), 1), rest)
      decay = optax.linear_schedule(
        learning_rate, _FINAL_FRACTION * learning_rate, decaying, rest - decaying
      )
    case _:
      raise UsageError(f"unknown schedule {name!r}; choose one of {', '.join(SCHEDULES)}")
  warmup = optax.linear_schedule(learning_rate / max(warmup_steps, 1), learning_rate, warmup_steps)
  return optax.join_schedules([warmup, decay], [warmup_steps]) if warmup_steps else decay


def fitting_warmup(warmup_steps: int, steps: int) -> int:
  """Shortens a warm-up that is longer than half of the run to a tenth of the run."""
  return warmup_steps if 2 * warmup_steps <= steps else steps // 10


def make_optimizer(
  name: str, schedule: optax.ScalarOrSchedule, clip_norm: float = 0.0
) -> optax.GradientTransformation:
  """Puts clipping of the gradient's global norm (0: none) before the named optimiser.

  Raises:
    UsageError: an unknown name.
  """
  if name not in OPTIMIZERS:
    raise UsageError(f"unknown optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}")
  optimizer = OPTIMIZERS[name](schedule)
  return optax.chain(_clip(clip_norm), optimizer) if clip_norm else optimizer


def global_norm(tree: Any) -> jax.Array:
  """Returns the norm of all arrays together; those of one shape are summed with one launch."""
  groups: dict[tuple, list[jax.Array]] = {}
  for leaf in jax.tree.leaves(tree):
    groups.setdefault((leaf.shape, leaf.dtype), []).append(leaf)
  return jnp.sqrt(sum(jnp.sum(jnp.square(jnp.stack(leaves))) for leaves in groups.values()))


def _clip(largest: float) -> optax.GradientTransformation:
  """`optax.clip_by_global_norm` by `global_norm`."""

  def clipped(updates: Any, params: Any) -> Any:
    del params
    size = global_norm(updates)
    factor = jnp.where(size < largest, 1.0, largest / size)
    return jax.tree.map(lambda u: (u * factor).astype(u.dtype), updates)

  return optax.stateless(clipped)
