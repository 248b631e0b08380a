"""Latents of one image refined by gradient steps on its own rate-distortion cost.

The decoder is what it is; the analysis only guesses the best latents for it. Rounding is relaxed by
stochastic Gumbel annealing (Yang, Bamler and Mandt 2020, arXiv:2006.04240).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cae_jax.images.tiling import pad_to
from cae_jax.models.block_transforms import BLOCK
from cae_jax.models.context import ContextModel

_RATE = 0.04  # of Adam, in quantisation steps
_TEMPERATURES = (0.5, 0.1)  # at the first and at the last step


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
  state = _start(y[None])
  for step in range(steps):
    state = _step(model, params, area, tradeoff, state, np.float32(step / steps))
  return np.asarray(state[0][0]) * inside[0]


def _mask(shape: tuple[int, ...], height: int, width: int) -> np.ndarray:
  """[1, *shape, 1], one in height x width, zero beyond."""
  mask = np.zeros((1, *shape, 1), np.float32)
  mask[:, :height, :width] = 1
  return mask


def _optimizer(rate: Any = 0.0) -> optax.GradientTransformation:
  return optax.adam(rate, b1=0.9, b2=0.99)


@jax.jit
def _start(y):
  return y, _optimizer().init(y), jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _step(model, params, area, tradeoff, state, progress):
  (x, pixels, inside), (y, moments, key) = area, state
  key, now = jax.random.split(key)
  start, end = _TEMPERATURES
  temperature = start * (end / start) ** progress
  lmbda = model.lmbda(tradeoff)[0]

  def cost_fn(y):
    output = model.apply(
      {"params": params}, y * inside, tradeoff, key=now, temperature=temperature, method="annealed"
    )
    errors = pixels * jnp.square(jnp.clip(output.x_hat, 0, 1) - x)
    return output.y_bits[0] + output.z_bits[0] + lmbda * 255**2 / 3 * jnp.sum(errors)

  updates, moments = _optimizer(_RATE * (1 - progress)).update(jax.grad(cost_fn)(y), moments)
  return optax.apply_updates(y, updates), moments, key
