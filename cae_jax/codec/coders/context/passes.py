"""The passes over one image (or tile): which table codes each symbol, and what it is added to.

Encoder and decoder run the same ones; they differ in where the symbols come from. Everything is
NumPy, and exact: see `models.exact.integers`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cae_jax.codec.coders.arrays import networks_from_arrays
from cae_jax.codec.coders.context import finer
from cae_jax.codec.info import RATE_LEVELS
from cae_jax.coding.tables import CodingTables
from cae_jax.models.arrays import Map, depth_to_space
from cae_jax.models.context.exact import LevelInputs, seeing_all, seeing_coded
from cae_jax.models.context.settings import ContextSettings
from cae_jax.models.exact import integers
from cae_jax.models.exact.cells import cells_mask
from cae_jax.models.exact.conditional import FRACTION_BITS, means_and_indexes
from cae_jax.models.exact.products import check_products
from cae_jax.weights import Weights

# Symbols of the narrowest scales are zero, but for about one in 300,000: these are not coded.
_SILENT_TABLES = 2
# But a network that is sure of a large latent may be wrong, and is more so of the next ones then:
# there a scale of 0.26 steps at least is assumed, and the symbol is coded.
_LARGE_MEAN = 1 << FRACTION_BITS
_LEAST_TABLE = 7


class Here(NamedTuple):
  """Where symbols of a pass are.

  Attributes:
    level: 0 for the coarse one.
    channels: of the level.
    positions: [2, N].
    coded: bool [N, C], whether there is a symbol.
    first: the first of the channels among those of all levels.
  """

  level: int
  channels: slice
  positions: np.ndarray
  coded: np.ndarray
  first: int

  def units(self) -> np.ndarray:
    """Returns the symbols' channels, [K], among those of all levels."""
    count = self.channels.stop - self.channels.start
    return np.broadcast_to(self.first + np.arange(count), self.coded.shape)[self.coded]

  def take(self, levels: Sequence[np.ndarray]) -> np.ndarray:
    """Takes the symbols' values, [K], of arrays [h, w, C] of each level."""
    rows, columns = self.positions
    return levels[self.level][rows, columns, self.channels][self.coded]


# where, tables and means (in sixteenths) of the symbols of a pass, [K] -> symbols [K]
CodePass = Callable[[Here, np.ndarray, np.ndarray], np.ndarray]


class Passes:
  """The integer networks of a model, evaluated pass by pass, and the tables that they point to.

  Attributes:
    prior: tables of z, one for each channel.
    magnitudes: tables of symbols' magnitudes, by their scales.
  """

  def __init__(self, settings: ContextSettings, weights: Weights):
    check_products()
    self._levels = settings.levels
    self._hyper_layers = settings.hyper_layers
    self._tradeoff_range = settings.tradeoff_range
    networks = networks_from_arrays(weights.table("networks"))
    self._hyper_synthesis = networks["hyper_synthesis"]
    if "bridge" in networks:
      self._bridge = seeing_all(networks["bridge"], settings.levels[0])
    self._passes = {
      number: seeing_coded(networks[f"context_{number}"], level, p)
      for level in settings.levels
      for number, p in level.passes.items()
    }
    self.magnitudes = CodingTables.from_arrays(weights.table("sizes"))
    self.prior = CodingTables.from_arrays(weights.table("prior"))

  def tradeoff(self, rate_level: int) -> float:
    """Returns the trade-off of a rate level."""
    low, high = self._tradeoff_range
    rate_level = min(rate_level, RATE_LEVELS)
    return low + (high - low) * rate_level / RATE_LEVELS  # no rounding: these are short binaries

  def tradeoffs(self, rate_level: int) -> np.ndarray:
    """Returns the trade-off of a rate level as networks take it, float32 [1]."""
    return np.full(1, self.tradeoff(rate_level), np.float32)

  def run(
    self,
    z_hat: np.ndarray,
    shape: tuple[int, int],
    rate_level: int,
    code_pass: CodePass,
    in_parallel: Map = map,
  ) -> Iterator[np.ndarray]:
    """Runs all passes over h x w latent positions.

    Args:
      z_hat: hyper-latents [ceil(h / 4), ceil(w / 4), C], integers.
      shape: h, w.
      rate_level: of the file.
      code_pass: codes or decodes the symbols of a pass.
      in_parallel: applies a function to parts of a pass.
    Yields:
      y_hat of each level in the model's steps, [h, w, C] and [2h, 2w, F] float32.
    """
    tradeoff, fineness = self.tradeoff(rate_level), finer.fineness(rate_level)
    features = integers.evaluate(self._hyper_synthesis, self._hyper_layers, tradeoff, z_hat)
    for depth, level in enumerate(self._levels):
      inputs = LevelInputs(level, features, tradeoff, in_parallel)
      y_hat = self._run_level(depth, inputs, shape, fineness, code_pass)
      yield y_hat * np.float32(2.0 ** (finer.FINENESS_BITS - FRACTION_BITS) / fineness)
      if level is not self._levels[-1]:
        features = inputs.evaluate(self._bridge, np.indices(shape).reshape(2, -1))
        features = depth_to_space(features.reshape(*shape, -1), 2)
        shape = features.shape[:2]

  def _run_level(self, depth, inputs: LevelInputs, shape, fineness, code_pass) -> np.ndarray:
    """The passes of one level: int32 [h, w, C] in sixteenths of a step of the file's."""
    level, (height, width) = self._levels[depth], shape
    y_hat = np.zeros((height, width, level.channels), np.int32)
    wider, least_table = finer.wider(fineness), finer.wider_table(_LEAST_TABLE, fineness)
    for number, p in level.passes.items():
      positions = np.stack(np.nonzero(cells_mask(height, width, p.cells)))
      outputs = inputs.evaluate(self._passes[number], positions)
      latents, indexes = means_and_indexes(outputs, wider)
      large = np.abs(latents) >= _LARGE_MEAN
      indexes[large] = np.maximum(indexes[large], least_table)
      latents = finer.in_files_steps(latents, fineness)
      coded = indexes >= _SILENT_TABLES
      here = Here(depth, slice(p.start, p.stop), positions, coded, level.first + p.start)
      latents[coded] += code_pass(here, indexes[coded], latents[coded]) << FRACTION_BITS
      inputs.write(p, positions, finer.in_models_steps(latents, fineness))
      y_hat[positions[0], positions[1], here.channels] = latents
    return y_hat
