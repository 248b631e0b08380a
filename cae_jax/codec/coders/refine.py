"""Refines the latents of one image by its own rate-distortion cost; decoding stays the same.

The analysis only guesses the best latents. Newton's method, started where rounding has put them,
comes closer: y_hat - gradient / curvature, for each latent by itself, is the value that the
distortion and the bits of all other latents ask for. Rounding then weighs that against the bits of
the latent's own symbol (`entropy.dead_zone`). Since latents depend on each other, each step goes
only part of the way. Regions of 64x64 pixels search separately: where a step has not lowered the
cost of a region, the next one starts again from the region's best latents and goes half as far.

Hidden signs then change some symbols. Which symbols to change, and in which direction, is best
judged by the same search: by latents half-way to Newton's.

Stochastic Gumbel annealing (Yang, Bamler and Mandt 2020, arXiv:2006.04240) wants hundreds of steps
and knows no dead zone; see docs/decisions/022-effort-by-newton-steps.md.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.tiling import pad_to
from cae_jax.models.context import ContextModel
from cae_jax.models.context.transforms import BLOCK

_FIRST_SHARE = 0.4  # of the way to Newton's latents


class _Search(NamedTuple):
  """Where a search stands; regions are r x c squares of `model.multiple` pixels.

  Attributes:
    y: latents [1, h, w, M] to be tried next.
    best: the best of each region so far.
    ideal: where Newton's method leads from these.
    least: [1, r, c], what regions cost with their best, in bits.
    share: [1, r, c], of the way from best to ideal.
  """

  y: Any
  best: Any
  ideal: Any
  least: Any
  share: Any


def refine(
  model: ContextModel,
  params: Any,
  image: np.ndarray,
  y: np.ndarray,
  tradeoff: np.ndarray,
  steps: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Finds latents with a lower cost of rate and distortion.

  Args:
    params: of the model.
    image: uint8 [H, W, 3].
    y: [h, w, M] float32 in quantisation steps, h and w multiples of `model.multiple` / 16; what
      lies beyond H / 16 and W / 16 is padding and becomes zero.
    tradeoff: [1].
    steps: how many; more are better and slower.
  Returns:
    (the best latents, half-way from these to where Newton's method leads), each as `y`.
  """
  height, width = image.shape[:2]
  x = pad_to(image, BLOCK * y.shape[0], BLOCK * y.shape[1])[None] / np.float32(255)
  inside = _mask(y.shape[:2], -(-height // BLOCK), -(-width // BLOCK))
  area = x, _mask(x.shape[1:3], height, width), inside
  regions = (1, y.shape[0] * BLOCK // model.multiple, y.shape[1] * BLOCK // model.multiple)
  least, share = (np.full(regions, value, np.float32) for value in (np.inf, _FIRST_SHARE))
  search = _Search(y[None], y[None], y[None], least, share)
  for _ in range(steps + 1):
    search = _compiled_step()(model, params, area, tradeoff, search)
  best, ideal = (np.asarray(latents[0]) * inside[0] for latents in (search.best, search.ideal))
  return best, (best + ideal) / 2


def _mask(shape: tuple[int, ...], height: int, width: int) -> np.ndarray:
  """[1, *shape, 1], one in height x width, zero beyond."""
  mask = np.zeros((1, *shape, 1), np.float32)
  mask[:, :height, :width] = 1
  return mask


@functools.cache
def _compiled_step():
  """Returns `_step`, compiled for quick compilation where that costs no speed."""
  on_cpu = jax.default_backend() == "cpu"
  options = {"xla_llvm_disable_expensive_passes": True} if on_cpu else None
  return jax.jit(_step, static_argnums=0, compiler_options=options)


def _step(model, params, area, tradeoff, search: _Search) -> _Search:
  """Tries the search's latents and says which to try next."""
  x, pixels, inside = area
  apply = functools.partial(model.apply, {"params": params})
  curvature: Any = apply(tradeoff, method="curvature")
  bits_of_error = model.lmbda(tradeoff)[0] * 255**2 / 3

  def cost_fn(y):
    output, y_hat, bits = apply(y * inside, tradeoff, method="coded")
    errors = pixels * jnp.square(jnp.clip(output.x_hat, 0, 1) - x)
    cost = bits + bits_of_error * _by_region(jnp.sum(errors, axis=-1), model.multiple)
    return jnp.sum(cost), (cost, y_hat)

  (_, (cost, y_hat)), gradient = jax.value_and_grad(cost_fn, has_aux=True)(search.y)
  lower = cost <= search.least  # or equal: small steps add up before they change a symbol
  there = _spread(lower, model.multiple // BLOCK)
  best = jnp.where(there, search.y, search.best)
  ideal = jnp.where(there, y_hat - gradient / model.in_cells(curvature), search.ideal)
  share = jnp.where(lower, search.share, search.share / 2)
  y = best + _spread(share, model.multiple // BLOCK) * (ideal - best)
  return _Search(y, best, ideal, jnp.minimum(cost, search.least), share)


def _by_region(x: jax.Array, side: int) -> jax.Array:
  """Sums over squares: [1, H, W] -> [1, H / side, W / side]."""
  _, height, width = x.shape
  return jnp.sum(x.reshape(1, height // side, side, width // side, side), axis=(2, 4))


def _spread(x: jax.Array, side: int) -> jax.Array:
  """Values of regions for all of their positions: [1, r, c] -> [1, side * r, side * c, 1]."""
  return jnp.repeat(jnp.repeat(x, side, axis=1), side, axis=2)[..., None]
