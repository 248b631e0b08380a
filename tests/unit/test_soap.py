"""SOAP is Adam where nothing is rotated, and the same descent however the axes are turned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training import sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.soap import axes, scale_by_soap, soap
from cae_jax.training.state import create_state

SHAPES = {"kernel": (3, 3, 2, 6), "wide": (3, 3, 30, 5), "bias": (6,), "scale": ()}
N = 16  # side of the matrix that the regressions fit


def _normal(seed):
  """Gaussian arrays of the SHAPES."""
  keys = jax.random.split(jax.random.key(seed), len(SHAPES))
  return {name: jax.random.normal(k, SHAPES[name]) for name, k in zip(SHAPES, keys)}


def _rotation(seed):
  return jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (N, N)))[0]


def _assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_kernels_are_matrices_where_they_fit():
  assert axes((3, 3, 3, 32), 256) == (27, 32)
  assert axes((3, 3, 96, 128), 256) == (9, 96, 128)
  assert axes((1, 1, 96, 128), 256) == (96, 128)
  assert axes((512, 10), 256) == (1, 512, 10)
  assert axes((12,), 256) == (12,)
  assert axes((), 256) == ()


def test_axes_of_one_or_beyond_max_dim_and_vectors_have_no_basis():
  params = {"kernel": jnp.zeros((3, 3, 5, 6)), "dense": jnp.zeros((6, 4)), "bias": jnp.zeros(4)}
  bases = scale_by_soap(max_dim=5).init(params).bases
  shapes = jax.tree.map(
    lambda b: None if b is None else b.shape, bases, is_leaf=lambda b: b is None
  )
  assert shapes == {"kernel": (None, (5, 5), None), "dense": (None, None, (4, 4)), "bias": (None,)}


def test_unrotated_it_is_adam_from_the_second_gradient_on():
  ours = scale_by_soap(b1=0.9, b2=0.99, eps=1e-6, max_dim=1, precondition_every=2)
  adam = optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-6)
  state, adam_state = ours.init(_normal(0)), adam.init(_normal(0))
  updates, state = ours.update(_normal(0), state)
  _assert_equal(updates, jax.tree.map(jnp.zeros_like, updates))
  for seed in range(1, 5):
    updates, state = ours.update(_normal(seed), state)
    expected, adam_state = adam.update(_normal(seed), adam_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), updates, expected)


def test_refined_bases_are_the_sorted_eigenvectors():
  """Of fixed second moments; the decay of 1 keeps those that the first gradient is averaged to."""
  optimizer = scale_by_soap(precondition_every=1)
  state = optimizer.init(_normal(0))
  spectrum = jnp.logspace(0, -3, 30)
  turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (30, 30)))[0]
  wide = turn * spectrum @ jax.random.normal(jax.random.key(1), (3, 3, 30, 5))
  update = jax.jit(optimizer.update)
  for seed in range(60):
    _, state = update(_normal(seed) | {"wide": wide}, state)
  gram, basis = state.grams["wide"][1], state.bases["wide"][1]
  np.testing.assert_allclose(basis.T @ basis, jnp.eye(30), atol=1e-5)
  rotated = basis.T @ gram @ basis
  values = jnp.diag(rotated)
  np.testing.assert_allclose(rotated, jnp.diag(values), atol=1e-3 * float(values[0]))
  assert (jnp.diff(values) <= 1e-5 * values[0]).all()


def _regression(optimizer, lowest, left, right, steps):
  """Fits w to 0 in mean |B (A x)^T w|^2, seen in turned axes.

  A and B have singular values from 1 to `lowest`; batches of x are random, without which a gradient
  would tell its own axes and not those of the loss.

  Returns:
    the way from the start [N, N], turned back, and the final expected loss.
  """
  spectrum = jnp.geomspace(1.0, lowest, N)
  a = left @ (_rotation(1) * spectrum) @ _rotation(2)
  b = right @ (_rotation(3) * spectrum) @ _rotation(4)

  def step(carry, key):
    w, state = carry
    x = jax.random.normal(key, (64, N))
    grad = jax.grad(lambda w: jnp.mean(jnp.sum(jnp.square(x @ a.T @ w @ b), -1)) / 2)(w)
    updates, state = optimizer.update(grad, state, w)
    return (w + updates, state), None

  @jax.jit
  def fit(w):
    keys = jax.random.split(jax.random.key(5), steps)
    return jax.lax.scan(step, (w, optimizer.init(w)), keys)[0][0]

  start = left @ _rotation(6) @ right.T
  w = fit(start)
  return left.T @ (w - start) @ right, float(jnp.sum(jnp.square(a.T @ w @ b)) / 2)


def test_it_beats_adam_where_the_axes_are_turned_and_badly_scaled():
  schedule = optax.linear_schedule(0.03, 0.0, 200)
  loss = lambda optimizer: _regression(optimizer, 0.03, jnp.eye(N), jnp.eye(N), 200)[1]
  assert loss(soap(schedule)) < loss(optax.adam(schedule, b1=0.95, b2=0.95)) / 20


def test_turned_parameters_take_the_turned_way():
  def mismatch(optimizer):
    plain, _ = _regression(optimizer, 0.3, jnp.eye(N), jnp.eye(N), 20)
    turned, _ = _regression(optimizer, 0.3, _rotation(7), _rotation(8), 20)
    return jnp.linalg.norm(turned - plain) / jnp.linalg.norm(plain)

  ours = optax.chain(scale_by_soap(precondition_every=3), optax.scale(-0.01))
  assert mismatch(ours) < 1e-2
  assert mismatch(optax.adam(0.01)) > 0.1


def test_compiled_is_eager_and_keeps_its_structure():
  """Also with the state's buffers given away, and everywhere the same on a mesh."""
  optimizer = soap(0.1, weight_decay=0.1)
  params = _normal(9)
  everywhere = sharding.replicated(sharding.data_mesh())
  compiled = jax.jit(optimizer.update, donate_argnums=1, out_shardings=everywhere)
  eager_state = optimizer.init(params)
  state = jax.device_put(optimizer.init(params), everywhere)
  for seed in range(12):
    eager, eager_state = optimizer.update(_normal(seed), eager_state, params)
    updates, state = compiled(_normal(seed), state, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), updates, eager)
  assert jax.tree.structure(state) == jax.tree.structure(eager_state)
  types = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype.name), tree)
  assert types(state) == types(optimizer.init(params))


