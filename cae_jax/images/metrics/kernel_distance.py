"""The kernel distance (KID) of two sets of pictures: how far what is typical of them differs.

Binkowski et al. 2018 (arXiv:1801.01401): the squared maximum mean discrepancy of features of a
network, by a polynomial kernel of degree three. A picture is not held against its own original,
but many pictures against many; so it says whether they look natural, not whether they are right.
"""

import numpy as np

PATCH_SIDE = 128
_ROWS = 1024  # of a matrix of kernels at a time


def patches(x: np.ndarray, side: int = PATCH_SIDE) -> np.ndarray:
  """Cuts a picture on two grids, as Mentzer et al. 2020 (HiFiC, arXiv:2006.09965) do.

  The second grid begins half a patch lower and farther right. Patches that do not fit are left out.

  Args:
    x: [H, W, C].
    side: of a patch, in pixels.
  Returns:
    [N, side, side, C]; none of a picture that is smaller than a patch.
  """
  height, width, channels = x.shape
  parts = [np.empty((0, side, side, channels), x.dtype)]
  for start in (0, side // 2):
    rows, columns = max(height - start, 0) // side, max(width - start, 0) // side
    grid = x[start : start + rows * side, start : start + columns * side]
    grid = grid.reshape(rows, side, columns, side, channels).swapaxes(1, 2)
    parts.append(grid.reshape(-1, side, side, channels))
  return np.concatenate(parts)


def kid(features: np.ndarray, features_hat: np.ndarray) -> float:
  """Estimates the kernel distance of originals and decoded pictures, without a bias.

  The U-statistic of Gretton et al. 2012, equation 4, with k(a, b) = (a · b / C + 1)^3: the mean of
  k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) over all pairs i != j. A patch and what a
  codec made of it depend on each other, so these are not compared; equal sets are at 0 exactly.

  Args:
    features: [N, C] float, N >= 2, of patches of the originals.
    features_hat: of the decoded ones, in the same order.
  Returns:
    0 or about 0 for equal distributions (it may be negative), more the farther they are.
  Raises:
    ValueError: the shapes differ, or there are fewer than two.
  """
  if features.shape != features_hat.shape or features.ndim != 2 or len(features) < 2:
    raise ValueError(
      f"expected features [N, C] of two or more patches on both sides, got {features.shape} and "
      f"{features_hat.shape}"
    )
  x, y = (np.asarray(values, np.float64) for values in (features, features_hat))
  total = 0.0
  for start in range(0, len(x), _ROWS):
    rows = slice(start, start + _ROWS)
    terms = _kernel(x[rows], x) + _kernel(y[rows], y) - _kernel(x[rows], y) - _kernel(y[rows], x)
    itself = np.arange(len(terms))
    terms[itself, start + itself] = 0
    total += terms.sum()
  return float(total / (len(x) * (len(x) - 1)))


def _kernel(x, y):
  return (x @ y.T / x.shape[1] + 1) ** 3
