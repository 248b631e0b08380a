"""Larger models from smaller ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models.context import ContextModel
from cae_jax.models.context.growth import _predecessor, grown

SMALL = ContextModel(
  channels=(8, 8), blocks=(1, 1), groups=(2, 2), group_steps=(4, 1), pass_kernel_size=3, width=6,
  value_channels=1, fine_groups=(2, 3), fine_group_steps=(2, 1), fine_width=4,
  fine_value_channels=1, fine_features=4, hyper_channels=2, hyper_features=4,
)  # fmt: skip
# Quick to compile: a step sees the one before it, and a group the group before it.
FEW_PASSES = SMALL.clone(groups=(2,), group_steps=(2,), fine_group_steps=(1, 1))
LARGER = FEW_PASSES.clone(
  blocks=(2, 1), pass_kernel_size=5, width=8, value_channels=3, fine_pass_kernel_size=5,
  fine_width=7, fine_value_channels=4, lmbda_max=0.5,
)  # fmt: skip
STEPS = {"group_steps": (7, 4), "fine_group_steps": (4, 2)}


@pytest.fixture(scope="module")
def trained():
  """Parameters of the small model, none of them zero."""
  return _drawn(SMALL, 0, bias=0.1)


@pytest.fixture(scope="module")
def few_trained():
  """The same of that with few passes."""
  return _drawn(FEW_PASSES, 0, bias=0.1)


def _drawn(model, seed, *, bias=0.0):
  """Random parameters, made of their shapes: a program that draws them takes long to compile."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.random_params, jax.random.key(0))

  def drawn(path, leaf):
    size = bias if "bias" in jax.tree_util.keystr(path) else 0.1
    return rng.normal(0, size, leaf.shape).astype(np.float32)

  params = jax.tree.map_with_path(drawn, shapes)
  for name in ("analysis", "synthesis"):
    params[name]["basis"] *= 10
  return params | {"spread": 1 + params["spread"]}


def test_a_grown_model_computes_what_the_smaller_one_did(few_trained):
  x = np.random.default_rng(1).uniform(size=(1, 64, 64, 3)).astype(np.float32)
  params = grown(LARGER, lambda: _drawn(LARGER, 1), FEW_PASSES, few_trained)

  @jax.jit
  def both(few, larger):
    tradeoff = jnp.full(1, 0.3)
    return [
      model.apply({"params": params}, x, tradeoff)
      for model, params in ((FEW_PASSES, few), (LARGER, larger))
    ]

  before, after = both(few_trained, params)
  for a, b in zip(before, after, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_all_that_is_new_can_learn(few_trained):
  params = grown(LARGER, lambda: _drawn(LARGER, 1), FEW_PASSES, few_trained)
  x = np.random.default_rng(1).uniform(size=(1, 64, 64, 3)).astype(np.float32)

  @jax.jit
  @jax.grad
  def gradient(params):
    rng = {"params": params}
    out = LARGER.apply(rng, x, jnp.zeros(1), key=jax.random.key(0), method="noisy")
    return jnp.sum(out.y_bits) + 1e3 * jnp.sum(jnp.square(out.x_hat - x))

  # The first step moves what leads away from new units, the second one the units themselves.
  first = gradient(params)
  moved = jax.tree.map(lambda a, g: a - 1e-3 * np.sign(g), params, first)
  for path, g in jax.tree.leaves_with_path(gradient(moved)):
    name = jax.tree_util.keystr(path)
    if "spread" not in name and "kernel" in name:
      silent = np.mean(np.asarray(g) == 0)
      assert silent < 0.9, (name, silent)


def test_more_steps_start_as_those_that_knew_as_much():
  larger = SMALL.clone(**STEPS)
  models = [
    [_predecessor(p, old) for p in level.passes.values()]
    for level, old in zip(larger.levels, SMALL.levels, strict=True)
  ]
  # Groups of 4 -> 7 and 1 -> 4 steps; of 2 -> 4 and 1 -> 2.
  assert models == [[0, 1, 2, 3, 1, 2, 3, 4, 4, 4, 4], [5, 5, 6, 6, 7, 7]]


def test_more_steps_have_all_parameters(trained):
  larger = SMALL.clone(**STEPS)
  fresh = _drawn(larger, 1)
  params = grown(larger, lambda: fresh, SMALL, trained)
  jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), params, fresh)
  np.testing.assert_array_equal(params["context_4"]["kernel_1"], trained["context_1"]["kernel_1"])


@pytest.mark.parametrize("change", [{"width": 5}, {"channels": (16, 8)}, {"blocks": (1, 0)}])
def test_what_cannot_grow(trained, change):
  model = SMALL.clone(**change)
  with pytest.raises(ValueError, match=f"{next(iter(change))} .* cannot grow to"):
    grown(model, lambda: pytest.fail("makes parameters first"), SMALL, trained)
