"""Convolutions of NumPy's arrays by products of matrices.

A 3x3 convolution is done by tiles of 4x4 outputs, Winograd's algorithm F(4x4, 3x3): 36 products for
a tile instead of 144 (Lavin and Gray 2016, arXiv:1509.09308, section 4.3). What else it takes, sums
of a tile's inputs and of its products, is two more products of matrices.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from cae_jax.models.arrays import Map, parts

SIDE = 3
_OUTPUTS = 4  # of a tile, in each direction
_INPUTS = _OUTPUTS + SIDE - 1

# Where Toom and Cook's polynomials are evaluated, beside infinity. Rounding errors are a quarter of
# those at the usual 0, 1, -1, 2, -2.
_POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)

Rows = Callable[[np.ndarray], np.ndarray]  # changes some rows of a map, each number by itself


def unchanged(rows: np.ndarray) -> np.ndarray:
  """Returns what it is given."""
  return rows


class Convolution:
  """A convolution of maps with zeros around them.

  Attributes:
    kernel: [1, 1, C, F] or [3, 3, C, F].
  """

  def __init__(self, kernel: np.ndarray):
    """Takes the kernel, of the type of the maps to come."""
    self.kernel = kernel

  def __call__(
    self,
    x: np.ndarray,
    in_parallel: Map = map,
    *,
    begin: Rows = unchanged,
    finish: Rows = unchanged,
    plus: np.ndarray | None = None,
  ) -> np.ndarray:
    """Convolves a map.

    Args:
      x: [1, h, w, C].
      in_parallel: applies a function to parts, of some rows each. What is done besides is done in
        parts, too: while one thread sweeps over a whole map, the others wait.
      begin: what is done with x before.
      finish: what is done with the result.
      plus: [1, h, w, F], added in the end.
    Returns:
      [1, h, w, F].
    """
    _, height, width, channels = x.shape
    features = self.kernel.shape[-1]
    single = len(self.kernel) == 1
    step = 1 if single else _OUTPUTS  # rows
    convolve_rows = (self._rows_of_products if single else self._rows_of_tiles)(x[0], begin)
    result = np.empty((1, height, width, features), x.dtype)

    def fill(part: slice) -> None:
      rows = slice(step * part.start, min(step * part.stop, height))
      found = finish(convolve_rows(part)[None, : rows.stop - rows.start])
      result[:, rows] = found if plus is None else plus[:, rows] + found

    for _ in in_parallel(fill, parts(-(-height // step), step * width * max(channels, features))):
      pass
    return result

  def _rows_of_products(self, x: np.ndarray, begin: Rows) -> Callable[[slice], np.ndarray]:
    """What convolves some rows of [h, w, C] with a kernel of 1x1."""
    width, channels = x.shape[1:]
    matrix = self.kernel[0, 0]

    def convolve_rows(rows: slice) -> np.ndarray:
      return (begin(x[rows]).reshape(-1, channels) @ matrix).reshape(-1, width, matrix.shape[1])

    return convolve_rows

  def _rows_of_tiles(self, x: np.ndarray, begin: Rows) -> Callable[[slice], np.ndarray]:
    """What convolves some rows of tiles of [h, w, C] with a kernel of 3x3."""
    height, width, channels = x.shape
    columns = -(-width // _OUTPUTS)
    border = _INPUTS - _OUTPUTS
    of_outputs, _, of_inputs = (matrix.astype(x.dtype) for matrix in _MATRICES)
    of_kernel = self._of_kernel  # made by one thread

    def tiles_of(part: slice) -> np.ndarray:
      """The tiles of some rows: [6, 6, rows, columns, C]."""
      first, count = part.start * _OUTPUTS - 1, (part.stop - part.start) * _OUTPUTS + border
      inside = slice(max(first, 0), min(first + count, height))
      padded = np.zeros((count, columns * _OUTPUTS + border, channels), x.dtype)
      padded[inside.start - first : inside.stop - first, 1 : width + 1] = begin(x[inside])
      places = np.lib.stride_tricks.sliding_window_view(padded, (_INPUTS, _INPUTS), (0, 1))
      return places[::_OUTPUTS, ::_OUTPUTS].transpose(3, 4, 0, 1, 2)

    def convolve_rows(part: slice) -> np.ndarray:
      inputs = of_inputs @ tiles_of(part).reshape(_INPUTS**2, -1)
      products = inputs.reshape(_INPUTS**2, -1, channels) @ of_kernel
      outputs = of_outputs @ products.reshape(_INPUTS**2, -1)
      outputs = outputs.reshape(_OUTPUTS, _OUTPUTS, -1, columns, products.shape[-1])
      outputs = outputs.transpose(2, 0, 3, 1, 4)
      return outputs.reshape(-1, columns * _OUTPUTS, products.shape[-1])[:, :width]

    return convolve_rows

  @functools.cached_property
  def _of_kernel(self) -> np.ndarray:
    """[36, C, F], what a tile's 36 sums of inputs are multiplied by."""
    matrix = _MATRICES[1].astype(self.kernel.dtype)
    return (matrix @ self.kernel.reshape(SIDE**2, -1)).reshape(-1, *self.kernel.shape[2:])


def _matrices(points: Sequence[float]) -> list[np.ndarray]:
  """Returns those that make outputs of products, and factors of a kernel and of inputs.

  Polynomials with the outputs' and the kernel's coefficients are multiplied by their values at the
  points and at infinity; the algorithm is the transpose of that (Toom-Cook; Blahut, Fast Algorithms
  for Signal Processing, 2010, chapter 5).

  Returns:
    [16, 36], [36, 9] and [36, 36].
  """
  powers = np.vander(points, _OUTPUTS, increasing=True)
  others = [[b for b in points if b != a] for a in points]
  sizes = [np.prod(np.subtract(a, rest)) for a, rest in zip(points, others)]
  at_infinity = lambda length: np.eye(length)[-1:]
  along = (
    np.concatenate([powers, at_infinity(_OUTPUTS)]).T,
    np.concatenate([powers[:, :SIDE] / np.array(sizes)[:, None], at_infinity(SIDE)]),
    np.array([[*_coefficients(rest), 0] for rest in others] + [_coefficients(points)]),
  )
  return [np.kron(matrix, matrix) for matrix in along]


def _coefficients(roots: Sequence[float]) -> np.ndarray:
  """Of the polynomial with these roots, the constant first."""
  return np.poly(roots)[::-1]


_MATRICES = _matrices(_POINTS)
