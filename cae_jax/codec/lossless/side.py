"""What a tile says beside its samples, as parts of its rANS stream. docs/format.md describes it."""

import functools
from collections.abc import Sequence

import numpy as np

from cae_jax.coding import rans
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.tables import CodingTables, tables_from_frequencies
from cae_jax.models.lossless import distribution, linear, passes
from cae_jax.models.lossless.linear import Coefficients
from cae_jax.models.lossless.passes import Precision, Side
from cae_jax.models.lossless.phases import PHASES, level_shapes

_FLAT_PRECISION = 16
_SPREAD_BITS = 5
# Spread n of 1 to 31 is the scale of this number plus n; spread 0 says that nothing is coded.
_FIRST_SPREAD = 8
_LOG_SIZES_SPREAD = 22
_LAPLACE = 2 * distribution.SHAPES_PER_UNIT
# Samples below which coefficients of the image's own must pay for themselves.
_FEW = 3 << 16


@functools.cache
def flat_tables() -> CodingTables:
  """Makes the tables of numbers coded as they are: table n of n bits, 0 to 16."""
  frequencies = [np.full(1 << n, 1 << (_FLAT_PRECISION - n)) for n in range(_FLAT_PRECISION + 1)]
  return tables_from_frequencies(frequencies, [0] * len(frequencies), _FLAT_PRECISION, False)


def flat(values: np.ndarray, bits: int | np.ndarray) -> rans.Part:
  """Makes a part of numbers of so many bits."""
  values = np.asarray(values, np.int32)
  return values, np.broadcast_to(np.asarray(bits, np.int32), values.shape), flat_tables()


def fit(
  x: np.ndarray, precision: Precision, defaults: Coefficients, constant: bool = False
) -> Side:
  """Fits what is said of a tile to it: no coefficients that do not pay for themselves.

  Args:
    x: the tile [C, H, W].
    precision: of its samples.
    defaults: what coefficients are otherwise.
    constant: whether there is a constant among them.
  """
  side = passes.side_of(x, precision, constant)
  if x.size > _FEW:
    return side
  default = linear.code_linearly(x, defaults, precision.step, precision.largest)
  default_sizes = linear.log_sizes(default.sizes)
  coefficients = [
    [
      [
        _better(own, of_default, gain, samples)
        for own, of_default, gain in zip(of_phase, default_of_phase, gains)
      ]
      for of_phase, default_of_phase, gains, samples in zip(*of_level)
    ]
    for of_level in zip(
      side.coefficients, defaults, _gains(default_sizes, side.log_sizes), _samples(x.shape[1:])
    )
  ]
  coded = linear.code_linearly(x, coefficients, precision.step, precision.largest)
  return Side(coefficients, linear.log_sizes(coded.sizes))


def _gains(default: np.ndarray, own: np.ndarray) -> np.ndarray:
  """[levels that are fitted, 3, C]: bits a sample, the coarser levels with the last fitted one."""
  return np.maximum(0, default.astype(np.float64) - own)[: linear.FITTED_LEVELS] / 8


def _samples(shape: tuple[int, int]) -> list[list[int]]:
  """Samples of each level and phase."""
  return [
    [int(np.prod(linear.plane_shape(of, phase.plane))) for phase in PHASES]
    for of in level_shapes(shape)
  ]


def _better(own: np.ndarray, default: np.ndarray, gain: float, samples: int) -> np.ndarray:
  cost = len(own) * np.log2(2 * np.e * max(float(np.abs(own - default).mean()), 0.5))
  return own if gain * samples > cost else default


def to_parts(
  side: Side, defaults: Coefficients, tables: CodingTables, constant: bool = False
) -> list[rans.Part]:
  """Makes parts of what is said of a tile; without constants, those are left out."""
  pairs = [
    (own, default)
    for levels in zip(side.coefficients, defaults)
    for phases in zip(*levels)
    for own, default in zip(*phases)
  ]
  differences = [(own - default)[not constant :] for own, default in pairs]
  spreads = [_spread(values) for values in differences]
  parts = [flat(np.array(spreads), _SPREAD_BITS)]
  for values, spread in zip(differences, spreads):
    if spread:
      parts.append((values, _indexes(values.shape, spread), tables))
  sizes = np.diff(side.log_sizes.astype(np.int32), axis=0, prepend=0)
  parts.append((sizes, _indexes(sizes.shape, _LOG_SIZES_SPREAD), tables))
  return parts


def read(
  decoder: rans.Decoder,
  channels: int,
  shape: tuple[int, int],
  defaults: Coefficients,
  tables: CodingTables,
  constant: bool = False,
) -> Side:
  """Reads what `to_parts` wrote; raises BitstreamError.

  Args:
    decoder: of the tile's stream.
    channels, shape: of the tile.
    defaults, tables, constant: as they were.
  """
  levels = len(level_shapes(shape))
  fitted = min(levels, linear.FITTED_LEVELS)
  indexes = np.full((fitted, len(PHASES), channels), _SPREAD_BITS)
  spreads = decoder.decode(indexes, flat_tables())
  coefficients = [
    [
      [
        _read_coefficients(decoder, default, int(spreads[level, phase, c]), tables, constant)
        for c, default in enumerate(of_phase)
      ]
      for phase, of_phase in enumerate(of_level)
    ]
    for level, of_level in enumerate(defaults[:fitted])
  ]
  sizes = decoder.decode(_indexes((levels, len(PHASES), channels), _LOG_SIZES_SPREAD), tables)
  log_sizes = sizes.cumsum(0, dtype=np.int64)
  if np.abs(log_sizes).max(initial=0) > 127:
    raise BitstreamError("tile", 0, "a size of errors is out of its range")
  return Side(coefficients, log_sizes.astype(np.int8))


def _read_coefficients(
  decoder: rans.Decoder, default: np.ndarray, spread: int, tables: CodingTables, constant: bool
) -> np.ndarray:
  if not spread:
    return default
  own = default.astype(np.int64)
  said = own[not constant :]
  said += decoder.decode(_indexes(said.shape, spread), tables)
  if np.abs(own).max() > linear.LARGEST:
    raise BitstreamError("tile", 0, "a coefficient is out of its range")
  return own.astype(np.int32)


def _spread(values: np.ndarray) -> int:
  if not values.any():
    return 0
  scale = (np.log2(np.abs(values).mean()) - distribution.LOWEST) * distribution.PER_OCTAVE
  return int(np.clip(round(scale) - _FIRST_SPREAD, 1, 2**_SPREAD_BITS - 1))


def _indexes(shape: Sequence[int], spread: int) -> np.ndarray:
  """Tables of a Laplacian of a spread, around 0."""
  scale = min(_FIRST_SPREAD + spread, distribution.SCALES - 1)
  return np.full(shape, scale * distribution.SHAPES + _LAPLACE, np.int32)
