"""`ContextModel` as a coder: latents to bytes and back, the same symbols on every machine."""

import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.codec.coders import masking, programs
from cae_jax.codec.coders.arrays import (
  channel_indexes,
  largest_activations,
  networks_from_arrays,
  networks_to_arrays,
  pmf_tables,
)
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.refine import refine
from cae_jax.coding import rans, sign_hiding
from cae_jax.coding.tables import CodingTables
from cae_jax.images.preprocessing import to_uint8
from cae_jax.images.tiling import pad_to
from cae_jax.models import build_model, settings
from cae_jax.models.arrays import depth_to_space
from cae_jax.models.context import ContextModel
from cae_jax.models.context.exact import LevelInputs, as_written, quantize_networks
from cae_jax.models.context.look import moved
from cae_jax.models.context.synthesis import BLOCK, HostSynthesis, join_levels, split_levels
from cae_jax.models.entropy import CAUTION, dead_zone, factorized_pmfs, magnitude_pmfs, scale_levels
from cae_jax.models.exact import integers
from cae_jax.models.exact.cells import cells_mask
from cae_jax.models.exact.conditional import FRACTION_BITS, Networks, means_and_indexes
from cae_jax.models.quantization import dead_zone_rounding
from cae_jax.weights import Weights

RATE_LEVELS = 4096  # evenly from one end of the trade-off to the other
# Latents are padded to one of these sides, so that all images share a few compiled programs. The
# symbols do not depend on it.
_SIDES = (16, 32, 48, 64, 96)

