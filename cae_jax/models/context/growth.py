"""Grows a larger context model from a smaller, trained one.

New units start at random, but their outputs have zero weight at first, so the larger model computes
what the smaller one did (in the spirit of Net2Net, Chen et al. 2016). Where a group of channels is
coded in more steps than before, each step starts as the earlier one that knew as much of its
neighbourhood.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from cae_jax.errors import UsageError
from cae_jax.models.configuration import setting_fields
from cae_jax.models.context.passes import Level, Pass
from cae_jax.models.exact.cells import PATTERNS, cells_mask

# What may be larger; of the trade-offs the range may be another, all else has to be the same.
_SIZES = (
  "blocks", "width", "fine_width", "pass_kernel_size", "fine_pass_kernel_size",
  "value_channels", "fine_value_channels",
)  # fmt: skip
_STEPS = "group_steps", "fine_group_steps"
_FREE = "lmbda_min", "lmbda_max"


def grown(model: Any, random_params: Callable[[], Any], smaller: Any, trained: Any) -> Any:
  """Returns parameters of a larger model that go on from those of a smaller one.

  Args:
    model, smaller: `ContextModel`s.
    random_params: makes random ones of `model`.
    trained: parameters of `smaller`.
  Raises:
    UsageError: `model` has a setting that `smaller` cannot grow to.
  """
  _check_larger(model, smaller)
  params = random_params()
  result = dict(params) | {name: trained[name] for name in trained if name in params}
  for name, stages in (("analysis", (0, 1)), ("synthesis", (1, 0))):
    result[name] = _with_more_blocks(
      params[name], trained[name], [(model.blocks[s], smaller.blocks[s]) for s in stages]
    )
  for level, old_level in zip(model.levels, smaller.levels, strict=True):
    for number, p in level.passes.items():
      old_number = _predecessor(p, old_level)
      known = p.known, old_level.passes[old_number].known
      result[f"context_{number}"] = _larger_stack(
        params[f"context_{number}"],
        trained[f"context_{old_number}"],
        _places_of_inputs(level, old_level, *known),
      )
  if len(model.levels) > 1:
    level, old_level = model.levels[0], smaller.levels[0]
    places = _places_of_inputs(level, old_level, level.channels, level.channels)
    result["bridge"] = _larger_stack(params["bridge"], trained["bridge"], places)
  return jax.tree.map(lambda a: np.asarray(a, np.float32), result)


def _check_larger(model: Any, smaller: Any) -> None:
  for name in setting_fields(type(model)):
    ours, theirs = np.array(getattr(model, name)), np.array(getattr(smaller, name))
    if name in _FREE or (ours.shape == theirs.shape and (ours == theirs).all()):
      continue
    if name not in (*_SIZES, *_STEPS) or ours.shape != theirs.shape or (ours < theirs).any():
      raise UsageError(f"{name} {theirs.tolist()} cannot grow to {ours.tolist()}")


def _with_more_blocks(params: Any, trained: Any, counts: Iterable[tuple[int, int]]) -> Any:
  """A transform's parameters; `counts` of residual blocks by stage, in order, (now, before)."""
  result = dict(params) | {k: v for k, v in trained.items() if not k.startswith("ResidualBlock_")}
  new, old = itertools.count(), itertools.count()
  for now, before in counts:
    for i in range(now):
      name = f"ResidualBlock_{next(new)}"
      if i < before:
        result[name] = trained[f"ResidualBlock_{next(old)}"]
      else:
        result[name] = _silent_block(params[name])
  return result


def _silent_block(params: Any) -> Any:
  """A residual block that adds nothing."""
  last = dict(params["ConditionalConv_1"])
  last["Conv_0"] = {"kernel": np.zeros_like(last["Conv_0"]["kernel"])}
  return dict(params) | {"ConditionalConv_1": last}


def _larger_stack(
  params: Mapping[str, Any], trained: Mapping[str, Any], places: np.ndarray
) -> dict[str, np.ndarray]:
  """An `EntropyStack`'s parameters; `places` of the inputs of before among those of now."""
  result = {}
  for name, new in params.items():
    result[name] = np.array(new)
    old = np.asarray(trained[name])
    if name.startswith("bias"):
      result[name][:, : old.shape[-1]] = old
      continue
    *_, inputs, outputs = old.shape
    border = (new.shape[0] - old.shape[0]) // 2
    middle = slice(border, border + old.shape[0])
    result[name][..., :outputs] = 0
    own = places if name == "kernel_0" else np.arange(inputs)
    result[name][middle, middle, own, :outputs] = old
  return result


def _places_of_inputs(level: Level, old: Level, known: int, old_known: int) -> np.ndarray:
  """Of features, values and sizes that a network of the level saw, among those it sees now."""
  values = min(old_known, old.value_channels)
  sizes_at = level.features + min(known, level.value_channels)
  return np.concatenate([np.arange(level.features + values), sizes_at + np.arange(old_known)])


def _predecessor(p: Pass, old: Level) -> int:
  """Number of the last pass of the same channels that knew no more of its surroundings."""
  around = _known_around(p)
  same = {n: q for n, q in old.passes.items() if (q.start, q.stop) == (p.start, p.stop)}
  if p.steps in {q.steps for q in same.values()}:
    return next(n for n, q in same.items() if q.step == p.step)
  return max(n for n, q in same.items() if _known_around(q) <= around)


def _known_around(p: Pass) -> set[tuple[int, int]]:
  """Which neighbours of its positions, by row and column, an earlier step has coded."""
  side = 4  # patterns repeat after at most so many positions
  known = np.zeros((side, side), bool)
  for earlier in PATTERNS[p.steps][: p.step]:
    known |= cells_mask(side, side, earlier)
  neighbours = itertools.product((-1, 0, 1), (-1, 0, 1))
  at = lambda row, column, i, j: known[
    (row + i * p.cells.spacing) % side, (column + j * p.cells.spacing) % side
  ]
  return {n for n in neighbours if all(at(*offset, *n) for offset in p.cells.offsets)}
