"""The synthesis as functions of arrays: of JAX where it is trained, of NumPy where it is run.

A product of matrices in NumPy is as fast on a CPU as XLA's convolution, and needs no compiling,
which takes longer than the synthesis of a photograph.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cae_jax.models.arrays import (
  Map,
  depth_to_space,
  namespace,
  parts,
  polynomial,
  space_to_depth,
)
from cae_jax.models.convolution import Convolution, unchanged
from cae_jax.models.units import LMBDA_UNIT, STEP

BLOCK = 16  # pixels; one latent position
SAMPLES = 3 * BLOCK**2  # of a block
PEAK = 255.0
_SLOPE = 0.1  # of the leaky ReLUs

# A layer or a block of some of them, at a trade-off: [B, h, w, C] -> [B, h, w, C'].
Part = Callable[[Any], Any]


def activation(x: Any) -> Any:
  """Applies the leaky ReLU."""
  return x.__array_namespace__().maximum(x, _SLOPE * x)


def split_levels(y: Any, coarse: int) -> tuple:
  """Splits y [..., h, w, C + 4F] into coarse [..., h, w, C] and fine latents [..., 2h, 2w, F]."""
  return y[..., :coarse], depth_to_space(y[..., coarse:], 2)


def join_levels(coarse: Any, fine: Any) -> Any:
  """Joins coarse and fine latents: the inverse of `split_levels`."""
  xp = coarse.__array_namespace__()
  return xp.concatenate([coarse, space_to_depth(fine, 2)], axis=-1)


def in_cells(values: Any, coarse: int) -> Any:
  """Repeats what is said of a fine channel for its four cells: [..., C + F] -> [..., C + 4F]."""
  xp = values.__array_namespace__()
  return xp.concatenate([values[..., :coarse]] + 4 * [values[..., coarse:]], axis=-1)


def lmbda_of(tradeoff: Any) -> Any:
  """Returns the lmbda of trade-offs [B]: [B]."""
  return LMBDA_UNIT * tradeoff.__array_namespace__().exp(math.log(10) * tradeoff)


def base_step(tradeoff: Any) -> Any:
  """Returns the step that all latents share, in grey levels: [B] -> [B, 1, 1, 1]."""
  xp = tradeoff.__array_namespace__()
  return (STEP / xp.sqrt(lmbda_of(tradeoff)))[:, None, None, None]


def steps(log_step: Any, tradeoff: Any, coarse: int) -> Any:
  """Returns the decoder's quantisation steps in grey levels: [3, C + F], [B] -> [B, 1, 1, M]."""
  xp = namespace(log_step, tradeoff)
  return in_cells(xp.exp(polynomial(log_step, tradeoff)), coarse) * base_step(tradeoff)


def condition(log_gain: Any, bias: Any, tradeoff: Any) -> Part:
  """Returns what applies gains and offsets to maps: polynomials [N, C] of trade-offs [B]."""
  xp = namespace(log_gain, tradeoff)
  gain, offset = xp.exp(polynomial(log_gain, tradeoff)), polynomial(bias, tradeoff)
  return lambda x: x * gain.astype(x.dtype) + offset.astype(x.dtype)


def synthesise_features(
  y_hat: Any, stages: Sequence[Sequence[Part]], coarse: int, dtype: Any = np.float32
) -> Any:
  """Runs the network of `transforms.BlockSynthesis` but for its last layer.

  Args:
    y_hat: [B, h, w, M] in steps.
    stages: parts at 1/16 of the resolution, and at 1/8.
    coarse: C.
    dtype: of the network.
  Returns:
    [B, 2h, 2w, F].
  """
  h, fine = split_levels(y_hat.astype(dtype), coarse)
  for stage, stage_parts in enumerate(stages):
    if stage:
      h = h.__array_namespace__().concatenate([depth_to_space(h, 2), fine], axis=-1)
    for part in stage_parts:
      h = part(h)
    h = activation(h)
  return h


def synthesise_pixels(y_hat: Any, features: Any, step: Any, linear: Part, last: Part) -> Any:
  """Joins the linear path and the network of `transforms.BlockSynthesis`, block by block.

  Args:
    y_hat: [B, h, w, M] in steps.
    features: [B, 2h, 2w, F], of `synthesise_features`.
    step: [B, 1, 1, M] in grey levels.
    linear: the block transform, of coefficients in grey levels: [B, h, w, M] -> [B, h, w, 768].
    last: the network's last layer: [B, 2h, 2w, F] -> [B, 2h, 2w, 192].
  Returns:
    x_hat [B, 16h, 16w, 3] near [0, 1], not clipped.
  """
  xp = namespace(features, step)
  blocks = depth_to_space(linear(y_hat * step), BLOCK)
  typical_step = xp.exp(xp.mean(xp.log(step), axis=-1, keepdims=True))
  correction = depth_to_space(last(features).astype(xp.float32) * typical_step, 8)
  return 0.5 + (blocks + correction) / PEAK


