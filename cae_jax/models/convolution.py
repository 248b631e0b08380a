"""Convolutions of NumPy's arrays by products of matrices.

A 3x3 convolution is three of rows, each by the algorithm F(4, 3) of Winograd: six products for four
neighbouring outputs instead of twelve (Lavin and Gray 2016, arXiv:1509.09308, section 4.3).
"""

from collections.abc import Callable, Sequence

import numpy as np

from cae_jax.models.arrays import Map, parts

SIDE = 3
_OUTPUTS = 4  # of a row, together
_INPUTS = _OUTPUTS + SIDE - 1

# A kernel's row -> what the six inputs' sums and differences are multiplied by.
_OF_KERNEL = np.array(
  [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
  ]
)


def convolve(
  x: np.ndarray, kernel: np.ndarray, finish: Callable = lambda part: part, in_parallel: Map = map
) -> np.ndarray:
  """Convolves a map, with zeros around it.

  Args:
    x: [1, h, w, C].
    kernel: [1, 1, C, F] or [3, 3, C, F], of the map's type.
    finish: what is done with the result [1, rows, w, F], some rows at a time.
    in_parallel: applies a function to each of these parts.
  Returns:
    [1, h, w, F].
  """
  _, height, width, channels = x.shape
  features = kernel.shape[-1]
  rows_of = _rows_of_products if len(kernel) == 1 else _rows_of_convolution
  convolve_rows = rows_of(x[0], kernel)
  result = np.empty((1, height, width, features), x.dtype)

  def fill(rows: slice) -> None:
    result[:, rows] = finish(convolve_rows(rows)[None])

  for _ in in_parallel(fill, parts(height, width * max(channels, features))):
    pass
  return result


def _rows_of_products(x: np.ndarray, kernel: np.ndarray) -> Callable[[slice], np.ndarray]:
  """What convolves some rows of [h, w, C] with [1, 1, C, F]."""
  width, channels = x.shape[1:]
  matrix = kernel[0, 0]
  return lambda rows: (x[rows].reshape(-1, channels) @ matrix).reshape(-1, width, matrix.shape[1])


def _rows_of_convolution(x: np.ndarray, kernel: np.ndarray) -> Callable[[slice], np.ndarray]:
  """What convolves some rows of [h, w, C] with [3, 3, C, F]."""
  height, width, channels = x.shape
  matrices = np.einsum("pj,ijcf->ipcf", _OF_KERNEL, kernel).astype(x.dtype)
  columns = -(-width // _OUTPUTS)
  padded = np.zeros((height + SIDE - 1, columns * _OUTPUTS + SIDE - 1, channels), x.dtype)
  padded[1 : height + 1, 1 : width + 1] = x

  def convolve_rows(rows: slice) -> np.ndarray:
    count = rows.stop - rows.start
    result = np.empty((count, columns, _OUTPUTS, kernel.shape[-1]), x.dtype)
    _convolve_rows(padded[rows.start : rows.stop + SIDE - 1], matrices, result)
    return result.reshape(count, columns * _OUTPUTS, -1)[:, :width]

  return convolve_rows


def _convolve_rows(x: np.ndarray, matrices: np.ndarray, result: np.ndarray) -> None:
  """[rows + 2, 4 columns + 2, C], [3, 6, C, F] -> `result` [rows, columns, 4, F]."""
  rows, columns, _, features = result.shape
  stop = _OUTPUTS * (columns - 1) + 1
  products = []
  inputs = _transform([x[:, i : i + stop : _OUTPUTS] for i in range(_INPUTS)])
  for values, of_rows in zip(inputs, matrices.swapaxes(0, 1)):
    flat = values.reshape(-1, values.shape[-1])
    product = flat[: rows * columns] @ of_rows[0]
    for row in range(1, SIDE):
      product += flat[row * columns :][: len(product)] @ of_rows[row]
    products.append(product.reshape(rows, columns, features))
  _untransform(products, [result[:, :, i] for i in range(_OUTPUTS)])


def _transform(d: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Six neighbouring inputs -> the sums and differences that are multiplied."""
  odd = d[3] - d[1]
  odd *= 2
  even = d[4] - d[2]
  first = d[0] - d[2]
  first *= 4
  first += even
  last = d[5] - d[3]
  last -= odd
  last -= odd
  near_even = -4 * d[2]
  near_even += d[4]
  near_odd = -4 * d[1]
  near_odd += d[3]
  return [first, near_even + near_odd, near_even - near_odd, even + odd, even - odd, last]


def _untransform(m: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
  """Six products, which are spoilt -> four neighbouring outputs."""
  near, far = m[1] + m[2], m[3] + m[4]
  near_odd, far_odd = m[1], m[3]
  near_odd -= m[2]
  far_odd -= m[4]
  m[0][...] += near
  np.add(m[0], far, out=outputs[0])
  far *= 4
  np.add(near, far, out=outputs[2])
  far_odd *= 2
  np.add(near_odd, far_odd, out=outputs[1])
  far_odd *= 4
  far_odd += near_odd
  np.add(far_odd, m[5], out=outputs[3])
