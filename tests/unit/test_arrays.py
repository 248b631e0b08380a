"""Functions of arrays that networks of training and of files share."""

import jax
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


def test_convolve_is_a_convolution_with_zeros_around(monkeypatch):
  rng = np.random.default_rng(0)
  x, kernel = np.float32(rng.normal(size=(1, 7, 5, 3))), np.float32(rng.normal(size=(3, 3, 3, 4)))
  expected = jax.lax.conv(
    x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), (1, 1), "SAME"
  ).transpose(0, 2, 3, 1)
  np.testing.assert_allclose(arrays.convolve(x, kernel), expected, rtol=1e-4, atol=1e-5)
  monkeypatch.setattr(arrays.parts, "__defaults__", (20,))
  doubled = arrays.convolve(x, kernel, lambda part: 2 * part, backwards)
  np.testing.assert_allclose(doubled, 2 * expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(arrays.convolve(x, kernel[:1, :1]), x @ kernel[0, 0], rtol=1e-6)


def backwards(function, items):
  """As `map`, but the last item comes first."""
  return [function(item) for item in reversed(list(items))][::-1]


@pytest.mark.parametrize(
  ("length", "numbers", "most"), [(0, 3, 5), (1, 3, 5), (7, 2, 100), (99, 9, 20)]
)
def test_parts_are_a_run(length, numbers, most):
  found = arrays.parts(length, numbers, most)
  assert [i for part in found for i in range(length)[part]] == list(range(length))
  sizes = [part.stop - part.start for part in found]
  assert all((size - 1) * numbers < most for size in sizes)
  assert len(found) >= min(length, 4)  # as many as cores may want
