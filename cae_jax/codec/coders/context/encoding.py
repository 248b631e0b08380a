"""Latents to bytes."""

import functools
from typing import NamedTuple

import numpy as np

from cae_jax.codec.coders import masking
from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.context import finer
from cae_jax.codec.coders.context.passes import Here, Passes
from cae_jax.codec.coders.context.sides import HYPER
from cae_jax.coding import rans, sign_hiding
from cae_jax.models.arrays import Map
from cae_jax.models.context.analysis import HostAnalysis
from cae_jax.models.context.passes import Level
from cae_jax.models.context.synthesis import join_levels, split_levels
from cae_jax.models.exact.conditional import FRACTION_BITS
from cae_jax.models.laplacian import CAUTION, dead_zone, dead_zone_rounding
from cae_jax.models.units import scale_levels

_EVEN = np.ones(1)  # weights of errors, if they count the same everywhere


class _Coding(NamedTuple):
  """What a file is made of: arrays with their tables, all symbols, and y_hat [h, w, M]."""

  parts: list[rans.Part]
  symbols: list[np.ndarray]
  y_hat: np.ndarray


class Encoder:
  """Rounds latents for the best of rate and error, hides signs, and writes what decoders read."""

  def __init__(self, levels: list[Level], analysis: HostAnalysis, passes: Passes):
    """`levels` are the model's; `analysis` and `passes` are of the same weights."""
    self._levels, self._analysis, self._passes = levels, analysis, passes
    self._magnitude_bits = passes.magnitudes.slot_bits()

  def gain(self, rate_level: int) -> np.ndarray:
    """Returns the model's quantisation steps in a grey level: float32 [1, 1, M]."""
    return self._analysis.gain(self._passes.tradeoffs(rate_level))[0]

  def steps(self, rate_level: int) -> np.ndarray:
    """Returns the file's quantisation steps in a grey level: float32 [1, 1, M]."""
    return self.gain(rate_level) * np.float32(finer.fineness(rate_level) / finer.ONE)

  def encode(
    self,
    y: np.ndarray,
    rate_level: int,
    aim: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    in_parallel: Map = map,
  ) -> Coded:
    """Encodes latents at a rate level from 0 to 7168.

    Args:
      y: of `analyse`, or of `refine`.
      aim: of `refine`, what the symbols changed for hidden signs should be close to; y if None.
      masks: [h, w] of `masking.classes`, where errors count how much; the same if None.
      in_parallel: applies a function to parts of a pass.
    """
    coding = self._code(y, rate_level, aim, masks, in_parallel)
    return Coded(rans.encode_parts(coding.parts), coding.symbols, coding.y_hat)

  def count_magnitudes(self, y: np.ndarray, rate_level: int) -> np.ndarray:
    """Counts how often `encode` uses each slot of the tables of magnitudes: [T, L]."""
    tables = self._passes.magnitudes
    counts = np.zeros(tables.frequencies.shape, np.int64)
    for magnitudes, indexes, used in self._code(y, rate_level).parts:
      if used is tables:
        np.add.at(counts, (indexes, np.minimum(magnitudes, tables.regular_lengths[indexes])), 1)
    return counts

  def _code(
    self, y: np.ndarray, rate_level: int, aim=None, masks=None, in_parallel: Map = map
  ) -> _Coding:
    height, width, _ = y.shape
    tradeoff = self._passes.tradeoffs(rate_level)
    levels = functools.partial(split_levels, coarse=self._levels[0].channels)
    # z looks at 4 x 4 positions; beyond the border there is nothing.
    y = np.pad(y, [*((0, -side % HYPER) for side in (height, width)), (0, 0)])
    in_steps, z = (found[0] for found in self._analysis.quantizable(y[None], tradeoff))
    files_steps = np.float32(finer.fineness(rate_level) / finer.ONE)  # of one step
    steps = levels(files_steps * in_steps[:height, :width])
    if aim is not None:
      aims = levels(aim * self.steps(rate_level))
    weights = _EVEN if masks is None else masking.WEIGHTS
    dead_zones, curvatures = self._rounding(tradeoff, weights.astype(np.float32))
    if masks is not None:
      fine = masks.repeat(2, axis=0).repeat(2, axis=1)
      maps = [
        np.broadcast_to(found[..., None], (*found.shape, level.channels))
        for found, level in zip((masks, fine), self._levels)
      ]
    z_hat = np.rint(z).astype(np.int32)
    parts: list[rans.Part] = [(z_hat, channel_indexes(z_hat.shape), self._passes.prior)]
    coded = [z_hat]

    def code_pass(here: Here, indexes: np.ndarray, means: np.ndarray) -> np.ndarray:
      means = means * np.float32(2.0**-FRACTION_BITS)
      targets = here.take(steps) - means
      weight = 0 if masks is None else here.take(maps)
      units = here.units()
      zones = dead_zones[weight, indexes, units]
      symbols = dead_zone_rounding(targets, zones).astype(np.int32)
      groups = sign_hiding.group_numbers(indexes, self._passes.magnitudes)
      if aim is not None:
        targets = here.take(aims) - means
      negative = np.where(symbols, symbols, targets) < 0
      along = np.where(negative, -targets, targets)
      curvature = curvatures[weight, units]
      cost = self._cost_of_magnitudes(along, indexes, curvature)
      coded.append(sign_hiding.hide_signs(symbols, groups, targets, cost))
      parts.extend(sign_hiding.parts(coded[-1], groups, indexes, self._passes.magnitudes))
      return coded[-1]

    shape = height, width
    y_hat = self._passes.run(z_hat, shape, rate_level, code_pass, in_parallel)
    return _Coding(parts, coded, functools.reduce(join_levels, y_hat))

  def _cost_of_magnitudes(self, targets, indexes, curvature) -> sign_hiding.Cost:
    """What it costs to code magnitudes in place of `targets`: bits, and distortion in bits.

    Args:
      targets: [K], negative where a magnitude should have the other sign.
      indexes, curvature: [K], of each symbol.
    """

    def cost(place: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
      index, error = indexes[place], targets[place] - magnitude
      slot = np.minimum(magnitude, self._passes.magnitudes.regular_lengths[index])
      bits = self._magnitude_bits[index, slot] + (magnitude > 0)
      return bits + CAUTION * curvature[place] / 2 * np.square(error)

    return cost

  def _rounding(self, tradeoff: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dead zones [W, L, C + F], for each of the scales of symbols, and curvature [W, C + F].

    Args:
      tradeoff: of the file, [1].
      weights: [W], by which errors count.
    """
    curvature = weights[:, None] * self._analysis.curvature(tradeoff)
    scales = scale_levels().astype(np.float32)[:, None]
    return dead_zone(scales, curvature[:, None]), curvature
