"""SOAP is Adam where nothing is rotated, and the same descent however the axes are turned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.soap import _orthonormal_together, axes, scale_by_soap, soap
from cae_jax.training.state import create_state

SHAPES = {"kernel": (2, 2, 2, 6), "wide": (3, 3, 30, 5), "bias": (6,)}
N = 16  # side of the matrix that the regressions fit
SOAP = scale_by_soap(gram_every=1, precondition_every=3)
UPDATE = jax.jit(SOAP.update, donate_argnums=1)  # donated as in training


def _normal(seed):
  """Gaussian arrays of the SHAPES."""
  keys = jax.random.split(jax.random.key(seed), len(SHAPES))
  return {name: jax.random.normal(k, SHAPES[name]) for name, k in zip(SHAPES, keys)}


def _types(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype.name), tree)


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
  assert shapes == {
    "9x5x6": (None, (1, 5, 5), None),
    "1x6x4": (None, None, (1, 4, 4)),
    "4": (None,),
  }


def test_unrotated_it_is_adam_from_the_second_gradient_on():
  ours = scale_by_soap(b1=0.9, b2=0.99, eps=1e-6, max_dim=1, precondition_every=2)
  adam = optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-6)
  state, adam_state = ours.init(_normal(0)), adam.init(_normal(0))
  our_update, adam_update = jax.jit(ours.update), jax.jit(adam.update)
  updates, state = our_update(_normal(0), state)
  _assert_equal(updates, jax.tree.map(jnp.zeros_like, updates))
  for seed in range(1, 5):
    updates, state = our_update(_normal(seed), state)
    expected, adam_state = adam_update(_normal(seed), adam_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), updates, expected)


def test_bases_become_the_sorted_eigenvectors_of_lasting_second_moments():
  turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (30, 30)))[0]
  scaled = turn * jnp.logspace(0, -3, 30) @ jax.random.normal(jax.random.key(1), (3, 3, 30, 5))
  state = SOAP.init(_normal(0))
  for _ in range(60):
    _, state = UPDATE(_normal(0) | {"wide": scaled}, state)
  [gram], [basis] = state.grams["9x30x5"][1], state.bases["9x30x5"][1]
  np.testing.assert_allclose(basis.T @ basis, jnp.eye(30), atol=1e-5)
  rotated = basis.T @ gram @ basis
  values = jnp.diag(rotated)
  np.testing.assert_allclose(rotated, jnp.diag(values), atol=1e-3 * float(values[0]))
  assert (jnp.diff(values) <= 1e-5 * values[0]).all()


def test_squares_follow_their_eigenvectors():
  """Three directions out of order are sorted by their second moments."""
  optimizer = scale_by_soap(b2=0.5, gram_every=1, precondition_every=1, max_dim=3)
  nu = jnp.arange(12.0).reshape(3, 4)
  state = optimizer.init(jnp.zeros((3, 4)))
  grams = jnp.diag(jnp.array([1.0, 9.0, 4.0]))[None], None
  state = state._replace(step=jnp.array(1), nu={"3x4": nu[None]}, grams={"3x4": grams})
  _, state = jax.jit(optimizer.update)(jnp.zeros((3, 4)), state)
  order = jnp.array([1, 2, 0])
  np.testing.assert_allclose(jnp.abs(state.bases["3x4"][0][0]), jnp.eye(3)[:, order], atol=1e-6)
  _assert_equal(state.nu["3x4"][0], 0.5 * nu[order])


def test_parameters_of_the_same_shape_are_as_if_alone():
  normal = lambda key, shape: jax.random.normal(jax.random.fold_in(jax.random.key(0), key), shape)
  params = {"a": normal(0, (6, 6)), "b": {"scale": normal(1, (6,)), "c": normal(2, (1, 1, 6, 6))}}
  together, alone = SOAP.init(params), SOAP.init(params["a"])
  assert together.mu["6x6"].shape == (2, 6, 6)
  for seed in range(3, 12):
    grads = jax.tree.map(lambda p: normal(seed, p.shape), params)  # noqa: B023
    updates, together = UPDATE(grads, together)
    expected, alone = UPDATE(grads["a"], alone)
    np.testing.assert_allclose(updates["a"], expected, atol=1e-4)
    np.testing.assert_allclose(updates["b"]["c"][0, 0], expected, atol=1e-4)
  assert _types(updates) == _types(params)


def _regression(lowest, left, right):
  """(A, B, start) of a matrix w to be fitted to 0 in mean |B^T w^T A x|^2, its axes turned by left
  and right. A and B have singular values from 1 to `lowest`, in axes that are no coordinates.
  """
  spectrum = jnp.geomspace(1.0, lowest, N)
  a = left @ (_rotation(1) * spectrum) @ _rotation(2)
  b = right @ (_rotation(3) * spectrum) @ _rotation(4)
  return a, b, left @ _rotation(6) @ right.T


def _make_fit(optimizer, steps):
  """fit(A, B, start) -> (w, its expected loss), on random batches of x.

  Without the randomness a gradient would show its own axes and not those of the loss.
  """

  def loss_fn(w, a, b, x):
    return jnp.mean(jnp.sum(jnp.square(x @ a.T @ w @ b), -1)) / 2

  @jax.jit
  def fit(a, b, start):
    def step(carry, key):
      w, state = carry
      grad = jax.grad(loss_fn)(w, a, b, jax.random.normal(key, (64, N)))
      updates, state = optimizer.update(grad, state, w)
      return (w + updates, state), None

    keys = jax.random.split(jax.random.key(5), steps)
    w = jax.lax.scan(step, (start, optimizer.init(start)), keys)[0][0]
    return w, jnp.sum(jnp.square(a.T @ w @ b)) / 2

  return fit


def test_it_beats_adam_where_the_axes_are_turned_and_badly_scaled():
  schedule = optax.linear_schedule(0.03, 0.0, 200)
  regression = _regression(0.03, jnp.eye(N), jnp.eye(N))
  _, loss = _make_fit(soap(schedule), 200)(*regression)
  _, adam_loss = _make_fit(optax.adam(schedule, b1=0.95, b2=0.95), 200)(*regression)
  assert loss < adam_loss / 20


def test_turned_parameters_take_the_turned_way():
  left, right = _rotation(7), _rotation(8)

  def mismatch(optimizer):
    fit = _make_fit(optimizer, 20)
    plain, _ = fit(*_regression(0.3, jnp.eye(N), jnp.eye(N)))
    turned, _ = fit(*_regression(0.3, left, right))
    way = plain - _rotation(6)
    return jnp.linalg.norm(left.T @ turned @ right - plain) / jnp.linalg.norm(way)

  assert mismatch(optax.chain(SOAP, optax.scale(-0.01))) < 1e-2
  assert mismatch(optax.adam(0.01)) > 0.1


def test_compiled_is_eager_and_keeps_its_structure():
  kernel = lambda seed: {"kernel": _normal(seed)["kernel"]}
  update = jax.jit(SOAP.update)
  state, eager_state = SOAP.init(kernel(0)), SOAP.init(kernel(0))
  for seed in range(5):
    updates, state = update(kernel(seed), state)
    eager, eager_state = SOAP.update(kernel(seed), eager_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), updates, eager)
  assert _types(state) == _types(eager_state) == _types(SOAP.init(kernel(0)))


def test_zero_gradients_move_nothing():
  zeros = jax.tree.map(jnp.zeros_like, _normal(0))
  state = SOAP.init(zeros)
  for _ in range(7):
    updates, state = UPDATE(zeros, state)
    _assert_equal(updates, zeros)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_updates_have_the_type_of_the_gradients_and_the_state_is_float32():
  grads = {"kernel": jnp.zeros((3, 3, 4, 6), jnp.bfloat16), "scale": jnp.zeros((), jnp.bfloat16)}
  state = SOAP.init(grads)
  updates, new_state = jax.eval_shape(SOAP.update, grads, state)
  assert _types(updates) == _types(grads)
  assert _types(new_state) == _types(state)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}


def _trained(state, seeds):
  for seed in seeds:
    updates, opt_state = UPDATE(_normal(seed), state.opt_state)
    params = optax.apply_updates(state.params, updates)
    state = state.replace(params=params, opt_state=opt_state, step=state.step + 1)
  return state


@pytest.mark.parametrize("cut", [1, 4])
def test_saved_and_resumed_is_the_uncut_run(tmp_path, cut):
  """Before and after a refinement of the bases."""
  fresh = lambda: create_state(_normal(9), SOAP)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(_trained(fresh(), range(cut)), {}, 0.0)
  with Checkpoints(tmp_path) as checkpoints:
    restored, _ = checkpoints.restore(fresh())
  _assert_equal(_trained(restored, range(cut, 8)), _trained(fresh(), range(8)))


def test_matrices_decomposed_together_are_as_if_alone():
  """Of several sizes, ill-conditioned, and one without full rank."""
  rng = np.random.default_rng(0)
  sizes = [3, 9, 16, 40, 40, 20]
  matrices = []
  for size in sizes:
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrices.append((basis * np.logspace(0, -6, size)) @ basis.T)
  matrices[-1][:, 3:] = 0
  groups = [*([m] for m in matrices[:3]), matrices[3:5], matrices[5:]]
  stacked = [jnp.asarray(np.stack(group), jnp.float32) for group in groups]
  together = [q for group in jax.jit(_orthonormal_together)(*stacked) for q in group]
  for q, matrix in zip(together, matrices, strict=True):
    np.testing.assert_allclose(q.T @ q, np.eye(len(q)), atol=2e-6)
    below = np.tril(np.asarray(q).T @ matrix, -1)
    np.testing.assert_allclose(below, 0, atol=1e-6 * np.abs(matrix).max())
