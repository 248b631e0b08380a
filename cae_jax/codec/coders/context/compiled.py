"""What of the coder JAX compiles: the transforms, so all of encoding, and refinement."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.codec.coders import masking, programs
from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.context.passes import Here, Passes
from cae_jax.codec.coders.context.refine import refine
from cae_jax.codec.coders.context.sides import hyper_side, padded, padded_side
from cae_jax.coding import rans, sign_hiding
from cae_jax.images.tiling import pad_to
from cae_jax.models import build_model
from cae_jax.models.arrays import Map
from cae_jax.models.context import ContextModel
from cae_jax.models.context.synthesis import BLOCK, join_levels, split_levels
from cae_jax.models.entropy import CAUTION, dead_zone
from cae_jax.models.exact.conditional import FRACTION_BITS
from cae_jax.models.quantization import dead_zone_rounding
from cae_jax.models.units import scale_levels

_EVEN = np.ones(1)  # weights of errors, if they count the same everywhere


class _Coding(NamedTuple):
  """What a file is made of: arrays with their tables, all symbols, and y_hat [h, w, M]."""

  parts: list[rans.Part]
  symbols: list[np.ndarray]
  y_hat: np.ndarray


class Compiled:
  """The half of `Coder` that needs JAX.

  Attributes:
    model: the network.
    params: its parameters, on the device.
  """

  def __init__(
    self, config: Mapping[str, Any], params: Mapping[str, Any], passes: Passes, dtype: Any = None
  ):
    """`config` and `params` are of weights, `passes` of the same; `dtype` is of the transforms."""
    model = build_model(config, dtype)
    assert isinstance(model, ContextModel)
    self.model = model
    self.params = programs.on_device(params)
    self._passes = passes
    self._magnitude_bits = passes.magnitudes.slot_bits()

  def analyse(self, image: np.ndarray) -> np.ndarray:
    """Analyses uint8 [H, W, 3]: y [h, w, M] float32 in grey levels, h = ceil(H / 16)."""
    height, width = (-(-side // BLOCK) for side in image.shape[:2])
    x = pad_to(image, BLOCK * padded_side(height), BLOCK * padded_side(width))
    return np.asarray(programs.analyse(self.model, self.params, x))[:height, :width]

  def gain(self, rate_level: int) -> np.ndarray:
    """Returns the encoder's quantisation steps in a grey level: float32 [1, 1, M]."""
    return np.asarray(_gain(self.model, self.params, self._passes.tradeoffs(rate_level)))

  def refine(
    self, image: np.ndarray, y: np.ndarray, rate_level: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Makes latents of `analyse` better for a rate level, and finds their aims; see `refine`."""
    tradeoff = self._passes.tradeoffs(rate_level)
    gain = self.gain(rate_level)
    found = refine(self.model, self.params, image, padded(y * gain), tradeoff)
    refined, aim = (latents[: y.shape[0], : y.shape[1]] / gain for latents in found)
    return refined, aim

  def encode(
    self,
    y: np.ndarray,
    rate_level: int,
    aim: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    in_parallel: Map = map,
  ) -> Coded:
    """Encodes latents at a rate level from 0 to 4096.

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
    levels = functools.partial(split_levels, coarse=self.model.levels[0].channels)
    steps, z = _quantizable(self.model, self.params, padded(y), tradeoff)
    steps = levels(np.asarray(steps)[:height, :width])
    if aim is not None:
      aims = levels(aim * self.gain(rate_level))
    weights = _EVEN if masks is None else masking.WEIGHTS
    found = _rounding(self.model, self.params, tradeoff, weights.astype(np.float32))
    dead_zones, curvatures = map(np.asarray, found)
    if masks is not None:
      fine = masks.repeat(2, axis=0).repeat(2, axis=1)
      maps = [
        np.broadcast_to(found[..., None], (*found.shape, level.channels))
        for found, level in zip((masks, fine), self.model.levels)
      ]
    z_hat = np.rint(np.asarray(z)[: hyper_side(height), : hyper_side(width)]).astype(np.int32)
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

  def synthesise(self, y_hat: np.ndarray, rate_level: int) -> np.ndarray:
    """Synthesises y_hat [h, w, M] in steps: uint8 [16h, 16w, 3]."""
    height, width = y_hat.shape[:2]
    # Beyond the border is more of the same: zeros, a grey, would show at its edges.
    y_hat = pad_to(y_hat, padded_side(height), padded_side(width))
    tradeoff = self._passes.tradeoffs(rate_level)
    x = np.asarray(programs.synthesise(self.model, self.params, y_hat, tradeoff))
    return x[: BLOCK * height, : BLOCK * width]


@functools.partial(jax.jit, static_argnums=0)
def _quantizable(model: ContextModel, params: Any, y: jax.Array, tradeoff: jax.Array):
  pair = programs.apply(model, params, "quantizable", y[None], tradeoff)
  return pair[0][0], pair[1][0]


@functools.partial(jax.jit, static_argnums=0)
def _gain(model: ContextModel, params: Any, tradeoff: jax.Array) -> jax.Array:
  return programs.apply(model, params, "gain", tradeoff)[0]


@functools.partial(jax.jit, static_argnums=0)
def _rounding(model: ContextModel, params: Any, tradeoff: jax.Array, weights: jax.Array):
  """Dead zones [W, L, C + F], for each of the scales of symbols, and curvature [W, C + F].

  Args:
    model, params, tradeoff: of the file.
    weights: [W], by which errors count.
  """
  curvature = weights[:, None] * programs.apply(model, params, "curvature", tradeoff, 2)
  scales = jnp.asarray(scale_levels(), jnp.float32)[:, None]
  return dead_zone(scales, curvature[:, None]), curvature
