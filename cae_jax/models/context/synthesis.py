"""The synthesis as functions of arrays: of JAX where it is trained, of NumPy where it is run.

A product of matrices in NumPy is as fast on a CPU as XLA's convolution, and needs no compiling,
which takes longer than the synthesis of a photograph.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cae_jax.models.arrays import depth_to_space, namespace, polynomial, space_to_depth
from cae_jax.models.convolution import convolve
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


def condition(x: Any, log_gain: Any, bias: Any, tradeoff: Any) -> Any:
  """Applies gains and offsets to x [B, h, w, C]: polynomials [N, C] of trade-offs [B]."""
  xp = namespace(log_gain, tradeoff)
  gain = xp.exp(polynomial(log_gain, tradeoff)).astype(x.dtype)
  return x * gain + polynomial(bias, tradeoff).astype(x.dtype)


def residual(x: Any, first: Part, second: Part) -> Any:
  """Adds to x what two convolutions find in it."""
  return x + second(activation(first(activation(x))))


def synthesise_blocks(
  y_hat: Any,
  step: Any,
  basis: Any,
  stages: Sequence[Sequence[Part]],
  last: Part,
  coarse: int,
  dtype: Any = np.float32,
) -> Any:
  """Runs the linear path and the network of `transforms.BlockSynthesis`.

  Args:
    y_hat: [B, h, w, M] in steps.
    step: [B, 1, 1, M] in grey levels.
    basis: [768, M].
    stages: parts at 1/16 of the resolution, and at 1/8.
    last: the part behind them.
    coarse: C.
    dtype: of the network.
  Returns:
    x_hat [B, 16h, 16w, 3] near [0, 1], not clipped.
  """
  xp = namespace(y_hat, step)
  linear = (y_hat * step) @ (basis.T * (1 / math.sqrt(SAMPLES)))
  h, fine = split_levels(y_hat.astype(dtype), coarse)
  for stage, parts in enumerate(stages):
    if stage:
      h = xp.concatenate([depth_to_space(h, 2), fine], axis=-1)
    for part in parts:
      h = part(h)
    h = activation(h)
  typical_step = xp.exp(xp.mean(xp.log(step), axis=-1, keepdims=True))
  correction = depth_to_space(last(h).astype(xp.float32) * typical_step, 8)
  return 0.5 + (depth_to_space(linear, BLOCK) + correction) / PEAK


class HostTransform:
  """A transform of `ContextModel` in NumPy, by the parameters of its Flax module.

  Attributes:
    params: of the transform, float32.
    coarse: C.
    blocks: residual blocks of the stages, in their order.
  """

  def __init__(self, params: Mapping[str, Any], name: str, coarse: int, blocks: Sequence[int]):
    """Takes a model's parameters, the transform's name among them, C and its stages' blocks."""
    self.params, self.coarse, self.blocks = _float32(params[name]), coarse, blocks

  def stages(self, tradeoff: np.ndarray) -> list[list[Part]]:
    """Lists the parts of each stage at a trade-off [1]: a convolution, and residual blocks."""
    stages, number = [], 0
    for stage, count in enumerate(self.blocks):
      numbers = range(number, number + count)
      stages.append([self.conv(stage, tradeoff), *(self._block(n, tradeoff) for n in numbers)])
      number += count
    return stages

  def conv(self, number: int, tradeoff: np.ndarray) -> Part:
    """Returns a convolution beside the residual blocks."""
    return _conditional_conv(self.params[f"ConditionalConv_{number}"], tradeoff)

  def _block(self, number: int, tradeoff: np.ndarray) -> Part:
    params = self.params[f"ResidualBlock_{number}"]
    convs = [_conditional_conv(params[f"ConditionalConv_{n}"], tradeoff) for n in range(2)]
    return lambda x: residual(x, *convs)


class HostSynthesis(HostTransform):
  """`ContextModel.synthesise` in NumPy, up to float rounding."""

  def __init__(self, params: Mapping[str, Any], coarse: int, blocks: Sequence[int]):
    """Takes a model's parameters, C and residual blocks at 1/8 and 1/16, as the model has them."""
    super().__init__(params, "synthesis", coarse, blocks[::-1])
    self._log_step = np.asarray(params["log_step"], np.float32)

  def __call__(self, y_hat: np.ndarray, tradeoff: np.ndarray) -> np.ndarray:
    """Turns y_hat [1, h, w, M] in steps at a trade-off [1] into x_hat [1, 16h, 16w, 3]."""
    last = self.conv(len(self.blocks), tradeoff)
    return synthesise_blocks(
      y_hat, self.step(tradeoff), self.params["basis"], self.stages(tradeoff), last, self.coarse
    )

  def step(self, tradeoff: np.ndarray) -> np.ndarray:
    """Returns the quantisation steps in grey levels: [1] -> [1, 1, 1, M]."""
    return steps(self._log_step, tradeoff, self.coarse)


def _conditional_conv(params: Mapping[str, Any], tradeoff: np.ndarray) -> Part:
  kernel, log_gain, bias = params["Conv_0"]["kernel"], params["log_gain"], params["bias"]
  return lambda x: condition(convolve(x, kernel), log_gain, bias, tradeoff)


def _float32(params: Any) -> Any:
  if isinstance(params, Mapping):
    return {name: _float32(value) for name, value in params.items()}
  return np.asarray(params, np.float32)
