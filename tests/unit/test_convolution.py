"""Convolutions of NumPy's arrays."""

import jax
import numpy as np
import pytest

from cae_jax.models import arrays, convolution


def _arrays(height, width):
  rng = np.random.default_rng(0)
  x = np.float32(rng.normal(size=(1, height, width, 3)))
  return x, np.float32(rng.normal(size=(3, 3, 3, 5)))


def _backwards(function, items):
  """As `map`, but the last item comes first."""
  return [function(item) for item in reversed(list(items))][::-1]


@pytest.mark.parametrize("most", [20, 100, 2**16])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (4, 8), (2, 9), (9, 3)])
def test_a_convolution_with_zeros_around(size, side, most, monkeypatch):
  monkeypatch.setattr(arrays.parts, "__defaults__", (most,))  # in one part, and in several
  x, kernel = _arrays(*size)
  kernel = kernel[:side, :side]
  expected = jax.lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  result = convolution.Convolution(kernel)(x)
  assert result.dtype == np.float32
  np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-5)
  doubled = convolution.Convolution(kernel)(x, _backwards, finish=lambda rows: 2 * rows)
  np.testing.assert_array_equal(doubled, 2 * result)
  halved = lambda rows: rows / 2
  more = convolution.Convolution(kernel)(x, _backwards, begin=halved, plus=result)
  np.testing.assert_allclose(more, 1.5 * result, rtol=1e-5, atol=1e-5)


def test_whole_numbers_stay_whole_but_for_rounding():
  rng = np.random.default_rng(1)
  x, kernel = rng.integers(-9, 9, (1, 6, 6, 2)), rng.integers(-9, 9, (3, 3, 2, 2))
  result = convolution.Convolution(kernel.astype(np.float64))(x.astype(np.float64))
  padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
  places = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
  np.testing.assert_allclose(result[0], np.einsum("hwcij,ijcf->hwf", places, kernel), atol=1e-12)
