"""Syndrome-trellis codes: the cheapest set of changes that puts a chain of parity checks right.

Filler, Judas and Fridrich 2011, "Minimizing additive distortion in steganography using
syndrome-trellis codes" (doi:10.1109/TIFS.2011.2134094), section IV.
"""

import numpy as np


def cheapest_changes(
  costs: np.ndarray, patterns: np.ndarray, wrong: np.ndarray, told: np.ndarray, reach: int
) -> np.ndarray:
  """Finds which changes to make, in many chains at once, by Viterbi's algorithm.

  A state says which checks of the group at hand and the next ones the changes so far turn over.

  Args:
    costs: float32 [C, G, K], of K changes that each group of each chain has to offer; inf where it
      has fewer.
    patterns: int [C, G, K] below 2^reach; bit t: the change turns over the check of group g + t.
    wrong: bool [C, G], checks to be turned over.
    told: bool [C, G]; other groups have no check.
    reach: groups that a pattern is for; checks beyond the chain's end are none.
  Returns:
    bool [C, G, K], the cheapest changes after which all checks are right; any, where none are.
  """
  chains, groups, options = costs.shape
  states = np.arange(1 << reach)
  half = states.size // 2
  offsets = (np.arange(chains) << reach)[:, None]
  least = np.full((chains, states.size), np.inf, np.float32)
  least[:, 0] = 0
  other = np.empty_like(least)
  changed = np.empty((groups, options, chains, states.size), bool)
  turned = np.empty((groups, chains, half), bool)
  # By groups; what it costs to have turned a check over an even or an odd number of times.
  costs, patterns = (x.transpose(1, 2, 0)[..., None] for x in (costs, patterns))
  even, odd = (
    np.where(told & forbidden, np.inf, 0).astype(np.float32).T[..., None]
    for forbidden in (wrong, ~wrong)
  )
  for g in range(groups):
    before = offsets + (states ^ patterns[g])
    for k in range(options):
      least.take(before[k], out=other, mode="clip")
      other += costs[g, k]
      np.less(other, least, out=changed[g, k])
      np.minimum(other, least, out=least)
    ends = least[:, 0::2] + even[g], least[:, 1::2] + odd[g]
    np.less(ends[1], ends[0], out=turned[g])
    np.minimum(*ends, out=least[:, :half])
    least[:, half:] = np.inf  # nothing so far turns the check over that comes into reach
  return _traced(patterns[..., 0], changed, turned, np.argmin(least, axis=1))


def _traced(patterns, changed, turned, state) -> np.ndarray:
  """The changes on the way to a state [C] after the last group; patterns [G, K, C]."""
  groups, options, chains = patterns.shape
  result = np.empty((groups, options, chains), bool)
  half = turned.shape[2]
  of_changed, of_turned = np.arange(chains) * changed.shape[3], np.arange(chains) * half
  for g in reversed(range(groups)):
    state = np.minimum(state, half - 1)  # beyond it if nothing can put the checks right
    state = state << 1 | turned[g].take(of_turned + state)
    for k in reversed(range(options)):
      made = changed[g, k].take(of_changed + state, out=result[g, k], mode="clip")
      state = state ^ patterns[g, k] * made
  return result.transpose(2, 0, 1)
