"""Sign hiding: one sign of each group of symbols follows from the magnitudes of many symbols.

Symbols, in C order, are cut into groups that hold `GROUP_NONZEROS` non-zero ones on average, by
their tables. A group's *check* says whether an odd number of its symbols is negative. So one sign
of each group needs no bit: that of its *leader*, its first symbol that is not zero. Checks are
parities: a symbol of odd magnitude flips the check of its own group and those of some later groups,
which ones the *pattern* of its place says. In return the encoder has to change magnitudes by one
until all checks are right. Since checks are interwoven there are many ways to do so, and a search
through a trellis finds the cheapest.

After Clare, Henry and Jung 2011 (JCTVC-G271, sign data hiding, as in HEVC), where a check is the
parity of one group alone, and the syndrome-trellis codes of steganography, see `trellis`.
"""

from collections.abc import Callable

import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.rans import Decoder, Part
from cae_jax.coding.tables import CodingTables
from cae_jax.coding.trellis import cheapest_changes

# Parts of the format; by the BD-rates in docs/decisions/015-hidden-signs.md.
GROUP_NONZEROS = 2.5
REACH = 8  # groups that a pattern is for: the symbol's own and those after it
CHAIN = 96  # groups; patterns do not reach beyond the chain of their group
_GOLDEN = 2654435769  # 2^32 over the golden ratio: multiples of it fill [0, 2^32) evenly

_NEAR_ONE = 0.25  # targets of zeros that might become ones
_OPTIONS = 3  # changes that the encoder considers in each group, the cheapest ones
_SIGNS = CodingTables(np.array([[0, 1, 2]]), np.array([2]), np.array([0]), 1, False)

# Places in the flat array, and a magnitude for each: what it costs to code these, signs included.
Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]