# Symbols of the narrowest scales are zero, but for about one in 300,000: these are not coded.
_SILENT_TABLES = 2
# But a network that is sure of a large latent may be wrong, and is more so of the next ones then:
# there a scale of 0.26 steps at least is assumed, and the symbol is coded.
_LARGE_MEAN = 1 << FRACTION_BITS
_LEAST_TABLE = 7
_COUNTED_LEVELS = tuple(RATE_LEVELS * eighth // 8 for eighth in (1, 3, 5, 7))
_ASSUMED_COUNT = 1000.0

_EVEN = np.ones(1)  # weights of errors, if they count the same everywhere

_HYPER = 4  # latent positions across and down that a position of z stands for


class _Here(NamedTuple):
  """Where symbols of a pass are, as what they are taken from; `units` are the channels of each."""

  level: int
  channels: slice
  positions: np.ndarray
  coded: np.ndarray
  units: np.ndarray

  def take(self, levels: Sequence[np.ndarray]) -> np.ndarray:
    """Takes the symbols' values, [K], of arrays [h, w, C] of each level."""
    rows, columns = self.positions
    return levels[self.level][rows, columns, self.channels][self.coded]


# where, tables and means (in sixteenths) of the symbols of a pass, [K] -> symbols [K]
_CodePass = Callable[[_Here, np.ndarray, np.ndarray], np.ndarray]


class _Coding(NamedTuple):
  """What a file is made of: arrays with their tables, all symbols, and y_hat [h, w, M]."""

  parts: list[rans.Part]
  symbols: list[np.ndarray]
  y_hat: np.ndarray


class Coder:
  """Analysis, coding and synthesis of one image (or tile); see `LatentCoder`."""

  stride = BLOCK
  rate_levels = RATE_LEVELS

  def __init__(self, weights: Weights, dtype: Any = jnp.float32):
    """`dtype` is of the transforms; what is coded and decoded does not depend on it."""
    model = build_model(weights.config, dtype)
    assert isinstance(model, ContextModel)
    self.model = model
    self.channels = model.latent_channels
    self.multiple = model.multiple
    self.margin = model.margin
    coarse, *fine = model.levels
    self.coarse_parts = 1 + len(coarse.passes) if fine else 0
    self._arrays = weights.params
    self._small_basis = _small_basis(weights.params["synthesis"]["basis"])
    self._networks = _as_written(model, networks_from_arrays(weights.table("networks")))
    self._magnitude_tables = CodingTables.from_arrays(weights.table("sizes"))
    self._magnitude_bits = self._magnitude_tables.slot_bits()
    self._prior = CodingTables.from_arrays(weights.table("prior"))

  @functools.cached_property
  def _params(self) -> Any:
    """What compiled programs take."""
    return programs.on_device(self._arrays)

  @functools.cached_property
  def _host_synthesis(self) -> HostSynthesis:
    return HostSynthesis(self._arrays, self.model.levels[0].channels, self.model.blocks)

  def analyse(self, image: np.ndarray) -> np.ndarray:
    """Analyses uint8 [H, W, 3]: y [h, w, M] float32 in grey levels, h = ceil(H / 16)."""
    height, width = (-(-side // BLOCK) for side in image.shape[:2])
    x = pad_to(image, BLOCK * _padded_side(height), BLOCK * _padded_side(width))
    return np.asarray(programs.analyse(self.model, self._params, x))[:height, :width]

  def refine(
    self, image: np.ndarray, y: np.ndarray, rate_level: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Makes latents of `analyse` better for a rate level, and finds their aims; see `refine`."""
    tradeoff = self._tradeoffs(rate_level)
    gain = np.asarray(_gain(self.model, self._params, tradeoff))
    found = refine(self.model, self._params, image, _padded(y * gain), tradeoff)
    refined, aim = (latents[: y.shape[0], : y.shape[1]] / gain for latents in found)
    return refined, aim

  def encode(
    self,
    y: np.ndarray,
    rate_level: int,
    aim: np.ndarray | None = None,
    masks: np.ndarray | None = None,
  ) -> Coded:
    """Encodes latents at a rate level from 0 to 4096.

    Args:
      y: of `analyse`, or of `refine`.
      aim: of `refine`, what the symbols changed for hidden signs should be close to; y if None.
      masks: [h, w] of `masking.classes`, where errors count how much; the same if None.
    """
    coding = self._code(y, rate_level, aim, masks)
    return Coded(rans.encode_parts(coding.parts), coding.symbols, coding.y_hat)

  def count_magnitudes(self, y: np.ndarray, rate_level: int) -> np.ndarray:
    """Counts how often `encode` uses each slot of the tables of magnitudes: [T, L]."""
    tables = self._magnitude_tables
    counts = np.zeros(tables.frequencies.shape, np.int64)
    for magnitudes, indexes, used in self._code(y, rate_level).parts:
      if used is tables:
        np.add.at(counts, (indexes, np.minimum(magnitudes, tables.regular_lengths[indexes])), 1)
    return counts

  def _code(self, y: np.ndarray, rate_level: int, aim=None, masks=None) -> _Coding:
    height, width, _ = y.shape
    tradeoff = self._tradeoffs(rate_level)
    levels = functools.partial(split_levels, coarse=self.model.levels[0].channels)
    steps, z = _quantizable(self.model, self._params, _padded(y), tradeoff)
    steps = levels(np.asarray(steps)[:height, :width])
    if aim is not None:
      aims = levels(aim * np.asarray(_gain(self.model, self._params, tradeoff)))
    weights = _EVEN if masks is None else masking.WEIGHTS
    rounding = _rounding(self.model, self._params, tradeoff, weights.astype(np.float32))
    dead_zones, curvatures = map(np.asarray, rounding)
    if masks is not None:
      fine = masks.repeat(2, axis=0).repeat(2, axis=1)
      maps = [
        np.broadcast_to(found[..., None], (*found.shape, level.channels))
        for found, level in zip((masks, fine), self.model.levels)
      ]
    z_hat = np.rint(np.asarray(z)[: _hyper_side(height), : _hyper_side(width)]).astype(np.int32)
    parts: list[rans.Part] = [(z_hat, channel_indexes(z_hat.shape), self._prior)]
    coded = [z_hat]

    def code_pass(here: _Here, indexes: np.ndarray, means: np.ndarray) -> np.ndarray:
      means = means * np.float32(2.0**-FRACTION_BITS)
      targets = here.take(steps) - means
      weight = 0 if masks is None else here.take(maps)
      zones = dead_zones[weight, indexes, here.units]
      symbols = dead_zone_rounding(targets, zones).astype(np.int32)
      groups = sign_hiding.group_numbers(indexes, self._magnitude_tables)
      if aim is not None:
        targets = here.take(aims) - means
      negative = np.where(symbols, symbols, targets) < 0
      along = np.where(negative, -targets, targets)
      curvature = curvatures[weight, here.units]
      cost = self._cost_of_magnitudes(along, indexes, curvature)
      coded.append(sign_hiding.hide_signs(symbols, groups, targets, cost))
      parts.extend(sign_hiding.parts(coded[-1], groups, indexes, self._magnitude_tables))
      return coded[-1]

    y_hat = functools.reduce(
      join_levels, self._run_passes(z_hat, (height, width), rate_level, code_pass)
    )
    return _Coding(parts, coded, y_hat)

  def _cost_of_magnitudes(self, targets, indexes, curvature) -> sign_hiding.Cost:
    """What it costs to code magnitudes in place of `targets`: bits, and distortion in bits.

    Args:
      targets: [K], negative where a magnitude should have the other sign.
      indexes, curvature: [K], of each symbol.
    """

    def cost(place: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
      index, error = indexes[place], targets[place] - magnitude
      slot = np.minimum(magnitude, self._magnitude_tables.regular_lengths[index])
      bits = self._magnitude_bits[index, slot] + (magnitude > 0)
      return bits + CAUTION * curvature[place] / 2 * np.square(error)

    return cost

  def decode(
    self, section: bytes, shape: tuple[int, int], rate_level: int
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes what `encode` has written: symbols and y_hat, for h x w latent positions.

    Raises:
      BitstreamError: the section is damaged.
    """
    decoder = rans.Decoder(section)
    symbols, levels = self._decode(decoder, shape, rate_level, len(self.model.levels))
    decoder.finish()
    return symbols, functools.reduce(join_levels, levels)

  def decode_coarse(
    self, section: bytes, shape: tuple[int, int], rate_level: int
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes the coarse latents only: symbols, and y_hat [h, w, C]; raises as `decode`."""
    symbols, levels = self._decode(rans.Decoder(section), shape, rate_level, 1)
    return symbols, levels[0]

  def _decode(
    self, decoder: rans.Decoder, shape: tuple[int, int], rate_level: int, depth: int
  ) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Symbols, and y_hat of the first `depth` levels."""
    z_shape = (*map(_hyper_side, shape), self.model.hyper_channels)
    z_hat = decoder.decode(channel_indexes(z_shape), self._prior)
    symbols = [z_hat]

    def code_pass(here: _Here, indexes: np.ndarray, means: np.ndarray) -> np.ndarray:
      del here, means
      symbols.append(sign_hiding.decode(decoder, indexes, self._magnitude_tables))
      return symbols[-1]

    levels = self._run_passes(z_hat, shape, rate_level, code_pass)
    return symbols, list(itertools.islice(levels, depth))

  def preview(self, y_hat: np.ndarray, rate_level: int) -> np.ndarray:
    """Makes a picture of an eighth of the size of coarse latents: uint8 [2h, 2w, 3].

    The means of 8x8 pixels of the linear path of the synthesis.
    """
    step = self._host_synthesis.step(self._tradeoffs(rate_level))[0, 0, 0]
    x = (y_hat * step[: y_hat.shape[-1]]) @ self._small_basis[: y_hat.shape[-1]]
    return np.clip(np.rint(depth_to_space(x, 2) + 255 / 2), 0, 255).astype(np.uint8)

  def looking(self, difference: Mapping[str, Any], strength: float) -> "Coder":
    """Returns this coder with a share of a difference added to its parameters.

    They keep their shapes, so it runs the same compiled programs.
    """
    other = copy.copy(self)
    other._arrays = moved(self._arrays, difference, np.float32(strength))
    for made in ("_params", "_host_synthesis"):
      vars(other).pop(made, None)
    return other

  def synthesise(self, y_hat: np.ndarray, rate_level: int) -> np.ndarray:
    """Synthesises y_hat [h, w, M] in steps: uint8 [16h, 16w, 3]."""
    shape, tradeoffs = y_hat.shape[:2], self._tradeoffs(rate_level)
    on_host = programs.on_host(self.model)
    # Beyond the border is more of the same: zeros, a grey, would show at its edges.
    padded = [_padded_side(side) for side in shape]
    if on_host:  # no program is shared: what is seen is enough
      padded = [min(side + self.margin, most) for side, most in zip(shape, padded)]
    y_hat = pad_to(y_hat, *padded)
    if on_host:
      x = to_uint8(255 * self._host_synthesis(y_hat[None], tradeoffs)[0])
    else:
      x = np.asarray(programs.synthesise(self.model, self._params, y_hat, tradeoffs))
    height, width = (BLOCK * side for side in shape)
    return x[:height, :width]

  def _run_passes(self, z_hat, shape, rate_level, code_pass: _CodePass) -> Iterator[np.ndarray]:
    """All passes over h x w positions, yielding y_hat of each level in steps.

    `code_pass` codes or decodes the symbols of each.
    """
    tradeoff, levels = self._tradeoff(rate_level), self.model.levels
    features = integers.evaluate(
      self._networks["hyper_synthesis"], self.model.hyper_layers, tradeoff, z_hat
    )
    for depth, level in enumerate(levels):
      inputs = LevelInputs(level, features)
      y_hat = self._run_level(depth, inputs, shape, tradeoff, code_pass)
      yield y_hat * np.float32(2.0**-FRACTION_BITS)
      if depth + 1 < len(levels):
        positions = np.indices(shape).reshape(2, -1)
        features = inputs.evaluate(self._networks["bridge"], tradeoff, level.channels, positions)
        features = depth_to_space(features.reshape(*shape, -1), 2)
        shape = features.shape[:2]

  def _run_level(self, depth, inputs: LevelInputs, shape, tradeoff, code_pass) -> np.ndarray:
    """The passes of one level: int32 [h, w, C] in sixteenths of a step."""
    level, (height, width) = self.model.levels[depth], shape
    y_hat = np.zeros((height, width, level.channels), np.int32)
    for number, p in level.passes.items():
      positions = np.stack(np.nonzero(cells_mask(height, width, p.cells)))
      network = self._networks[f"context_{number}"]
      outputs = inputs.evaluate(network, tradeoff, p.known, positions, p.cells.spacing)
      latents, indexes = means_and_indexes(outputs)
      large = np.abs(latents) >= _LARGE_MEAN
      indexes[large] = np.maximum(indexes[large], _LEAST_TABLE)
      coded = indexes >= _SILENT_TABLES
      units = np.broadcast_to(level.first + np.arange(p.start, p.stop), indexes.shape)[coded]
      here = _Here(depth, slice(p.start, p.stop), positions, coded, units)
      latents[coded] += code_pass(here, indexes[coded], latents[coded]) << FRACTION_BITS
      inputs.write(p, positions, latents)
      y_hat[positions[0], positions[1], here.channels] = latents
    return y_hat

  def _tradeoff(self, rate_level: int) -> float:
    low, high = self.model.tradeoff_range
    return low + (high - low) * rate_level / RATE_LEVELS  # no rounding: these are short binaries

  def _tradeoffs(self, rate_level: int) -> np.ndarray:
    return np.full(1, self._tradeoff(rate_level), np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _quantizable(model: ContextModel, params: Any, y: jax.Array, tradeoff: jax.Array):
  pair = programs.apply(model, params, "quantizable", y[None], tradeoff)
  return pair[0][0], pair[1][0]


@functools.partial(jax.jit, static_argnums=0)
def _gain(model: ContextModel, params: Any, tradeoff: jax.Array) -> jax.Array:
  return programs.apply(model, params, "gain", tradeoff)[0]


def _small_basis(basis: np.ndarray) -> np.ndarray:
  """The synthesis' block transform [768, M] as one to 2x2 means of 8x8 pixels: [M, 12]."""
  pixels = np.asarray(basis, np.float32).reshape(2, BLOCK // 2, 2, BLOCK // 2, 3, -1)
  return pixels.mean((1, 3)).reshape(12, -1).T / np.sqrt(np.float32(len(basis)))


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


def calibrate(model: ContextModel, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns integer networks and coding tables of trained parameters, as weights files keep them.

  Sizes of symbols are not quite distributed as training assumes: they are counted.

  Args:
    images: uint8 [H, W, 3], for the sizes of activations and the magnitudes of symbols; sides
      multiples of `model.multiple`.
  """
  images = list(images)
  low, high = model.tradeoff_range
  maxima = largest_activations(model, params, images, (low, (low + high) / 2, high))
  tables = {
    "networks": networks_to_arrays(quantize_networks(model, params, maxima)),
    "sizes": _magnitude_tables(magnitude_pmfs()),
    "prior": pmf_tables(factorized_pmfs(params["prior"])),
  }
  config = {"model": "context", **settings(model)}
  coder = Coder(Weights("", config, params, tables, {}))
  counts = np.sum([_count_magnitudes(coder, image) for image in images], axis=0)
  assumed = zip(magnitude_pmfs(), counts, strict=True)
  return tables | {"sizes": _magnitude_tables(counted_pmf(pmf, row) for pmf, row in assumed)}


def counted_pmf(assumed: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Returns a distribution by its counts, as if the assumed one had been seen 1,000 times before.

  Args:
    assumed: [L], less than one in all.
    counts: [L or more]; those of other symbols are in the (L + 1)-th.
  """
  size = len(assumed)
  return (_ASSUMED_COUNT * assumed + counts[:size]) / (_ASSUMED_COUNT + counts.sum())


def _count_magnitudes(coder: Coder, image: np.ndarray) -> np.ndarray:
  y = coder.analyse(image)
  return np.sum([coder.count_magnitudes(y, level) for level in _COUNTED_LEVELS], axis=0)


def _magnitude_tables(pmfs: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
  return pmf_tables([(pmf, 0) for pmf in pmfs])


def _as_written(model: ContextModel, networks: Networks) -> Networks:
  """Networks that take their inputs as `LevelInputs` has them."""
  coarse = model.levels[0]
  known = {"bridge": (coarse, coarse.channels)} | {
    f"context_{number}": (level, p.known)
    for level in model.levels
    for number, p in level.passes.items()
  }
  return {
    name: as_written(layers, *known[name]) if name in known else layers
    for name, layers in networks.items()
  }


def _padded_side(side: int) -> int:
  """The side that latents are padded to."""
  return next((s for s in _SIDES if s >= side), -(-side // _SIDES[0]) * _SIDES[0])


def _hyper_side(side: int) -> int:
  """The side of z for a side of y."""
  return -(-side // _HYPER)


def _padded(y: np.ndarray) -> np.ndarray:
  """[h, w, M] -> `_padded_side`s, zeros added below and to the right."""
  return np.pad(y, [*((0, _padded_side(side) - side) for side in y.shape[:2]), (0, 0)])
