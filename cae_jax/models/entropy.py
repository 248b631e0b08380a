"""Entropy models: how probable quantised latents are, for training (bits) and coding (pmfs).

All probabilities are masses of unit-width bins around integers (or integers plus a mean). The bits
are differentiable, also far out in the tails, since they are computed from logarithms.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from cae_jax.models.laplacian import assumed_dead_zone
from cae_jax.models.quantization import clip_inward
from cae_jax.models.units import SCALE_FLOOR, scale_levels

# Mass left outside of a distribution's run of integers, for an escape symbol.
TAIL_MASS = 2.0**-20

# For each distribution its probabilities and the integer that the first of them is of.
Pmfs = list[tuple[np.ndarray, int]]


def gaussian_bits(y: jax.Array, means: jax.Array, scales: jax.Array) -> jax.Array:
  """Returns the information content of unit-width bins under a Gaussian.

  -log2 of the bin mass of Minnen et al. 2018 (arXiv:1809.02736), section 2; `scales` is the paper's
  sigma, here never below `SCALE_FLOOR`.

  Args:
    y: [..., M] float, noisy or integer-offset latents.
    means, scales: same shape, in latent units.
  Returns:
    [..., M] float32, bits (>= 0), not summed.
  Raises:
    ValueError: the shapes differ.
  """
  if not y.shape == means.shape == scales.shape:
    raise ValueError(
      f"expected y, means and scales of one shape, got {y.shape}, {means.shape}, {scales.shape}"
    )
  scales = clip_inward(scales.astype(jnp.float32), SCALE_FLOOR, math.inf)
  # By symmetry the bin may lie left of the mean, where log_ndtr keeps its precision.
  distance = jnp.abs((y - means).astype(jnp.float32))
  return _bits_between(log_ndtr((-0.5 - distance) / scales), log_ndtr((0.5 - distance) / scales))


def bits_per_image(bits: jax.Array) -> jax.Array:
  """Sums bits over an image: [B, h, w, C] -> [B]."""
  return jnp.sum(bits, axis=(1, 2, 3))


def gaussian_pmfs() -> Pmfs:
  """Returns a Gaussian for each of `scale_levels`, over integers around a mean of zero.

  Returns:
    Probabilities float64 [L] and the first integer, for each level; `TAIL_MASS` at most is left.
  """
  return [_gaussian_pmf(scale) for scale in scale_levels()]


def _gaussian_pmf(scale: float) -> tuple[np.ndarray, int]:
  from scipy.special import ndtr, ndtri  # which decoders do without, and which is slow to import

  last = max(1, math.ceil(-scale * ndtri(TAIL_MASS / 2) - 0.5))
  # Both halves from the left tail, where the cumulative distribution loses no digits.
  edges = ndtr((np.arange(-last, 1) - 0.5) / scale)
  left = np.diff(edges)
  return np.concatenate([left, [1 - 2 * edges[-1]], left[::-1]]), -last


def magnitude_pmfs() -> list[np.ndarray]:
  """Returns distributions of the magnitudes of `symbol_bits`' symbols, for each of `scale_levels`.

  Returns:
    Probabilities float64 [L] of 0, 1, ..., L - 1, at least two; `TAIL_MASS` at most is left.
  """
  levels = scale_levels()
  zones = assumed_dead_zone(levels.astype(np.float32)).astype(np.float64)
  return [_magnitude_pmf(math.sqrt(2) / scale, 0.5 + zone) for scale, zone in zip(levels, zones)]


def _magnitude_pmf(rate: float, edge: float) -> np.ndarray:
  last = max(1, math.ceil(-math.log(TAIL_MASS) / rate - 0.5))
  beyond = np.exp(-rate * (edge + np.arange(last + 1)))
  return np.concatenate([[1 - beyond[0]], -np.diff(beyond)])


class FactorizedPrior(nn.Module):
  """Deep factorized prior: a learned cumulative distribution for each channel.

  Ballé et al. 2018 (arXiv:1802.01436), appendix 6.1: c = f_K o ... o f_1 with
  f_k(x) = g_k(H_k x + b_k), g_k(x) = x + a_k * tanh(x), H_k = softplus(.), a_k = tanh(.), and a
  sigmoid at the end. `filters` are the widths between the K layers, (3, 3, 3) as in TensorFlow
  Compression; `init_scale` is about the spread of values that are probable at the start.
  """

  channels: int
  filters: Sequence[int] = (3, 3, 3)
  init_scale: float = 10.0

  @nn.compact
  def __call__(self, y: jax.Array) -> jax.Array:
    """y [..., M] float, noisy or integer -> bits [..., M] float32, not summed."""
    return factorized_bits(self._layers(), y)

  def _layers(self) -> dict[str, jax.Array]:
    widths = (1, *self.filters, 1)
    growth = self.init_scale ** (1 / (len(widths) - 1))
    layers = {}
    for k, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
      shape = (self.channels, fan_out)
      start = float(np.log(np.expm1(1 / growth / fan_out)))
      constant = nn.initializers.constant(start)
      layers[f"matrix_{k}"] = self.param(f"matrix_{k}", constant, (*shape, fan_in))
      layers[f"bias_{k}"] = self.param(f"bias_{k}", _centred_uniform, shape)
      if fan_out > 1:
        layers[f"factor_{k}"] = self.param(f"factor_{k}", nn.initializers.zeros, shape)
    return layers


def _centred_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  return jax.random.uniform(key, shape, minval=-0.5, maxval=0.5)


def factorized_bits(params: Mapping[str, jax.Array], y: jax.Array) -> jax.Array:
  """Evaluates `FactorizedPrior` as a function: its parameters and y [..., M] -> bits [..., M]."""
  lower = cumulative_logits(params, y - 0.5)
  upper = cumulative_logits(params, y + 0.5)
  # Of a bin in the right half the mirror image has the same mass and keeps more digits.
  mirror = lower + upper > 0
  lower, upper = jnp.where(mirror, -upper, lower), jnp.where(mirror, -lower, upper)
  return _bits_between(jax.nn.log_sigmoid(lower), jax.nn.log_sigmoid(upper))


def cumulative_logits(params: Mapping[str, Any], y: Any) -> Any:
  """Returns logits of the cumulative distribution at y, rising in y.

  Args:
    params: of `FactorizedPrior`, NumPy or JAX.
    y: [..., M] of the same kind.
  Returns:
    [..., M].
  """
  xp = y.__array_namespace__()
  x = y[..., None]  # [..., M, 1]
  for k in range(sum(name.startswith("matrix_") for name in params)):
    matrix = xp.logaddexp(params[f"matrix_{k}"], xp.zeros_like(params[f"matrix_{k}"]))  # softplus
    x = (matrix @ x[..., None])[..., 0] + params[f"bias_{k}"]
    if f"factor_{k}" in params:
      x = x + xp.tanh(params[f"factor_{k}"]) * xp.tanh(x)
  return x[..., 0]


def factorized_pmfs(params: Mapping[str, Any]) -> Pmfs:
  """Returns each channel's distribution, in float64 on the host; its integers by bisection.

  Args:
    params: of a trained `FactorizedPrior`.
  Returns:
    Probabilities float64 [L] and the first integer, for each channel; about `TAIL_MASS` is left.
  Raises:
    ValueError: a channel's distribution spreads over more than 2^15 integers.
  """
  exact = {name: np.asarray(value, np.float64) for name, value in params.items()}
  half_tail = np.log(TAIL_MASS / 2)  # for so small a mass, logit and logarithm agree
  first = np.floor(_solve(exact, half_tail)).astype(int)
  last = np.ceil(_solve(exact, -half_tail)).astype(int)
  edges = first + np.arange((last - first).max() + 2)[:, None] - 0.5  # [L + 1, M]
  masses = np.diff(_sigmoid(cumulative_logits(exact, edges)), axis=0)
  return [(masses[: b - a + 1, m], int(a)) for m, (a, b) in enumerate(zip(first, last))]


def _solve(params: Mapping[str, np.ndarray], logit: float) -> np.ndarray:
  """Where each channel's logits reach a value: float64 [M], to within 1e-3, by bisection."""
  channels = params["bias_0"].shape[0]
  low, high = np.full(channels, -(2.0**14)), np.full(channels, 2.0**14)
  at_ends = cumulative_logits(params, low), cumulative_logits(params, high)
  if (at_ends[0] > logit).any() or (at_ends[1] < logit).any():
    raise ValueError(
      "a channel of the factorized prior spreads over more than 2^15 integers; train it longer, "
      "or scale its latents down"
    )
  for _ in range(25):
    middle = (low + high) / 2
    above = cumulative_logits(params, middle) > logit
    low, high = np.where(above, low, middle), np.where(above, middle, high)
  return (low + high) / 2


def _sigmoid(x: np.ndarray) -> np.ndarray:
  small = np.exp(-np.abs(x))
  return np.where(x > 0, 1, small) / (1 + small)


def _bits_between(log_lower: jax.Array, log_upper: jax.Array) -> jax.Array:
  """-log2(exp(log_upper) - exp(log_lower)), for log_lower < log_upper <= 0."""
  # The floor keeps the gradient finite where float32 cannot tell the two apart.
  gap = jnp.minimum(log_lower - log_upper, -1e-7)
  return -(log_upper + jnp.log(-jnp.expm1(gap))) / np.log(2)
