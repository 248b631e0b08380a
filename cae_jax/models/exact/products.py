"""Whether NumPy multiplies matrices exactly, as all that decides on tables relies on."""

from collections.abc import Callable

import numpy as np

from cae_jax.backend import BackendError

_TERMS = 192  # of a sum
# Types, and how large integers of both matrices may be: sums are just below 2^24 and 2^53.
_RANGES = (
  (np.float32, 295, 295),
  (np.float32, 2, 2**15 - 1),
  (np.float32, 2**15 - 1, 2),
  (np.float64, 6_849_000, 6_849_000),
)


def check_products(multiply: Callable = np.matmul) -> None:
  """Makes sure that products of matrices are exact here.

  Args:
    multiply: matrices of one type.
  Raises:
    BackendError: NumPy's library rounds sums of integers that float32 or float64 can hold.
  """
  for dtype, most_a, most_b in _RANGES:
    a, b = _integers((64, _TERMS), most_a), _integers((_TERMS, 48), most_b)
    if (multiply(a.astype(dtype), b.astype(dtype)) != a @ b).any():
      raise BackendError(
        f"products of {np.dtype(dtype).name} matrices are not exact in this NumPy ({np.__version__}"
        "), perhaps by a setting that trades exactness for speed; turn that off"
      )


def _integers(shape: tuple[int, int], most: int) -> np.ndarray:
  """Many different integers from -most to most, always the same; int64."""
  # Not by numpy.random, which takes a while to import.
  hashes = np.arange(shape[0] * shape[1]) * 2654435769 % 2**32 >> 5
  return (hashes % (2 * most + 1) - most).reshape(shape)
