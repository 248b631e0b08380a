"""Latents of one image refined by steps down its own rate-distortion cost; the decoder is as it is.

The analysis only guesses what the latents should be. From where rounding has put them, Newton's
method tells better: y_hat - gradient / curvature, for each latent by itself, is what the distortion
and the bits of all other latents would have it be, and rounding then weighs that against the bits
of its own symbol (`entropy.dead_zone`). As latents do depend on each other, each step goes a
part of the way only, and the best latents of all steps are kept.

Stochastic Gumbel annealing (Yang, Bamler and Mandt 2020, arXiv:2006.04240) wants hundreds of steps
and knows no dead zone; see BUILD_NOTES.md.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.tiling import pad_to
from cae_jax.models.block_transforms import BLOCK
from cae_jax.models.context import ContextModel

_FIRST_SHARE, _LAST_SHARE = 0.4, 0.05  # of the way to Newton's latents


def refine(
  model: ContextModel,
  params: Any,
  image: np.ndarray,
  y: np.ndarray,
  tradeoff: np.ndarray,
  steps: int,
) -> np.ndarray:
  """Latents with a lower cost of rate and distortion.

  Args:
    params: of the model.
    image: uint8 [H, W, 3].
    y: [h, w, M] float32 in quantisation steps, h and w multiples of `model.multiple` / 16; what
      lies beyond H / 16 and W / 16 is padding and becomes zero.
    tradeoff: [1].
    steps: how many; more are better and slower.
  Returns:
    As `y`.
  """
  height, width = image.shape[:2]
  x = pad_to(image, BLOCK * y.shape[0], BLOCK * y.shape[1])[None] / np.float32(255)
  inside = _mask(y.shape[:2], -(-height // BLOCK), -(-width // BLOCK))
  area = x, _mask(x.shape[1:3], height, width), inside
  state = y[None], y[None], np.float32(np.inf)
  for step in range(steps + 1):
    share = np.float32(_FIRST_SHARE * (_LAST_SHARE / _FIRST_SHARE) ** (step / steps))
    state = _step(model, params, area, tradeoff, share, *state)
  return np.asarray(state[1][0]) * inside[0]


def _mask(shape: tuple[int, ...], height: int, width: int) -> np.ndarray:
  """[1, *shape, 1], one in height x width, zero beyond."""
  mask = np.zeros((1, *shape, 1), np.float32)
  mask[:, :height, :width] = 1
  return mask


@functools.partial(jax.jit, static_argnums=0)
def _step(model, params, area, tradeoff, share, y, best, least):
  """The latents of the next step, the best ones up to this, and what those cost."""
  x, pixels, inside = area
  apply = functools.partial(model.apply, {"params": params})
  curvature: Any = apply(tradeoff, method="curvature")
  lmbda = model.lmbda(tradeoff)[0]

  def cost_fn(y):
    output, y_hat = apply(y * inside, tradeoff, method="coded")
    errors = pixels * jnp.square(jnp.clip(output.x_hat, 0, 1) - x)
    cost = output.y_bits[0] + output.z_bits[0] + lmbda * 255**2 / 3 * jnp.sum(errors)
    return cost, y_hat

  (cost, y_hat), gradient = jax.value_and_grad(cost_fn, has_aux=True)(y)
  ideal = y_hat - gradient / model.in_cells(curvature)
  best = jnp.where(cost < least, y, best)
  return y + share * (ideal - y), best, jnp.minimum(cost, least)
