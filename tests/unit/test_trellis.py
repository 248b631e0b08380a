import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_jax.coding.trellis import cheapest_changes

SIZES = st.integers(1, 2), st.integers(1, 4), st.integers(1, 2), st.integers(1, 3)


def _turned(patterns, changes):
  """Which checks of a chain are turned over: patterns and changes [G, K] -> bool [G]."""
  result = np.zeros(len(patterns), bool)
  for g, k in zip(*np.nonzero(changes)):
    for t in range(len(result) - g):
      result[g + t] ^= bool(patterns[g, k] >> t & 1)
  return result


def _cheapest(costs, patterns, wrong, told):
  """By trying all of them; inf where nothing puts the checks right."""
  ways = itertools.product((False, True), repeat=costs.size)
  ways = (np.reshape(way, costs.shape) for way in ways)
  right = lambda way: (_turned(patterns, way) == wrong)[told].all()
  return min((costs[way].sum() for way in ways if right(way)), default=np.inf)


@settings(max_examples=300, deadline=None)
@given(*SIZES, st.integers(0, 2**32 - 1))
def test_changes_are_the_cheapest_of_all(chains, groups, options, reach, seed):
  rng = np.random.default_rng(seed)
  shape = chains, groups, options
  costs = rng.random(shape).astype(np.float32)
  costs[rng.random(shape) < 0.1] = np.inf
  patterns = rng.integers(0, 1 << reach, shape)
  wrong, told = rng.random((2, chains, groups)) < 0.7
  changes = cheapest_changes(costs, patterns, wrong, told, reach)
  assert changes.shape == shape
  for c in range(chains):
    least = _cheapest(costs[c], patterns[c], wrong[c], told[c])
    if np.isfinite(least):
      assert (_turned(patterns[c], changes[c]) == wrong[c])[told[c]].all()
      np.testing.assert_allclose(costs[c][changes[c]].sum(), least, rtol=1e-5)
