"""`HyperpriorModel`'s hyper-synthesis in integers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from cae_jax.models.exact import integers
from cae_jax.models.exact.conditional import (
  HEADROOM,
  LOG_SCALE_UNIT,
  MEAN_UNIT,
  Networks,
  means_and_indexes,
  scales_from_floor,
)
from cae_jax.models.exact.integers import IntegerLayer
from cae_jax.models.exact.layers import SLOPE_SHIFT, stack_layers
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.models.strided import fold_transposed


def quantize_hyper_synthesis(
  model: HyperpriorModel, params: Any, maxima: Mapping[str, Sequence[float]]
) -> Networks:
  """Finds the integer network of trained parameters.

  Args:
    maxima: under "hyper_synthesis", what `activation_maxima` finds.
  Raises:
    ValueError: the model's leaky ReLUs have another slope than integers can evaluate.
  """
  if model.slope != 2.0**-SLOPE_SHIFT:
    raise ValueError(
      f"slope {model.slope}: files need leaky ReLUs of slope 2^-{SLOPE_SHIFT}; train with that"
    )
  channels = model.latent_channels
  units = np.repeat([MEAN_UNIT, LOG_SCALE_UNIT], channels)
  stack = scales_from_floor(as_stack(params["hyper_synthesis"]), channels)
  reach = _reach(stack, maxima["hyper_synthesis"])
  ones = np.ones(model.hidden_channels)
  layers = integers.calibrate_stack(stack, model.hyper_layers, ones, units, reach)
  return {"hyper_synthesis": layers}


def _reach(stack: Mapping[str, Any], maxima: Sequence[float]) -> list[float]:
  """The largest sizes that the layers' outputs shall have room for.

  At least twice what inputs of one unit give: the integers' weights have to fit as well, also where
  calibration has seen nothing but zeros.
  """
  unit, result = 1.0, []
  for (kernel, _), size in zip(stack_layers(stack), maxima, strict=True):
    least = 2 * unit * float(np.abs(kernel).sum(axis=(0, 1, 2)).max())
    result.append(max(HEADROOM * size, least))
    unit = result[-1] / integers.ACTIVATION_MAX
  return result


def as_stack(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Turns parameters of `HyperSynthesis` into those of the same function as an `EntropyStack`."""
  stack = {}
  for i in range(len(params)):
    kernel, bias = (np.asarray(params[f"conv_{i}"][name]) for name in ("kernel", "bias"))
    if i < len(params) - 1:
      kernel, bias = np.asarray(fold_transposed(jnp.asarray(kernel))), np.tile(bias, 4)
    stack[f"kernel_{i}"] = kernel
    stack[f"bias_{i}"] = np.stack([bias, 0 * bias, 0 * bias])
  return stack


def exact_conditional(
  model: HyperpriorModel, layers: Sequence[IntegerLayer], z_hat: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Reads what the hyper-latents say of the latents.

  Args:
    z_hat: [h, w, N] integers.
  Returns:
    means [4h, 4w, M] int32 in sixteenths, and uint8 indexes of the scale tables.
  """
  return means_and_indexes(integers.evaluate(layers, model.hyper_layers, 0.0, z_hat))
