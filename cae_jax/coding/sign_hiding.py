"""Sign data hiding: one sign of each group of symbols is told by the sizes of all of them.

Symbols, in C order, are cut into groups in which their tables let one expect `GROUP_NONZEROS` that
are not zero. The first of those is the group's *leader*: it is negative if the group's sizes sum to
an odd number, so its sign takes no bit. In return the encoder has to change one symbol by one in
about every second group, but it may choose the one that costs least.

After Clare, Henry and Jung 2011 (JCTVC-G271), as in HEVC.
"""

from collections.abc import Callable

import numpy as np

from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.rans import Decoder, Part
from cae_jax.coding.tables import CodingTables

GROUP_NONZEROS = 6  # part of the format; by the BD-rate of validation photographs, BUILD_NOTES.md
_NEAR_ONE = 0.25  # targets of zeros that might become ones
_SIGNS = CodingTables(np.array([[0, 1, 2]]), np.array([2]), np.array([0]), 1, False)

# Places in the flat array, and a size for each: what it costs to code these.
Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]


def group_numbers(indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
  """The group of each symbol: [N] int64, never falling.

  Args:
    indexes: any shape of N elements, the table of each symbol's size.
    tables: of sizes, from zero on.
  """
  one = 1 << tables.precision
  not_zero = one - tables.frequencies[:, 0]
  return np.cumsum(not_zero[indexes]) // (GROUP_NONZEROS * one)


def hide_signs(
  symbols: np.ndarray, groups: np.ndarray, targets: np.ndarray, cost: Cost
) -> np.ndarray:
  """Symbols near those given, whose leaders have the signs that their groups tell.

  Args:
    symbols: int32 of any shape.
    groups: [N], of `group_numbers`.
    targets: float of that shape, what symbols should be; zeros that change get their signs.
    cost: of sizes from zero to one above the symbols'.
  Returns:
    int32 of that shape; in each group at most one symbol is changed, by one: the cheapest.
  """
  result, targets = symbols.flatten(), targets.ravel()
  sizes = np.abs(result)
  leaders, odd = _leaders(sizes, groups)
  wrong = leaders[(result[leaders] < 0) != odd]
  if not wrong.size:
    return symbols
  # Zeros before the leader stay zero and the leader does not become zero, or another sign would be
  # hidden. Nor do zeros that are far from one: one more for the leader costs less.
  leader = np.full(groups[-1] + 1, sizes.size)
  leader[groups[wrong]] = wrong
  place = np.flatnonzero((sizes > 0) | (np.abs(targets) > _NEAR_ONE))
  place = place[place >= leader[groups[place]]]
  size, group = sizes[place], groups[place]
  higher = cost(place, size + 1)
  can_fall = size > (place == leader[group])
  lower = np.where(can_fall, cost(place, np.maximum(size, 1) - 1), np.inf)
  rise = np.minimum(higher, lower) - cost(place, size)
  by_group = np.lexsort((rise, group))
  cheapest = by_group[np.flatnonzero(np.diff(group[by_group], prepend=-1))]
  changed = np.where(higher <= lower, size + 1, size - 1)[cheapest]
  place = place[cheapest]
  negative = np.where(result[place] == 0, targets[place], result[place]) < 0
  result[place] = np.where(negative, -changed, changed)
  return result.reshape(symbols.shape)


def parts(
  symbols: np.ndarray, groups: np.ndarray, indexes: np.ndarray, tables: CodingTables
) -> list[Part]:
  """What `rans.encode_parts` has to code of symbols of `hide_signs`: sizes, and the signs told.

  Args:
    symbols: int32, any shape.
    groups: [N], of `group_numbers`.
    indexes: of that shape, the table of each symbol's size.
    tables: of sizes, from zero on.
  """
  sizes = np.abs(symbols)
  told = _told(sizes.ravel(), _leaders(sizes.ravel(), groups)[0])
  signs = (symbols.ravel()[told] < 0).astype(np.int32)
  return [(sizes, indexes, tables), (signs, np.zeros_like(signs), _SIGNS)]


def decode(decoder: Decoder, indexes: np.ndarray, tables: CodingTables) -> np.ndarray:
  """The inverse of `parts`: int32 symbols of the shape of `indexes`.

  Raises:
    BitstreamError: the section is damaged.
  """
  sizes = decoder.decode(indexes, tables).ravel()
  if sizes.size and sizes.min() < 0:
    raise BitstreamError("rans", 0, f"a symbol has the size {sizes.min()}")
  leaders, odd = _leaders(sizes, group_numbers(indexes, tables))
  told = _told(sizes, leaders)
  negative = np.zeros(sizes.size, bool)
  negative[leaders] = odd
  negative[told] = decoder.decode(np.zeros(np.count_nonzero(told), np.int32), _SIGNS)
  return np.where(negative, -sizes, sizes).reshape(indexes.shape)


def _leaders(sizes: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Places of the groups' leaders, and whether each one's group is odd; groups may have none."""
  places = np.flatnonzero(sizes)
  first = np.flatnonzero(np.diff(groups[places], prepend=-1))
  totals = np.add.reduceat(sizes[places], first) if first.size else np.empty(0, np.int64)
  return places[first], totals % 2 == 1


def _told(sizes: np.ndarray, leaders: np.ndarray) -> np.ndarray:
  """Whose signs are told: bool [N]."""
  told = sizes > 0
  told[leaders] = False
  return told
