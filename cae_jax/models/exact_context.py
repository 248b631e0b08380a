"""`ContextModel`'s hyper-synthesis and context passes in integers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models import exact
from cae_jax.models.context import ContextModel
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
from cae_jax.models.passes import Level, cells_mask

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
  levels = model.levels
  for level in levels:
    spread = np.asarray(params["spread"], np.float64)
    units = MEAN_UNIT / spread[level.first : level.first + level.channels]
    for number, p in level.passes.items():
      name, channels = f"context_{number}", p.stop - p.start
      networks[name] = exact.calibrate_stack(
        scales_from_floor(params[name], channels),
        level.pass_layers(p),
        _input_units(level, feature_unit, units, p.known),
        np.concatenate([units[p.start : p.stop], np.full(channels, LOG_SCALE_UNIT)]),
        reach[name],
      )
    if level is not levels[-1]:
      bridge_unit = reach["bridge"][-1] / exact.ACTIVATION_MAX
      networks["bridge"] = exact.calibrate_stack(
        params["bridge"],
        model.bridge_layers,
        _input_units(level, feature_unit, units, level.channels),
        np.full(model.bridge_layers[-1].features, bridge_unit),
        reach["bridge"],
      )
      feature_unit = bridge_unit
  return networks


def _input_units(level: Level, feature_unit: float, units: np.ndarray, known: int) -> np.ndarray:
  """What an input of 1 is worth, for each channel of `level_inputs`.

  Args:
    feature_unit: of the features.
    units: [channels], of a sixteenth of a step in the values' own unit.
    known: channels that are seen.
  """
  values = units[: min(known, level.value_channels)]
  return np.concatenate(
    [np.full(level.features, feature_unit), values, np.full(known, 2.0**-_LOG_BITS)]
  )


def level_inputs(level: Level, features: jax.Array, known: jax.Array) -> jax.Array:
  """What the networks of a level see.

  Args:
    features: [h, w, F] int32.
    known: [h, w, K] int32, what was decoded, in sixteenths of a step; zero elsewhere.
  """
  values = known[..., : level.value_channels]
  return jnp.concatenate([features, values, exact_log_size(known)], axis=-1)


def context_pass(
  level: Level,
  number: int,
  layers: Sequence[IntegerLayer],
  bias: Sequence[Any],
  features: jax.Array,
  known: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """What a pass says of its channels, at its own positions.

  Args:
    level: whose pass `number` is.
    features, known: as of `level_inputs`; h and w multiples of the stride s of the pass's cells.
  Returns:
    means [n, h / s, w / s, C] int32 in sixteenths of a step, and indexes, uint8 of that shape, of
    the scale tables, for each of the n offsets of the cells.
  """
  p = level.passes[number]
  x = level_inputs(level, features, known)
  return means_and_indexes(exact.evaluate(layers, level.pass_layers(p), bias, x, p.cells))


def exact_log_size(x: jax.Array) -> jax.Array:
  """`context.log_size` of int32 sixteenths, in 1/256: the leading bit's place and the rest."""
  size = (1 << FRACTION_BITS) + jnp.minimum(jnp.abs(x), exact.ACTIVATION_MAX)
  exponent = 31 - jax.lax.clz(size)
  mantissa = (size << _LOG_BITS >> exponent) - (1 << _LOG_BITS)
  return ((exponent - FRACTION_BITS) << _LOG_BITS) + mantissa


def at_positions(x: np.ndarray, cells: Cells, height: int, width: int) -> np.ndarray:
  """[n, h / stride, w / stride, C] -> [N, C], the positions in height x width, in C order."""
  _, rows, columns, channels = x.shape
  stride = cells.stride
  full = np.empty((stride * rows, stride * columns, channels), x.dtype)
  for part, (row, column) in zip(x, cells.offsets, strict=True):
    full[row::stride, column::stride] = part
  return full[:height, :width][cells_mask(height, width, cells)]
