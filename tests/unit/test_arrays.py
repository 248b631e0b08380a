"""Functions of arrays that networks of training and of files share."""

import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models import arrays


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_depth_to_space_undoes_space_to_depth(block, xp):
  x = xp.asarray(np.random.default_rng(0).normal(size=(2, 8, 12, 3)))
  y = arrays.space_to_depth(x, block)
  assert y.shape == (2, 8 // block, 12 // block, 3 * block**2)
  np.testing.assert_array_equal(arrays.depth_to_space(y, block), x)


def test_space_to_depth_puts_rows_first():
  x = np.arange(4.0).reshape(1, 2, 2, 1)
  np.testing.assert_array_equal(arrays.space_to_depth(x, 2)[0, 0, 0], [0, 1, 2, 3])


def test_sizes_that_do_not_fit():
  with pytest.raises(ValueError, match="multiples of 2, got 3x4; pad with"):
    arrays.space_to_depth(np.zeros((1, 3, 4, 1)), 2)
  with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
    arrays.depth_to_space(np.zeros((1, 2, 2, 6)), 2)


@pytest.mark.parametrize(
  ("length", "numbers", "most"), [(0, 3, 5), (1, 3, 5), (7, 2, 100), (99, 9, 20)]
)
def test_parts_are_a_run(length, numbers, most):
  found = arrays.parts(length, numbers, most)
  assert [i for part in found for i in range(length)[part]] == list(range(length))
  sizes = [part.stop - part.start for part in found]
  assert all((size - 1) * numbers < most for size in sizes)
  assert len(found) >= min(length, 4)  # as many as cores may want
