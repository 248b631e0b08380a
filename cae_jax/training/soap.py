"""SOAP, Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321)."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.lax import Precision

# Matrices are padded to one of these to be decomposed together; larger ones are not padded.
_BATCHED_SIZES = (16, 32, 64, 96, 128, 192, 256)


class SoapState(NamedTuple):
  """What SOAP remembers, all of it float32 but the step.

  Of the K parameters that are tensors of `axes` of the same sizes n, by these ("9x128x128"), in the
  order of the tree's leaves: one operation for all of them, where a network has hundreds of arrays
  and a GPU takes microseconds to begin each.

  Attributes:
    step: int32, gradients seen.
    mu: [K, *n], mean of the gradients, rotated.
    nu: [K, *n], mean of the squares of the rotated gradients.
    grams: for each axis [K, n, n], mean of the gradients' products over all other axes, or None
      where the axis is not preconditioned.
    bases: for each axis [K, n, n] or None, estimated eigenvectors of `grams` as columns, the
      largest eigenvalue first.
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
    groups = _grouped(params, max_dim)
    zeros = lambda: jax.tree.map(jnp.zeros_like, groups)

    def squares(make: Callable[[int], jax.Array]) -> dict[str, tuple]:
      row = lambda group: _by_axis(group.shape[1:], max_dim, make)
      tiled = lambda group: jax.tree.map(lambda a: jnp.tile(a, (len(group), 1, 1)), row(group))
      return {name: tiled(group) for name, group in groups.items()}

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
    grads = _grouped(updates, max_dim)
    decay = functools.partial(_decayed_grams, beta=shampoo_beta)
    decayed = lambda: _of_each(decay, grads, state.grams)
    grams = jax.lax.cond(step % gram_every == 0, decayed, lambda: state.grams)
    grads = jax.tree.map(lambda g: jnp.where(step == 0, 0.0, g), grads)  # the first: bases only
    rotated = _of_each(_rotate, grads, bases)
    mu = optax.tree.update_moment(rotated, state.mu, b1, 1)
    nu = optax.tree.update_moment(rotated, state.nu, b2, 2)
    steps = _of_each(_rotate_back, adam(mu, nu, step), bases)
    branch = jnp.where(step == 0, 2, step % precondition_every == 0)
    mu, nu, bases = jax.lax.switch(branch, (_keep, _refine, _start), mu, nu, grams, bases)
    new_state = SoapState(optax.safe_increment(step), mu, nu, grams, bases)
    return _ungrouped(steps, updates, max_dim), new_state

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


def _grouped(tree: Any, max_dim: int) -> dict[str, jax.Array]:
  """Arrays of a tree as float32 tensors of `axes`, those of the same sizes stacked."""
  groups: dict[str, list[jax.Array]] = {}
  for leaf in jax.tree.leaves(tree):
    tensor = leaf.reshape(axes(leaf.shape, max_dim)).astype(jnp.float32)
    groups.setdefault(_name(tensor.shape), []).append(tensor)
  return {name: jnp.stack(tensors) for name, tensors in groups.items()}


def _ungrouped(groups: Mapping[str, jax.Array], like: Any, max_dim: int) -> Any:
  """The tree that `_grouped` had, with the shapes and types of another."""
  rows = {name: iter(list(group)) for name, group in groups.items()}
  restored = lambda a: next(rows[_name(axes(a.shape, max_dim))]).reshape(a.shape).astype(a.dtype)
  return jax.tree.map(restored, like)


def _name(shape: tuple[int, ...]) -> str:
  return "x".join(map(str, shape)) or "scalar"


def _of_each(fn: Callable, *groups: Mapping[str, Any]) -> dict[str, Any]:
  """fn of each member of each group."""
  first, *others = groups
  return {name: jax.vmap(fn)(first[name], *(o[name] for o in others)) for name in first}


def _by_axis(shape: tuple[int, ...], max_dim: int, make) -> tuple:
  """make(n) for each axis of `axes` that is preconditioned, None for the others."""
  is_matrix = len(shape) > 1
  return tuple(make(n) if is_matrix and 1 < n <= max_dim else None for n in shape)


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
  matrices, tree = jax.tree.flatten(grams)
  together = lambda *groups: [_eigenvectors(group) for group in groups]
  found = jax.lax.platform_dependent(*matrices, cpu=_alone(_eigenvectors), default=together)
  return mu, nu, jax.tree.unflatten(tree, found)


def _refine(mu: Any, nu: Any, grams: Any, bases: Any) -> tuple[Any, Any, Any]:
  """One power iteration on the bases, sorted by eigenvalue; nu follows its eigenvectors."""
  powers = jax.tree.map(_matmul, grams, bases)
  orders = jax.tree.map(lambda q, power: jnp.argsort(-jnp.sum(q * power, 1)), bases, powers)
  powers = jax.tree.map(
    lambda power, order: jnp.take_along_axis(power, order[:, None], 2), powers, orders
  )
  matrices, tree = jax.tree.flatten(powers)
  refined = jax.tree.unflatten(tree, _orthonormal(matrices))
  turned = lambda m, old, new: _rotate(_rotate_back(m, old), new)
  return _of_each(turned, mu, bases, refined), _of_each(_permute, nu, orders), refined


def _orthonormal(matrices: list[jax.Array]) -> list[jax.Array]:
  """The Q of the QR decomposition of each matrix in [K, n, n], up to the signs of its columns.

  LAPACK takes microseconds for one; a GPU takes milliseconds, and there are hundreds.
  """
  alone = _alone(lambda matrix: jnp.linalg.qr(matrix)[0])
  return jax.lax.platform_dependent(*matrices, cpu=alone, default=_orthonormal_together)


def _eigenvectors(matrices: jax.Array) -> jax.Array:
  """[..., n, n] -> eigenvectors as columns, the largest eigenvalue first."""
  return jnp.linalg.eigh(matrices)[1][..., ::-1]


def _alone(decompose: Callable[[jax.Array], jax.Array]) -> Callable[..., list[jax.Array]]:
  """Decomposes each matrix of groups [K, n, n] by itself.

  On CPUs JAX lets LAPACK share out the matrices of a group over the threads that wait for it: two
  groups at once on two cores wait for ever (jaxlib 0.10.2).
  """
  return lambda *groups: [jnp.stack([decompose(matrix) for matrix in group]) for group in groups]


def _orthonormal_together(*matrices: jax.Array) -> list[jax.Array]:
  """The same of all matrices of about one size at a time."""
  result: dict[int, jax.Array] = {}

  def size(number: int) -> int:
    own = matrices[number].shape[1]
    return next((n for n in _BATCHED_SIZES if n >= own), own)

  numbers = sorted(range(len(matrices)), key=size)
  for padded, group in itertools.groupby(numbers, size):
    members = list(group)
    q = _householder_q(jnp.concatenate([_padded(matrices[number], padded) for number in members]))
    counts = [len(matrices[number]) for number in members]
    for number, rows in zip(members, jnp.split(q, list(itertools.accumulate(counts))[:-1])):
      side = matrices[number].shape[1]
      result[number] = rows[:, :side, :side]
  return [result[number] for number in range(len(matrices))]


def _padded(matrices: jax.Array, size: int) -> jax.Array:
  """[K, n, n] -> [K, size, size]: a diagonal of ones beside each, which stays by itself."""
  more = size - matrices.shape[1]
  ones = jnp.diag(jnp.arange(size) >= size - more)
  return jnp.pad(matrices, ((0, 0), (0, more), (0, more))) + ones


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