def test_zero_gradients_move_nothing():
  optimizer = scale_by_soap(precondition_every=1)
  zeros = jax.tree.map(jnp.zeros_like, _normal(0))
  state = optimizer.init(zeros)
  update = jax.jit(optimizer.update)
  for _ in range(3):
    updates, state = update(zeros, state)
    _assert_equal(updates, zeros)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_updates_have_the_type_of_the_gradients_and_the_state_is_float32():
  optimizer = scale_by_soap()
  grads = jax.tree.map(lambda g: g.astype(jnp.bfloat16), _normal(0))
  state = optimizer.init(grads)
  for _ in range(2):
    updates, state = optimizer.update(grads, state)
  assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
  assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}


@pytest.mark.parametrize("cut", [1, 4])
def test_saved_and_resumed_is_the_uncut_run(tmp_path, cut):
  """Before and after a refinement of the bases."""
  optimizer = scale_by_soap(precondition_every=3)
  update = jax.jit(optimizer.update)
  state = create_state(_normal(9), optimizer)

  def go_on(state, seeds):
    for seed in seeds:
      updates, opt_state = update(_normal(seed), state.opt_state)
      params = optax.apply_updates(state.params, updates)
      state = state.replace(params=params, opt_state=opt_state, step=state.step + 1)
    return state

  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(go_on(state, range(cut)), {}, 0.0)
  with Checkpoints(tmp_path) as checkpoints:
    restored, _ = checkpoints.restore(state)
  _assert_equal(go_on(restored, range(cut, 8)), go_on(state, range(8)))