def synthesis_matrix(basis: Any) -> Any:
  """Returns the matrix of the block transform back to pixels: [768, M] -> [M, 768]."""
  return basis.T * (1 / math.sqrt(SAMPLES))


class HostTransform:
  """A transform of `ContextModel` in NumPy, by the parameters of its Flax module.

  Attributes:
    params: of the transform, float32, convolutions in the place of kernels.
    coarse: C.
    blocks: residual blocks of the stages, in their order.
  """

  def __init__(self, params: Mapping[str, Any], name: str, coarse: int, blocks: Sequence[int]):
    """Takes a model's parameters, the transform's name among them, C and its stages' blocks."""
    self.params, self.coarse, self.blocks = _prepared(params[name]), coarse, blocks

  def stages(self, tradeoff: np.ndarray, in_parallel: Map) -> list[list[Part]]:
    """Lists the parts of each stage at a trade-off [1]: a convolution, and residual blocks."""
    conv = functools.partial(_conv, tradeoff=tradeoff, in_parallel=in_parallel)

    def block(params: Mapping[str, Any]) -> Part:
      first = conv(params["ConditionalConv_0"], begin=activation, finish=activation)
      second = conv(params["ConditionalConv_1"])
      return lambda x: second(first(x), plus=x)

    stages, number = [], 0
    for stage, count in enumerate(self.blocks):
      blocks = [self.params[f"ResidualBlock_{n}"] for n in range(number, number + count)]
      stages.append([conv(self.params[f"ConditionalConv_{stage}"]), *map(block, blocks)])
      number += count
    return stages

  def last(self, number: int, tradeoff: np.ndarray, in_parallel: Map = map) -> Part:
    """Returns one of the convolutions after the stages, the first of which has number 0."""
    params = self.params[f"ConditionalConv_{len(self.blocks) + number}"]
    return _conv(params, tradeoff, in_parallel)


class HostSynthesis(HostTransform):
  """`ContextModel.synthesise` in NumPy, up to float rounding."""

  def __init__(self, params: Mapping[str, Any], coarse: int, blocks: Sequence[int]):
    """Takes a model's parameters, C and residual blocks at 1/8 and 1/16, as the model has them."""
    super().__init__(params, "synthesis", coarse, blocks[::-1])
    self._log_step = np.asarray(params["log_step"], np.float32)

  def __call__(
    self,
    y_hat: np.ndarray,
    tradeoff: np.ndarray,
    finish: Part = unchanged,
    in_parallel: Map = map,
  ) -> np.ndarray:
    """Turns y_hat [1, h, w, M] in steps at a trade-off [1] into x_hat [1, 16h, 16w, 3].

    Args:
      y_hat, tradeoff: of a file.
      finish: what is done with x_hat, some rows at a time.
      in_parallel: applies functions to parts of maps.
    """
    features = synthesise_features(y_hat, self.stages(tradeoff, in_parallel), self.coarse)
    step, matrix = self.step(tradeoff), synthesis_matrix(self.params["basis"])
    last = self.last(0, tradeoff)

    def pixels(rows: slice) -> np.ndarray:
      inner = features[:, 2 * rows.start : 2 * rows.stop]
      return finish(synthesise_pixels(y_hat[:, rows], inner, step, lambda y: y @ matrix, last))

    _, height, width, _ = y_hat.shape
    return np.concatenate(list(in_parallel(pixels, parts(height, width * SAMPLES))), axis=1)

  def step(self, tradeoff: np.ndarray) -> np.ndarray:
    """Returns the quantisation steps in grey levels: [1] -> [1, 1, 1, M]."""
    return steps(self._log_step, tradeoff, self.coarse)


def _conv(
  params: Mapping[str, Any],
  tradeoff: np.ndarray,
  in_parallel: Map,
  begin: Part = unchanged,
  finish: Part = unchanged,
) -> Callable[..., np.ndarray]:
  """A conditional convolution, and what is done to each number before and after it."""
  scale = condition(params["log_gain"], params["bias"], tradeoff)
  convolution = params["Conv_0"]["kernel"]
  after = lambda rows: finish(scale(rows))
  return functools.partial(convolution, in_parallel=in_parallel, begin=begin, finish=after)


def _prepared(params: Any, name: str = "") -> Any:
  if isinstance(params, Mapping):
    return {key: _prepared(value, key) for key, value in params.items()}
  values = np.asarray(params, np.float32)
  return Convolution(values) if name == "kernel" else values
