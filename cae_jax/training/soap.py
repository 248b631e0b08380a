"""SOAP, Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321)."""

import functools
import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.lax import Precision

# Matrices are padded to one of these to be decomposed together; larger ones are not padded.
_BATCHED_SIZES = (16, 32, 64, 96, 128, 256)


class SoapState(NamedTuple):
  """What SOAP remembers, all of it float32 but the step.

  Of each parameter, seen as a tensor of `axes` of the sizes n:

  Attributes:
    step: int32, gradients seen.
    mu: [*n], mean of the gradients, rotated.
    nu: [*n], mean of the squares of the rotated gradients.
    grams: for each axis [n, n], mean of the gradients' products over all other axes, or None where
      the axis is not preconditioned.
    bases: for each axis [n, n] or None, estimated eigenvectors of `grams` as columns, the largest
      eigenvalue first.
  """

  step: jax.Array
  mu: Any
  nu: Any
  grams: Any
  bases: Any


def soap(
  learning_rate: optax.ScalarOrSchedule, weight_decay: float = 0.0
) -> optax.GradientTransformation:
  """Makes SOAP with the settings of `scale_by_soap`; decay is decoupled as in AdamW."""
  return optax.chain(
    scale_by_soap(),
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_learning_rate(learning_rate),
  )


def scale_by_soap(
  b1: float = 0.95,
  b2: float = 0.95,
  eps: float = 1e-8,
  shampoo_beta: float = 0.95,
  gram_every: int = 5,
  precondition_every: int = 10,
  max_dim: int = 256,
) -> optax.GradientTransformation:
  """Rotates gradients into the eigenbases of their second moments, scales as Adam, rotates back.

  Algorithm 3 of arXiv:2409.11321 with Adam's bias corrections. The first gradient only gives the
  bases: in its own eigenbasis a gradient is a diagonal, and Adam would scale up the noise off it.
  Vectors and scalars get Adam alone, from the second gradient on like the rest.

  Args:
    b1, b2: decay of the means of gradients and of their squares.
    eps: added to the root of the squares.
    shampoo_beta: decay of the mean of the gradients' products.
    gram_every: steps between gradients whose products are taken.
    precondition_every: steps between refinements of the bases, each one power iteration and a QR
      decomposition; the other steps only use them.
    max_dim: largest axis to be preconditioned; longer ones are left alone.
  """

  def init_fn(params: Any) -> SoapState:
    zeros = lambda: jax.tree.map(lambda p: jnp.zeros(axes(p.shape, max_dim)), params)
    squares = lambda make: jax.tree.map(lambda p: _by_axis(p.shape, max_dim, make), params)
    return SoapState(
      step=jnp.zeros((), jnp.int32),
      mu=zeros(),
      nu=zeros(),  # made apart: one buffer cannot be donated twice
      grams=squares(lambda n: jnp.zeros((n, n))),
      bases=squares(jnp.eye),
    )

  def update_fn(updates: Any, state: SoapState, params: Any = None) -> tuple[Any, SoapState]:
    del params
    step, bases = state.step, state.bases
    grads = jax.tree.map(lambda g: g.reshape(axes(g.shape, max_dim)).astype(jnp.float32), updates)
    decayed = lambda: jax.tree.map(partial(_decayed_grams, beta=shampoo_beta), grads, state.grams)
    grams = jax.lax.cond(step % gram_every == 0, decayed, lambda: state.grams)
    grads = jax.tree.map(lambda g: jnp.where(step == 0, 0.0, g), grads)  # the first: bases only
    rotated = jax.tree.map(_rotate, grads, bases)
    mu = optax.tree.update_moment(rotated, state.mu, b1, 1)
    nu = optax.tree.update_moment(rotated, state.nu, b2, 2)
    steps = jax.tree.map(_rotate_back, adam(mu, nu, step), bases)
    steps = jax.tree.map(lambda s, u: s.reshape(u.shape).astype(u.dtype), steps, updates)
    branch = jnp.where(step == 0, 2, step % precondition_every == 0)
    mu, nu, bases = jax.lax.switch(branch, (_keep, _refine, _start), mu, nu, grams, bases)
    return steps, SoapState(optax.safe_increment(step), mu, nu, grams, bases)

  def adam(mu: Any, nu: Any, step: jax.Array) -> Any:
    count = jnp.maximum(step, 1)  # all is zero at step 0; let it not become 0 / 0
    mu_hat = optax.tree.bias_correction(mu, b1, count)
    nu_hat = optax.tree.bias_correction(nu, b2, count)
    return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu_hat, nu_hat)

  return optax.GradientTransformation(init_fn, update_fn)


def axes(shape: tuple[int, ...], max_dim: int) -> tuple[int, ...]:
  """Sizes of the axes as which a parameter is preconditioned.

  A kernel [..., C_in, C_out] is a matrix [window * C_in, C_out] where its rows are no more than
  `max_dim`, so that their correlations are seen; otherwise [window, C_in, C_out].
  """
  if len(shape) < 2:
    return shape
  *window, c_in, c_out = shape
  rows = math.prod(window) * c_in
  return (rows, c_out) if rows <= max_dim else (math.prod(window), c_in, c_out)


def _by_axis(shape: tuple[int, ...], max_dim: int, make) -> tuple:
  """make(n) for each axis that is preconditioned, None for the others."""
  is_matrix = len(shape) > 1
  return tuple(make(n) if is_matrix and 1 < n <= max_dim else None for n in axes(shape, max_dim))