def group_numbers(indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
  """Returns the group of each symbol: [N] int64, never falling.

  Args:
    indexes: any shape of N elements, the table of each symbol's magnitude.
    tables: of magnitudes, from zero on.
  """
  one = 1 << tables.precision
  not_zero = one - tables.frequencies[:, 0]
  return np.cumsum(not_zero[indexes]) // int(GROUP_NONZEROS * one)


def hide_signs(
  symbols: np.ndarray, groups: np.ndarray, targets: np.ndarray, cost: Cost
) -> np.ndarray:
  """Finds symbols near those given, whose signs are as the checks tell.

  Args:
    symbols: int32 of any shape.
    groups: [N], of `group_numbers`.
    targets: float of that shape, what symbols should be; zeros that change get their signs.
    cost: of magnitudes from zero to one above the symbols'.
  Returns:
    int32 of that shape; symbols are changed by one at most, and in groups of zeros none is.
  """
  result, targets = symbols.flatten(), targets.ravel()
  magnitudes, negative = np.abs(result), np.where(result, result, targets) < 0
  told = _count(groups, magnitudes > 0) > 0
  wrong = told & (_checks(magnitudes, groups) != _count(groups, result < 0) % 2)
  if not wrong.any():
    return symbols
  place = np.flatnonzero(told[groups] & ((magnitudes > 0) | (np.abs(targets) > _NEAR_ONE)))
  magnitude, group = magnitudes[place], groups[place]
  now, higher = cost(place, magnitude), cost(place, magnitude + 1)
  lower = np.where(magnitude > 0, cost(place, np.maximum(magnitude, 1) - 1), np.inf)
  lower[_kept(magnitude, lower - now, group)] = np.inf
  changed = np.where(higher <= lower, magnitude + 1, magnitude - 1)
  crosses = negative[place] & ((magnitude == 0) | (changed == 0))
  patterns = _patterns(place) ^ crosses
  rise = np.maximum(np.minimum(higher, lower) - now, 0)
  chosen = _cheapest(rise, patterns, group, wrong, told)
  place, changed = place[chosen], changed[chosen]
  result[place] = np.where(negative[place], -changed, changed)
  return result.reshape(symbols.shape)


def parts(
  symbols: np.ndarray, groups: np.ndarray, indexes: np.ndarray, tables: CodingTables
) -> list[Part]:
  """Returns what `rans.encode_parts` codes of `hide_signs`' symbols: magnitudes, and signs told.

  Args:
    symbols: int32, any shape.
    groups: [N], of `group_numbers`.
    indexes: of that shape, the table of each symbol's magnitude.
    tables: of magnitudes, from zero on.
  """
  magnitudes = np.abs(symbols)
  told = np.delete(*_leaders(magnitudes.ravel(), groups))
  signs = (symbols.ravel()[told] < 0).astype(np.int32)
  return [(magnitudes, indexes, tables), (signs, np.zeros_like(signs), _SIGNS)]


def decode(decoder: Decoder, indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
  """Decodes the symbols of `parts`: int32 of the shape of `indexes`.

  Raises:
    BitstreamError: the section is damaged.
  """
  magnitudes = decoder.decode(indexes, tables).ravel()
  if magnitudes.size and magnitudes.min() < 0:
    raise BitstreamError("rans", 0, f"a symbol has the magnitude {magnitudes.min()}")
  groups = group_numbers(indexes, tables)
  places, first = _leaders(magnitudes, groups)
  told, leaders = np.delete(places, first), places[first]
  negative = np.zeros(magnitudes.size, bool)
  negative[told] = decoder.decode(np.zeros(told.size, np.int32), _SIGNS)
  others = _count(groups, negative) % 2
  negative[leaders] = (_checks(magnitudes, groups) != others)[groups[leaders]]
  return np.where(negative, -magnitudes, magnitudes).reshape(indexes.shape)


def _leaders(magnitudes: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Places of all symbols that are not zero, and which of these are their groups' leaders."""
  places = np.flatnonzero(magnitudes)
  return places, np.flatnonzero(np.diff(groups[places], prepend=-1))


def _count(groups: np.ndarray, which: np.ndarray) -> np.ndarray:
  """How many symbols of each group are among these, bool [N]: int [G]."""
  return np.bincount(groups[which], minlength=groups[-1] + 1 if groups.size else 0)


def _patterns(places: np.ndarray) -> np.ndarray:
  """Of symbols at these places: int, bit t for the t-th group from the symbol's own, bit 0 set."""
  return (places * _GOLDEN % 2**32 >> (33 - REACH)) << 1 | 1


def _checks(magnitudes: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Of each group: 0 or 1 [G]."""
  odd = np.flatnonzero(magnitudes & 1)
  patterns, group = _patterns(odd), groups[odd]
  count = groups[-1] + 1 if groups.size else 0
  totals = np.zeros(count, np.int64)
  for t in range(REACH):
    reached = (patterns >> t & 1 == 1) & (group % CHAIN + t < CHAIN) & (group + t < count)
    totals += np.bincount(group[reached] + t, minlength=count)
  return totals % 2


def _kept(magnitude: np.ndarray, fall: np.ndarray, group: np.ndarray) -> np.ndarray:
  """One symbol of each group that shall not become zero: where that would be dearest.

  Args:
    magnitude, fall, group: [N], of symbols of groups that are not all zero; what one less costs.
  """
  dear = np.select([magnitude > 1, magnitude == 1], [np.inf, fall], -np.inf)
  by_group = np.lexsort((dear, group))
  dearest = by_group[np.flatnonzero(np.diff(group[by_group], append=-1))]
  return dearest[magnitude[dearest] == 1]


def _cheapest(rise, patterns, group, wrong, told) -> np.ndarray:
  """Which of N changes to make, [K] places: rise, patterns and group [N], wrong and told [G]."""
  # In each group the best change for its own check first, then the best for any.
  own = np.flatnonzero(patterns & 1)
  own = own[np.lexsort((rise[own], group[own]))]
  own = own[np.flatnonzero(np.diff(group[own], prepend=-1))]
  first = np.zeros(rise.size, bool)
  first[own] = True
  order = np.lexsort((rise, ~first, group))
  starts = np.flatnonzero(np.diff(group[order], prepend=-1))
  rank = np.arange(order.size) - np.repeat(starts, np.diff(starts, append=order.size))
  order, rank = order[rank < _OPTIONS], rank[rank < _OPTIONS]
  length = min(CHAIN, told.size)
  shape = -(-told.size // length), length
  pad = lambda x: np.pad(x, (0, shape[0] * length - x.size)).reshape(shape)
  offered = np.full((shape[0] * length, _OPTIONS), -1)
  offered[group[order], rank] = order
  offered = offered.reshape(*shape, _OPTIONS)
  costs = np.where(offered < 0, np.inf, rise[offered]).astype(np.float32)
  chosen = cheapest_changes(costs, patterns[offered], pad(wrong), pad(told), REACH)
  return offered[chosen]
