"""A tile of an image, as integers, coded by the networks of the lossless model."""

from typing import Any

import numpy as np

from cae_jax.codec.lossless import adjustment, edges
from cae_jax.codec.lossless import side as side_information
from cae_jax.codec.lossless.side import flat, flat_tables
from cae_jax.coding import rans
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.tables import CodingTables, tables_from_frequencies, tables_from_pmfs
from cae_jax.models.arrays import Map
from cae_jax.models.exact.products import check_products
from cae_jax.models.lossless import distribution, linear, network, passes
from cae_jax.models.lossless.linear import Coefficients
from cae_jax.models.lossless.passes import Expected, Place, Precision
from cae_jax.models.lossless.phases import PARITIES, level_shapes
from cae_jax.weights import Weights

_PRECISION = 16


class TileCoder:
  """Integers [C, H, W] to bytes and back, C being 1 or 3.

  What makes the one stream of a tile:

      x -> linear stage, fitted ─────────────────────┐
           coarsest pixels ──────────────────────────┼─> one rANS stream
           levels, phases, channels: networks ───────┘
             -> tables, middles -> whole steps
  """

  def __init__(self, weights: Weights):
    check_products()
    self._networks = network.networks_of(weights.params)
    self._tables = tables_from_arrays(weights.table("distribution"))
    self._biases = bool(weights.config.get("biases", False))
    self._defaults = {
      channels: coefficients_from_arrays(weights.table("linear")[str(channels)], channels)
      for channels in (1, 3)
    }

  def encode(
    self, x: np.ndarray, precision: Precision, in_parallel: Map = map
  ) -> tuple[bytes, np.ndarray]:
    """Encodes a tile.

    Args:
      x: [C, H, W] integers.
      precision: of its samples.
      in_parallel: for parts of it.
    Returns:
      The bytes, and what a decoder will have: float32 [C, H, W].
    """
    defaults = self._defaults[len(x)]
    side = side_information.fit(x, precision, defaults, self._biases)
    coarsest = passes.coarsest_of(x)
    parts = [
      *side_information.to_parts(side, defaults, self._tables, self._biases),
      flat(coarsest, precision.largest.bit_length()),
    ]

    def code(place: Place, expected: Expected) -> np.ndarray:
      error = _samples_at(place, x) - expected.middles
      steps = np.rint(error / precision.step).astype(np.int32)
      samples = _samples(steps, expected, precision)
      if expected.low_bits is not None:
        parts.append(flat(steps & ((1 << expected.low_bits) - 1), expected.low_bits))
        steps = steps >> expected.low_bits
      parts.extend(self._parts(steps, expected, precision))
      return samples

    known = passes.run(coarsest, x.shape[1:], side, self._networks, code, precision, in_parallel)
    return rans.encode_parts(parts), known

  def decode(
    self,
    data: bytes,
    channels: int,
    shape: tuple[int, int],
    precision: Precision,
    in_parallel: Map = map,
    finest: int = 0,
  ) -> np.ndarray:
    """Decodes what `encode` made: float32 [C, H, W].

    Args:
      data: the bytes.
      channels, shape: of the tile.
      precision, in_parallel: as of `encode`.
      finest: see `passes.run`; above 0, only some pixels are decoded.
    Raises:
      BitstreamError: the bytes are damaged, as far as this can tell.
    """
    decoder = rans.Decoder(data)
    defaults = self._defaults[channels]
    side = side_information.read(decoder, channels, shape, defaults, self._tables, self._biases)
    coarsest = decoder.decode(
      np.full((channels, *coarsest_shape(shape)), precision.largest.bit_length()), flat_tables()
    )

    def code(place: Place, expected: Expected) -> np.ndarray:
      del place
      low: Any = 0
      if expected.low_bits is not None:
        low = decoder.decode(expected.low_bits, flat_tables())
      steps = self._decode(decoder, expected, precision)
      if expected.low_bits is not None:
        steps = (steps << expected.low_bits) + low
      return _samples(steps, expected, precision)

    x = passes.run(coarsest, shape, side, self._networks, code, precision, in_parallel, finest)
    if not finest:
      decoder.finish()
    return x

  def _parts(self, steps: np.ndarray, expected: Expected, precision: Precision) -> list[rans.Part]:
    """Parts of numbers of steps; those near an end of their range come last."""
    said: list[rans.Part] = []
    if len(steps) >= adjustment.FEWEST:
      if self._biases:
        moves = adjustment.find_moves(steps - expected.starts, expected, self._tables)
        said.append(flat(np.array([moves is not None]), 1))
        if moves is not None:
          said.append(flat(moves, adjustment.MOVE_BITS))
          expected = adjustment.moved(expected, moves)
      adjustments = adjustment.find(steps - expected.starts, expected, self._tables)
      said.append(flat(adjustments, adjustment.BITS))
      expected = adjustment.adjusted(expected, adjustments)
    integers = steps - expected.starts
    near = edges.find(expected, precision, self._tables)
    if near is None:
      return [*said, (integers, expected.tables, self._tables)]
    inside = ~near.where
    return [
      *said,
      (integers[inside], expected.tables[inside], self._tables),
      (near.clip(integers[near.where]), near.indexes, near.tables),
    ]

  def _decode(self, decoder: rans.Decoder, expected: Expected, precision: Precision) -> np.ndarray:
    """Decodes what `_parts` made parts of."""
    if len(expected.tables) >= adjustment.FEWEST:
      if self._biases and decoder.decode(np.ones(1, np.int32), flat_tables())[0]:
        kinds = np.full(adjustment.CLASSES, adjustment.MOVE_BITS)
        expected = adjustment.moved(expected, decoder.decode(kinds, flat_tables()))
      kinds = np.full(adjustment.CLASSES, adjustment.BITS)
      adjustments = decoder.decode(kinds, flat_tables())
      if adjustments.max() >= adjustment.ADJUSTMENTS:
        raise BitstreamError("tile", 0, "an adjustment is none of those that there are")
      expected = adjustment.adjusted(expected, adjustments)
    near = edges.find(expected, precision, self._tables)
    if near is None:
      return decoder.decode(expected.tables, self._tables) + expected.starts
    integers = np.empty(len(near.where), np.int32)
    integers[~near.where] = decoder.decode(expected.tables[~near.where], self._tables)
    integers[near.where] = decoder.decode(near.indexes, near.tables)
    return integers + expected.starts


