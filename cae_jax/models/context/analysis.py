"""The encoder as functions of arrays: of JAX where it is trained, of NumPy where a CPU runs it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cae_jax.models.arrays import Map, namespace, polynomial, space_to_depth
from cae_jax.models.context.synthesis import (
  BLOCK,
  PEAK,
  SAMPLES,
  HostTransform,
  Part,
  activation,
  base_step,
  in_cells,
  join_levels,
)
from cae_jax.models.convolution import Convolution
from cae_jax.models.laplacian import UNIT_CURVATURE

_LEAST_CURVATURE = 0.7


def analyse_blocks(
  x: Any,
  linear: Part,
  stages: Sequence[Sequence[Part]],
  last: Sequence[Part],
  dtype: Any = np.float32,
) -> Any:
  """Runs the linear path and the network of `transforms.BlockAnalysis`.

  Args:
    x: [B, H, W, 3] in [0, 1].
    linear: the block transform: [B, h, w, 768] -> coefficients in grey levels [B, h, w, M].
    stages: parts at 1/8 of the resolution, and at 1/16.
    last: the parts after them: for the coarse latents and, if there are any, for the fine ones.
    dtype: of the network.
  Returns:
    y [B, H/16, W/16, M] in grey levels.
  """
  x = x - 0.5
  coefficients = linear(space_to_depth(x, BLOCK))
  h = space_to_depth(x, 8).astype(dtype)
  ends = []
  for stage, parts in enumerate(stages):
    if stage:
      h = space_to_depth(h, 2)
    for part in parts:
      h = part(h)
    h = activation(h)
    ends.append(h)
  coarse, *fine = (part(h) for part, h in zip(last, reversed(ends)))
  correction = join_levels(coarse, *fine) if fine else coarse
  return coefficients + correction.astype(np.float32) * BLOCK


def analysis_matrix(basis: Any) -> Any:
  """Returns the matrix of the block transform, from samples in [0, 1]: [768, M]."""
  return basis * (PEAK / math.sqrt(SAMPLES))


def analyse_latents(y: Any, layers: Sequence[Part]) -> Any:
  """Finds hyper-latents by three layers: y [B, h, w, M] in steps -> z [B, h/4, w/4, C]."""
  xp = y.__array_namespace__()
  first, second, last = layers
  magnitude = xp.log1p(xp.abs(y))
  x = xp.concatenate([xp.sign(y) * magnitude, magnitude], axis=-1)
  x = activation(first(x))
  x = activation(second(space_to_depth(x, 2)))
  # z starts with a spread of some steps, or rounding would silence it.
  return 4.0 * last(space_to_depth(x, 2))


def gains(log_gain: Any, tradeoff: Any, coarse: int) -> Any:
  """Returns the encoder's quantisation steps in a grey level: [3, C + F], [B] -> [B, 1, 1, M]."""
  xp = namespace(log_gain, tradeoff)
  return in_cells(xp.exp(polynomial(log_gain, tradeoff)), coarse) / base_step(tradeoff)


def curvatures(log_step: Any, tradeoff: Any, ndim: int = 4) -> Any:
  """Returns the distortion's curvature in bits, along each latent: [B] -> [B, 1, ..., 1, C + F].

  That of an orthonormal synthesis, but never much below `UNIT_CURVATURE`: where a latent weighs
  less, others do the same work, and rounding each by itself would miss it.

  Args:
    log_step: [3, C + F], of the decoder's quantisation steps.
    tradeoff: [B].
    ndim: axes of the result.
  """
  xp = namespace(log_step, tradeoff)
  share = xp.exp(2 * polynomial(log_step, tradeoff, ndim))
  return UNIT_CURVATURE * xp.maximum(share, _LEAST_CURVATURE)


class HostAnalysis(HostTransform):
  """The encoder of `ContextModel` in NumPy, up to float rounding."""

  def __init__(self, params: Mapping[str, Any], coarse: int, blocks: Sequence[int]):
    """Takes a model's parameters, C and residual blocks at 1/8 and 1/16, as the model has them."""
    super().__init__(params, "analysis", coarse, blocks)
    self._log_gain, self._log_step = (
      np.asarray(params[name], np.float32) for name in ("log_gain", "log_step")
    )
    layers = params["hyper_analysis"]
    self._hyper_layers = [_dense(layers[f"Conv_{number}"]) for number in range(3)]

  def __call__(self, x: np.ndarray, in_parallel: Map = map) -> np.ndarray:
    """Turns x [1, H, W, 3] in [0, 1] into y [1, H/16, W/16, M] in grey levels."""
    rateless = np.zeros(1, np.float32)
    last = [self.last(number, rateless, in_parallel) for number in range(2)]
    blocks = Convolution(analysis_matrix(self.params["basis"])[None, None])
    linear = lambda x: blocks(x, in_parallel=in_parallel)
    return analyse_blocks(x, linear, self.stages(rateless, in_parallel), last)

  def quantizable(self, y: np.ndarray, tradeoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is to be rounded: y in grey levels, [1] -> y in steps, z [1, h/4, w/4, C]."""
    y = y * self.gain(tradeoff)
    return y, analyse_latents(y, self._hyper_layers)

  def gain(self, tradeoff: np.ndarray) -> np.ndarray:
    """Returns quantisation steps in a grey level: [1] -> [1, 1, 1, M]."""
    return gains(self._log_gain, tradeoff, self.coarse)

  def curvature(self, tradeoff: np.ndarray) -> np.ndarray:
    """Returns the distortion's curvature along each latent, see `curvatures`: [1] -> [1, C + F]."""
    return curvatures(self._log_step, tradeoff, 2)


def _dense(layer: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
  """A convolution of 1x1."""
  kernel, bias = (np.asarray(layer[name], np.float32) for name in ("kernel", "bias"))
  return lambda x: x @ kernel[0, 0] + bias
