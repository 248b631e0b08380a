import numpy as np
import pytest

from cae_jax.backend import BackendError
from cae_jax.models.exact import products


def rounded(x, bits):
  """Keeps some bits of each number, as short floats of accelerators do."""
  mantissa, exponent = np.frexp(x)
  return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits).astype(x.dtype)


def test_products_are_exact_here():
  products.check_products()
  for dtype, most_a, most_b in products._RANGES:
    largest = products._TERMS * most_a * most_b
    assert 0.5 < largest / 2 ** np.finfo(dtype).nmant / 2 < 1
    assert 0.9 < np.abs(products._integers((64, 192), most_a)).max() / most_a <= 1


@pytest.mark.parametrize("bits", [8, 11, 14])
def test_a_library_that_shortens_numbers_is_refused(bits):
  shorter = lambda a, b: rounded(a, bits) @ rounded(b, bits)
  with pytest.raises(BackendError, match=r"float.* matrices are not exact in this NumPy"):
    products.check_products(shorter)


@pytest.mark.parametrize("bits", [11, 16, 20])
def test_a_library_that_shortens_sums_is_refused(bits):
  with pytest.raises(BackendError, match="products of float32 matrices are not exact"):
    products.check_products(lambda a, b: rounded(a @ b, bits))