def _samples_at(place: Place, x: np.ndarray) -> np.ndarray:
  """[N] int32, the samples of a place, in rows."""
  row, column = PARITIES[place.plane]
  step = 2**place.level
  of_level = x[place.channel, ::step, ::step]
  return of_level[row::2, column::2].reshape(-1).astype(np.int32)


def _samples(steps: np.ndarray, expected: Expected, precision: Precision) -> np.ndarray:
  return np.clip(expected.middles + precision.step * steps, 0, precision.largest)


def coarsest_shape(shape: tuple[int, int]) -> tuple[int, int]:
  """Returns height and width of the pixels that come before all levels."""
  step = 2 ** len(level_shapes(shape))
  return -(-shape[0] // step), -(-shape[1] // step)


def make_arrays() -> dict[str, np.ndarray]:
  """Computes the coding tables, as weights files keep them."""
  pmfs, offsets = zip(*distribution.pmfs())
  tables = tables_from_pmfs(pmfs, offsets, _PRECISION)
  frequencies = [row[:length] for row, length in zip(tables.frequencies, tables.lengths)]
  return {
    "frequencies_less_1": (np.concatenate(frequencies) - 1).astype(np.uint16),
    "lengths": tables.lengths.astype(np.int16),
    "offsets": tables.offsets.astype(np.int16),
  }


def tables_from_arrays(arrays: dict[str, np.ndarray]) -> CodingTables:
  """Reads the coding tables of `make_arrays`."""
  ends = np.cumsum(arrays["lengths"])[:-1]
  frequencies = np.split(arrays["frequencies_less_1"].astype(np.int64) + 1, ends)
  return tables_from_frequencies(frequencies, arrays["offsets"].tolist(), _PRECISION, True)


def coefficients_from_arrays(array: np.ndarray, channels: int) -> Coefficients:
  """Reads coefficients of the linear stage, int16 [levels, phases, channels, K], padded with zeros.

  Their constants are 0.
  """
  array = np.pad(array.astype(np.int32), ((0, 0), (0, 0), (0, 0), (1, 0)))
  return [
    [
      [of[: 1 + linear.size(phase, c, channels)] for c, of in enumerate(of_phase)]
      for phase, of_phase in enumerate(of_level)
    ]
    for of_level in array
  ]
