"""Refines the latents of one image by its own rate-distortion cost; decoding stays the same.

The analysis only guesses the best latents. Newton's method, started where rounding has put them,
comes closer: y_hat - gradient / curvature, for each latent by itself, is the value that the
distortion and the bits of all other latents ask for. Rounding then weighs that against the bits of
the latent's own symbol (`laplacian.dead_zone`). Since latents depend on each other, the step goes
only part of the way, and regions of 64x64 pixels whose cost it has not lowered keep their latents.

Hidden signs then change some symbols. Which symbols to change, and in which direction, is best
judged by the same step: by latents half-way to Newton's.

More steps find hardly more that files keep: see docs/decisions/046-one-effort-more.md.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.tiling import pad_to
from cae_jax.models.context import ContextModel
from cae_jax.models.context.synthesis import BLOCK

_SHARE = 0.4  # of the way to Newton's latents


def refine(
  model: ContextModel, params: Any, image: np.ndarray, y: np.ndarray, tradeoff: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Finds latents with a lower cost of rate and distortion.

  Args:
    params: of the model.
    image: uint8 [H, W, 3].
    y: [h, w, M] float32 in quantisation steps, h and w multiples of `model.multiple` / 16; what
      lies beyond H / 16 and W / 16 is padding and becomes zero.
    tradeoff: [1].
  Returns:
    (better latents, half-way from these to where Newton's method leads), each as `y`.
  """
  height, width = image.shape[:2]
  x = pad_to(image, BLOCK * y.shape[0], BLOCK * y.shape[1])[None] / np.float32(255)
  inside = _mask(y.shape[:2], -(-height // BLOCK), -(-width // BLOCK))
  area = x, _mask(x.shape[1:3], height, width), inside

  def newton(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cost, ideal = _compiled_newton()(model, params, area, tradeoff, y[None])
    return np.asarray(cost[0]), np.asarray(ideal[0])

  cost, ideal = newton(y)
  moved = y + np.float32(_SHARE) * (ideal - y)
  moved_cost, moved_ideal = newton(moved)
  lower = moved_cost <= cost  # or equal: where no symbol has changed, others' may have
  there = _spread(lower, model.multiple // BLOCK)
  best, ideal = np.where(there, moved, y), np.where(there, moved_ideal, ideal)
  return best * inside[0], (best + ideal) / 2 * inside[0]


def _mask(shape: tuple[int, ...], height: int, width: int) -> np.ndarray:
  """[1, *shape, 1], one in height x width, zero beyond."""
  mask = np.zeros((1, *shape, 1), np.float32)
  mask[:, :height, :width] = 1
  return mask


@functools.cache
def _compiled_newton():
  """Returns `_newton`, compiled for quick compilation where that costs no speed."""
  on_cpu = jax.default_backend() == "cpu"
  options = {"xla_llvm_disable_expensive_passes": True} if on_cpu else None
  return jax.jit(_newton, static_argnums=0, compiler_options=options)


def _newton(model, params, area, tradeoff, y) -> tuple[jax.Array, jax.Array]:
  """What regions cost with latents [1, h, w, M], in bits, [1, r, c], and Newton's latents."""
  x, pixels, inside = area
  apply = functools.partial(model.apply, {"params": params})
  curvature: Any = apply(tradeoff, method="curvature")
  bits_of_error = model.lmbda(tradeoff)[0] * 255**2 / 3

  def cost_fn(y):
    output, bits = apply(y * inside, tradeoff, method="coded")
    errors = pixels * jnp.square(jnp.clip(output.x_hat, 0, 1) - x)
    cost = bits + bits_of_error * _by_region(jnp.sum(errors, axis=-1), model.multiple)
    return jnp.sum(cost), (cost, output.y_hat)

  (_, (cost, y_hat)), gradient = jax.value_and_grad(cost_fn, has_aux=True)(y)
  return cost, y_hat - gradient / model.in_cells(curvature)


def _by_region(x: jax.Array, side: int) -> jax.Array:
  """Sums over squares: [1, H, W] -> [1, H / side, W / side]."""
  _, height, width = x.shape
  return jnp.sum(x.reshape(1, height // side, side, width // side, side), axis=(2, 4))


def _spread(x: np.ndarray, side: int) -> np.ndarray:
  """Values of regions for all of their positions: [r, c] -> [side * r, side * c, 1]."""
  return np.repeat(np.repeat(x, side, axis=0), side, axis=1)[..., None]
