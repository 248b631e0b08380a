"""`ContextModel`'s hyper-synthesis and context passes in integers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cae_jax.models.arrays import Map
from cae_jax.models.context.passes import Level, Pass
from cae_jax.models.context.settings import ContextSettings
from cae_jax.models.exact import integers
from cae_jax.models.exact.conditional import (
  FRACTION_BITS,
  HEADROOM,
  LOG_SCALE_UNIT,
  MEAN_UNIT,
  Networks,
  scales_from_floor,
)
from cae_jax.models.exact.integers import IntegerLayer, PaddedMap, Seeing, View

_BRIDGE_REACH = 1  # of its neighbourhoods
_LOG_BITS = 8  # after the binary point, of the logarithms of magnitudes


def quantize_networks(
  model: ContextSettings, params: Any, maxima: Mapping[str, Sequence[float]]
) -> Networks:
  """Finds the integer networks of trained parameters.

  Args:
    maxima: for each stack the largest size of each layer's outputs, as `activation_maxima` finds.
  """
  reach = {name: [HEADROOM * size for size in sizes] for name, sizes in maxima.items()}
  feature_unit = reach["hyper_synthesis"][-1] / integers.ACTIVATION_MAX
  hyper = model.hyper_layers
  networks = {
    "hyper_synthesis": integers.calibrate_stack(
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
      networks[name] = integers.calibrate_stack(
        scales_from_floor(params[name], channels),
        level.pass_layers(p),
        _input_units(level, feature_unit, units, p.known),
        np.concatenate([units[p.start : p.stop], np.full(channels, LOG_SCALE_UNIT)]),
        reach[name],
      )
    if level is not levels[-1]:
      bridge_unit = reach["bridge"][-1] / integers.ACTIVATION_MAX
      networks["bridge"] = integers.calibrate_stack(
        params["bridge"],
        model.bridge_layers,
        _input_units(level, feature_unit, units, level.channels),
        np.full(model.bridge_layers[-1].features, bridge_unit),
        reach["bridge"],
      )
      feature_unit = bridge_unit
  return networks


def _input_units(level: Level, feature_unit: float, units: np.ndarray, known: int) -> np.ndarray:
  """What an input of 1 is worth, for each channel that a network of the level sees.

  Args:
    feature_unit: of the features.
    units: [channels], of a sixteenth of a step in the values' own unit.
    known: channels that are seen.
  """
  values = units[: _valued(level, known)]
  return np.concatenate(
    [np.full(level.features, feature_unit), values, np.full(known, 2.0**-_LOG_BITS)]
  )


class LevelInputs:
  """What the networks of a level see of it, written as it is coded.

  In one map: the values of its channels, the last one first, the features, the magnitudes of its
  channels. So what each network sees is a run of channels, without copying.
  """

  def __init__(self, level: Level, features: np.ndarray, tradeoff: float, in_parallel: Map = map):
    """Begins with what was coded before the level.

    Args:
      level: that is coded.
      features: [h, w, F] integers.
      tradeoff, in_parallel: of all evaluations, see `integers.evaluate_at`.
    """
    self._level, self._tradeoff, self._in_parallel = level, tradeoff, in_parallel
    self._values = _valued(level, level.channels)
    reach = max(p.cells.spacing for p in level.passes.values()) * (level.kernel_size // 2)
    reach = max(reach, _BRIDGE_REACH)
    height, width, count = features.shape
    self._map = PaddedMap((height, width, self._values + count + level.channels), reach)
    self._map.write(None, slice(self._values, self._values + count), features)

  def write(self, p: Pass, positions: np.ndarray, latents: np.ndarray) -> None:
    """Writes what pass p has coded at positions [2, N]: [N, C] in sixteenths of a step."""
    latents = np.clip(latents, -integers.ACTIVATION_MAX, integers.ACTIVATION_MAX)
    first = self._values + self._level.features
    magnitudes = slice(first + p.start, first + p.stop)
    self._map.write(positions, magnitudes, exact_log_magnitude(latents))
    stop = min(p.stop, self._values)
    if p.start < stop:
      values = slice(self._values - stop, self._values - p.start)
      self._map.write(positions, values, latents[:, : stop - p.start][:, ::-1])

  def evaluate(self, network: Seeing, positions: np.ndarray) -> np.ndarray:
    """Evaluates a network of the level at positions [2, N]; see `integers.evaluate_at`."""
    return integers.evaluate_at(network, self._tradeoff, self._map, positions, self._in_parallel)


def seeing_all(layers: Sequence[IntegerLayer], level: Level) -> Seeing:
  """Returns a network that sees all channels of a level, as the bridge does."""
  first, *others = layers
  first = _as_written(first, level, level.channels)
  return Seeing([View(first, channels=_run(level, level.channels))], others)


def seeing_coded(layers: Sequence[IntegerLayer], level: Level, p: Pass) -> Seeing:
  """Returns the network of a pass, which sees what was coded before.

  Of the pass's own channels that is nothing at many neighbours: there it only looks at the others.
  """
  first, *others = layers
  first = _as_written(first, level, p.known)
  spacing, run = p.cells.spacing, _run(level, p.known)
  coded = p.coded_before(level.kernel_size)
  before = _run(level, p.start)
  inputs = slice(before.start - run.start, before.stop - run.start)
  views = (
    View(first, spacing, coded, channels=run),
    View(first, spacing, ~coded, inputs, before),
  )
  return Seeing([view for view in views if view.distances.size], others)


def _run(level: Level, known: int) -> slice:
  """The channels of `LevelInputs` that a network sees which knows the level's first channels."""
  values = _valued(level, level.channels)
  return slice(values - _valued(level, known), values + level.features + known)


def _valued(level: Level, known: int) -> int:
  """Of how many channels out of the first ones values are seen."""
  return min(known, level.value_channels)


def _as_written(layer: IntegerLayer, level: Level, known: int) -> IntegerLayer:
  """A layer whose inputs (features, values and magnitudes) come as `LevelInputs` has them."""
  features, values = level.features, _valued(level, known)
  parts = np.split(layer.weights, [features, features + values], axis=2)
  weights = np.concatenate([parts[1][:, :, ::-1], parts[0], parts[2]], axis=2)
  return dataclasses.replace(layer, weights=weights)


def exact_log_magnitude(x: np.ndarray) -> np.ndarray:
  """Evaluates `context.log_magnitude` of sixteenths, at most 16 bits, in 1/256."""
  return _LOG_MAGNITUDES.take(np.abs(x))


def _log_magnitudes() -> np.ndarray:
  """float64 [2^15], for each magnitude in sixteenths: the leading bit's place and the rest."""
  magnitude = (1 << FRACTION_BITS) + np.arange(integers.ACTIVATION_MAX + 1)
  exponent = np.frexp(magnitude)[1] - 1
  mantissa = (magnitude << _LOG_BITS >> exponent) - (1 << _LOG_BITS)
  return (((exponent - FRACTION_BITS) << _LOG_BITS) + mantissa).astype(np.float64)


_LOG_MAGNITUDES = _log_magnitudes()
