"""SOAP, Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.lax import Precision


class SoapState(NamedTuple):
  """What SOAP remembers, all of it float32 but the step.

  Of each parameter, seen as a tensor of `axes` of the sizes n:

  Attributes:
    step: int32, gradients seen.
    mu: [*n], mean of the gradients, not rotated: so it survives a change of basis as it is.
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
  """SOAP with the settings of `scale_by_soap`; decay is decoupled from the gradient as in AdamW."""
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
    grads = jax.tree.map(lambda g: g.reshape(axes(g.shape, max_dim)).astype(jnp.float32), updates)
    grams = jax.tree.map(lambda g, old: _decayed_grams(g, old, shampoo_beta), grads, state.grams)
    state = state._replace(grams=grams)
    steps, state = jax.lax.cond(state.step == 0, start, advance, grads, state)
    steps = jax.tree.map(lambda s, u: s.reshape(u.shape).astype(u.dtype), steps, updates)
    return steps, state._replace(step=optax.safe_increment(state.step))

  def start(grads: Any, state: SoapState) -> tuple[Any, SoapState]:
    bases = jax.tree.map(_eigenvectors, state.grams)
    return jax.tree.map(jnp.zeros_like, grads), state._replace(bases=bases)

  def advance(grads: Any, state: SoapState) -> tuple[Any, SoapState]:
    mu = optax.tree.update_moment(grads, state.mu, b1, 1)
    rotated_grads = jax.tree.map(_rotate, grads, state.bases)
    nu = optax.tree.update_moment(rotated_grads, state.nu, b2, 2)
    mu_hat = optax.tree.bias_correction(jax.tree.map(_rotate, mu, state.bases), b1, state.step)
    nu_hat = optax.tree.bias_correction(nu, b2, state.step)
    rotated = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu_hat, nu_hat)
    steps = jax.tree.map(_rotate_back, rotated, state.bases)
    due = state.step % precondition_every == 0
    nu, bases = jax.lax.cond(
      due, _refine, lambda nu, _, bases: (nu, bases), nu, state.grams, state.bases
    )
    return steps, state._replace(mu=mu, nu=nu, bases=bases)

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


def _decayed_grams(grad: jax.Array, grams: tuple, beta: float) -> tuple:
  return tuple(
    None if old is None else beta * old + (1 - beta) * _gram(grad, axis)
    for axis, old in enumerate(grams)
  )


def _gram(x: jax.Array, axis: int) -> jax.Array:
  others = [a for a in range(x.ndim) if a != axis]
  return jnp.tensordot(x, x, (others, others), precision=Precision.HIGHEST)


def _eigenvectors(gram: jax.Array) -> jax.Array:
  return jnp.linalg.eigh(gram)[1][:, ::-1]


def _rotate(x: jax.Array, bases: tuple) -> jax.Array:
  """Coordinates of x in the bases of its axes."""
  for basis in bases:  # each turn moves the first axis to the end, the last one restores the order
    x = jnp.moveaxis(x, 0, -1) if basis is None else _contract_first(x, basis)
  return x


def _rotate_back(x: jax.Array, bases: tuple) -> jax.Array:
  return _rotate(x, tuple(None if basis is None else basis.T for basis in bases))


def _contract_first(x: jax.Array, matrix: jax.Array) -> jax.Array:
  return jnp.tensordot(x, matrix, (0, 0), precision=Precision.HIGHEST)


def _refine(nu: Any, grams: Any, bases: Any) -> tuple[Any, Any]:
  """One power iteration on the bases, sorted by eigenvalue; nu follows its eigenvectors."""
  powers = jax.tree.map(
    lambda gram, q: jnp.matmul(gram, q, precision=Precision.HIGHEST), grams, bases
  )
  orders = jax.tree.map(lambda q, power: jnp.argsort(-jnp.sum(q * power, 0)), bases, powers)
  bases = jax.tree.map(lambda power, order: jnp.linalg.qr(power[:, order])[0], powers, orders)
  return jax.tree.map(_permute, nu, orders), bases


def _permute(x: jax.Array, orders: tuple) -> jax.Array:
  for axis, order in enumerate(orders):
    x = x if order is None else jnp.take(x, order, axis)
  return x
