"""`ContextModel`'s hyper-synthesis and context passes in integers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models import exact
from cae_jax.models.context import PHASES, ContextModel, Pass, phase_mask
from cae_jax.models.entropy_stack import Cells
from cae_jax.models.exact import IntegerLayer
from cae_jax.models.exact_conditional import (
  FRACTION_BITS,
  HEADROOM,
  LOG_SCALE_UNIT,
  MEAN_UNIT,
  Networks,
  means_and_indexes,
  scales_from_floor,
)

_LOG_BITS = 8  # behind the point, of the logarithms of sizes


def quantize_networks(
  model: ContextModel, params: Any, maxima: Mapping[str, Sequence[float]]
) -> Networks:
  """Integer networks of trained parameters.

  Args:
    maxima: for each stack the largest size of each layer's outputs, as `activation_maxima` finds.
  """
  reach = {name: [HEADROOM * size for size in sizes] for name, sizes in maxima.items()}
  feature_unit = reach["hyper_synthesis"][-1] / exact.ACTIVATION_MAX
  hyper = model.hyper_layers
  networks = {
    "hyper_synthesis": exact.calibrate_stack(
      params["hyper_synthesis"],
      hyper,
      np.ones(model.hyper_channels),
      np.full(hyper[-1].features, feature_unit),
      reach["hyper_synthesis"],
    )
  }
  step_units = MEAN_UNIT / np.asarray(params["spread"], np.float64)
  for i, p in enumerate(model.passes):
    name = f"context_{i}"
    log_units = np.full(p.known, 2.0**-_LOG_BITS)
    value_units = step_units[: min(p.known, model.value_channels)]
    inputs = [np.full(model.hyper_features, feature_unit), value_units, log_units]
    channels = p.stop - p.start
    outputs = [step_units[p.start : p.stop], np.full(channels, LOG_SCALE_UNIT)]
    networks[name] = exact.calibrate_stack(
      scales_from_floor(params[name], channels),
      model.pass_layers(p),
      np.concatenate(inputs),
      np.concatenate(outputs),
      reach[name],
    )
  return networks


def context_pass(
  model: ContextModel,
  number: int,
  layers: Sequence[IntegerLayer],
  bias: Sequence[Any],
  features: jax.Array,
  known: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """What a pass says of its channels, at its own positions.

  Args:
    features: [h, w, F] int32; h and w even.
    known: [h, w, K] int32, what earlier passes decoded, in sixteenths of a step; zero elsewhere.
  Returns:
    means [n, h/2, w/2, C] int32 in sixteenths of a step, and indexes, uint8 of that shape, of the
    scale tables, for each of the n offsets in `PHASES` of the pass.
  """
  p = model.passes[number]
  values = known[..., : model.value_channels]
  x = jnp.concatenate([features, values, exact_log_size(known)], axis=-1)
  cells = Cells(2, PHASES[p.steps][p.step])
  return means_and_indexes(exact.evaluate(layers, model.pass_layers(p), bias, x, cells))


def exact_log_size(x: jax.Array) -> jax.Array:
  """`context.log_size` of int32 sixteenths, in 1/256: the leading bit's place and the rest."""
  size = (1 << FRACTION_BITS) + jnp.minimum(jnp.abs(x), exact.ACTIVATION_MAX)
  exponent = 31 - jax.lax.clz(size)
  mantissa = (size << _LOG_BITS >> exponent) - (1 << _LOG_BITS)
  return ((exponent - FRACTION_BITS) << _LOG_BITS) + mantissa


def at_positions(cells: np.ndarray, p: Pass, height: int, width: int) -> np.ndarray:
  """[n, h/2, w/2, C] by offset -> [N, C], the pass's positions in height x width, in C order."""
  _, rows, columns, channels = cells.shape
  full = np.empty((2 * rows, 2 * columns, channels), cells.dtype)
  for cell, (row, column) in zip(cells, PHASES[p.steps][p.step], strict=True):
    full[row::2, column::2] = cell
  return full[:height, :width][phase_mask(height, width, p.step, p.steps)[..., 0]]
