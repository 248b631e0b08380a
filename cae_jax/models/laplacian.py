"""Latents of the context model: they follow a Laplacian, and are rounded with a dead zone.

Functions of arrays: of JAX in training, of NumPy where a CPU encodes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cae_jax.models.arrays import namespace
from cae_jax.models.units import SCALE_FLOOR, STEP

# What any symbol may count on, however wrong the scale: about what the coding tables grant it.
LIKELIHOOD_FLOOR = 2.0**-17

# An error of e such steps (`STEP`) costs lmbda * (e * step)^2 / 3 bits, of a sample's three
# colours.
UNIT_CURVATURE = 2 * STEP**2 / 3
CAUTION = 1.5  # by BD-rates, see docs/decisions/014-dead-zone-of-files.md


def laplacian_bits(y: Any, scales: Any) -> Any:
  """Returns the information content of unit-width bins under a Laplacian with mean zero.

  Natural latents have heavier tails than a Gaussian, even given what a context model knows.

  Args:
    y: [..., M] float, noisy or integer latents less their means.
    scales: same shape, standard deviations in latent units, here never below `SCALE_FLOOR`.
  Returns:
    [..., M] float32, bits (>= 0), not summed; at most -log2 of `LIKELIHOOD_FLOOR`.
  Raises:
    ValueError: the shapes differ.
  """
  if y.shape != scales.shape:
    raise ValueError(f"expected y and scales of one shape, got {y.shape} and {scales.shape}")
  xp = namespace(y, scales)
  rate = math.sqrt(2) / _floored(scales.astype(xp.float32))
  distance = xp.abs(y.astype(xp.float32))
  inner = xp.minimum(distance, 0.5)  # where the bin holds the peak
  around = 1 - xp.exp(-0.5 * rate) * xp.cosh(inner * rate)
  beyond = -0.5 * xp.exp(-(xp.maximum(distance, 0.5) - 0.5) * rate) * xp.expm1(-rate)
  mass = xp.where(distance < 0.5, around, beyond)
  return -xp.log2(mass * (1 - LIKELIHOOD_FLOOR) + LIKELIHOOD_FLOOR)


def symbol_bits(symbols: Any, scales: Any) -> Any:
  """Returns the information content of symbols: a Laplacian quantised with a dead zone.

  The bin of 0 reaches t further to both sides than half a step, all others start there. t is where
  a Laplacian's 0 and 1 are equally good, see `dead_zone`.

  Args:
    symbols: [..., M] float integers.
    scales: same shape, standard deviations in steps, here never below `SCALE_FLOOR`.
  Returns:
    [..., M] float32, bits (>= 0), not summed; at most -log2 of `LIKELIHOOD_FLOOR`. Only the scales
    get a gradient.
  """
  xp = namespace(symbols, scales)
  rate = math.sqrt(2) / _floored(scales.astype(xp.float32))
  edge = 0.5 + assumed_dead_zone(_constant(scales))
  magnitude = _constant(xp.abs(symbols.astype(xp.float32)))
  beyond = -0.5 * xp.exp(-(xp.maximum(magnitude, 1) - 1 + edge) * rate) * xp.expm1(-rate)
  mass = xp.where(magnitude < 0.5, -xp.expm1(-edge * rate), beyond)
  return -xp.log2(mass * (1 - LIKELIHOOD_FLOOR) + LIKELIHOOD_FLOOR)


def dead_zone(scales: Any, curvature: Any) -> Any:
  """Says how far latents move towards their means before rounding, for the best of rate and error.

  A symbol of 1 costs b bits more than one of 0, and an error of e steps curvature / 2 * e^2 bits:
  taken alone both are as good at |y| = 1/2 + b / curvature. Files are best with 1.5 times the
  curvature there, as if errors of latents rounded together were dearer than one by one.

  Args:
    scales: standard deviations, in steps.
    curvature: of the distortion in bits along a latent, positive; broadcasts with `scales`.
  Returns:
    From 0 to 1 step.
  """
  return _indifferent(symbol_bits, scales, CAUTION * curvature, 1.0)


def assumed_dead_zone(scales: Any) -> Any:
  """Returns the dead zone that `symbol_bits` assumes, of scales: from 0 to 0.4 steps."""
  return _indifferent(laplacian_bits, scales, UNIT_CURVATURE, 0.4)


def _indifferent(bits: Callable, scales, curvature, most: float):
  xp = namespace(scales)
  dearer = bits(xp.ones_like(scales), scales) - bits(xp.zeros_like(scales), scales)
  return xp.clip(dearer / curvature, 0, most)


def relaxed_symbol_bits(y: Any, symbols: Any, scales: Any, noise: Any) -> Any:
  """Returns `symbol_bits` that latents can learn from, too.

  Scales learn from the symbols, latents from unit noise in place of rounding: with noise alone the
  scales would fit latents that no file has, which are seldom zero.

  Args:
    y: [..., M] float, latents less their means, in steps.
    symbols: what they are rounded to.
    scales: as in `symbol_bits`.
    noise: of `quantization.unit_noise`.
  Returns:
    The values of `symbol_bits`.
  """
  soft = laplacian_bits(y + noise, _constant(scales))
  return symbol_bits(symbols, scales) + soft - _constant(soft)


def dead_zone_rounding(x: Any, dead_zone: Any) -> Any:
  """Rounds what is left of x after it moves towards zero by `dead_zone` (>= 0)."""
  xp = namespace(x, dead_zone)
  return xp.sign(x) * xp.floor(xp.maximum(xp.abs(x) + 0.5 - dead_zone, 0.0))


def _floored(scales: Any) -> Any:
  """At least `SCALE_FLOOR`; in training, what is below can grow."""
  if isinstance(scales, np.ndarray | np.generic):
    return np.maximum(scales, SCALE_FLOOR)
  from cae_jax.models.quantization import clip_inward  # which needs JAX

  return clip_inward(scales, SCALE_FLOOR, math.inf)


def _constant(x: Any) -> Any:
  """Stops gradients, which arrays of NumPy have none of."""
  if isinstance(x, np.ndarray | np.generic):
    return x
  import jax  # which is there if arrays of it are

  return jax.lax.stop_gradient(x)