def _decayed_grams(grad: jax.Array, grams: tuple, *, beta: float) -> tuple:
  return tuple(
    None if old is None else beta * old + (1 - beta) * _gram(grad, axis)
    for axis, old in enumerate(grams)
  )


def _gram(x: jax.Array, axis: int) -> jax.Array:
  rows = jnp.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
  return _matmul(rows, rows.T)


def _rotate(x: jax.Array, bases: tuple) -> jax.Array:
  """Coordinates of x in the bases of its axes."""
  for axis, basis in enumerate(bases):
    x = x if basis is None else _along(x, axis, basis.T)
  return x


def _rotate_back(x: jax.Array, bases: tuple) -> jax.Array:
  for axis, basis in enumerate(bases):
    x = x if basis is None else _along(x, axis, basis)
  return x


def _along(x: jax.Array, axis: int, matrix: jax.Array) -> jax.Array:
  """The matrix times x along an axis, without transposing x."""
  if axis == x.ndim - 1:
    return _matmul(x, matrix.T)
  columns = x.reshape(math.prod(x.shape[:axis]), x.shape[axis], -1)
  return _matmul(matrix, columns).reshape(x.shape)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
  # Rotations rounded to bfloat16 or TF32 would leak the large directions into the small ones.
  return jnp.matmul(a, b, precision=Precision.HIGHEST)


# What becomes of the bases, and of mu and nu in them.


def _keep(mu: Any, nu: Any, grams: Any, bases: Any) -> tuple[Any, Any, Any]:
  del grams
  return mu, nu, bases


def _start(mu: Any, nu: Any, grams: Any, bases: Any) -> tuple[Any, Any, Any]:
  del bases  # mu and nu are still zero
  return mu, nu, jax.tree.map(lambda gram: jnp.linalg.eigh(gram)[1][:, ::-1], grams)


def _refine(mu: Any, nu: Any, grams: Any, bases: Any) -> tuple[Any, Any, Any]:
  """One power iteration on the bases, sorted by eigenvalue; nu follows its eigenvectors."""
  powers = jax.tree.map(_matmul, grams, bases)
  orders = jax.tree.map(lambda q, power: jnp.argsort(-jnp.sum(q * power, 0)), bases, powers)
  powers = jax.tree.map(lambda power, order: power[:, order], powers, orders)
  matrices, tree = jax.tree.flatten(powers)
  refined = jax.tree.unflatten(tree, _orthonormal(matrices))
  mu = jax.tree.map(lambda m, old, new: _rotate(_rotate_back(m, old), new), mu, bases, refined)
  return mu, jax.tree.map(_permute, nu, orders), refined


def _orthonormal(matrices: list[jax.Array]) -> list[jax.Array]:
  """The Q of the QR decomposition of each matrix [n, n], up to the signs of its columns.

  LAPACK takes microseconds for one; a GPU takes milliseconds, and there are hundreds.
  """
  one_by_one = lambda *matrices: [jnp.linalg.qr(matrix)[0] for matrix in matrices]
  return jax.lax.platform_dependent(*matrices, cpu=one_by_one, default=_orthonormal_together)


def _orthonormal_together(*matrices: jax.Array) -> list[jax.Array]:
  """The same of all matrices of about one size at a time."""
  result: dict[int, jax.Array] = {}

  def size(number: int) -> int:
    own = len(matrices[number])
    return next((n for n in _BATCHED_SIZES if n >= own), own)

  numbers = sorted(range(len(matrices)), key=size)
  for padded, group in itertools.groupby(numbers, size):
    members = list(group)
    # A block of ones on the diagonal beside the matrix stays by itself.
    pad = lambda a: jax.scipy.linalg.block_diag(a, jnp.eye(padded - len(a)))  # noqa: B023
    q = _householder_q(jnp.stack([pad(matrices[number]) for number in members]))
    for row, number in enumerate(members):
      side = len(matrices[number])
      result[number] = q[row, :side, :side]
  return [result[number] for number in range(len(matrices))]


def _householder_q(a: jax.Array) -> jax.Array:
  """[K, n, n] -> Q of each, by reflections; orthonormal whatever the rank."""
  count, size, _ = a.shape
  rows = jnp.arange(size)
  dot = functools.partial(jnp.einsum, precision=Precision.HIGHEST)

  def reflect(column, a_and_q):
    a, q = a_and_q
    x = jnp.where(rows >= column, jax.lax.dynamic_index_in_dim(a, column, 2, False), 0.0)
    head = jax.lax.dynamic_index_in_dim(x, column, 1)
    norm = jnp.linalg.norm(x, axis=1, keepdims=True)
    v = x + jnp.where(rows == column, jnp.where(head < 0, -norm, norm), 0.0)
    length = jnp.linalg.norm(v, axis=1, keepdims=True)
    v = v / jnp.where(length > 0, length, 1.0)
    a = a - 2 * v[:, :, None] * dot("ki,kij->kj", v, a)[:, None]
    q = q - 2 * dot("kij,kj->ki", q, v)[:, :, None] * v[:, None]
    return a, q

  return jax.lax.fori_loop(0, size, reflect, (a, jnp.tile(jnp.eye(size), (count, 1, 1))))[1]


def _permute(x: jax.Array, orders: tuple) -> jax.Array:
  for axis, order in enumerate(orders):
    x = x if order is None else jnp.take(x, order, axis)
  return x
