"""The blur of SSIMULACRA2: a Gaussian of three cosines, at once or by a recursion.

Charalampidis 2016, "Recursive Implementation of the Gaussian Filter Using Truncated Cosine
Functions". The program runs the recursion in float32. Its poles lie on the unit circle, so rounding
errors add up along a row, and where a picture is smooth and bright its score loses by them: 0.1 at
a score of 80, 0.5 where a third of it is white sky. Scores that are to compare need them as well.
"""

import numpy as np

from cae_jax.images.metrics import filters

_SIGMA, _RADIUS = 1.5, 5
MARGIN = _RADIUS - 1  # rows and columns that a blurred pixel sees to every side
_FREQUENCIES = np.array([1, 3, 5]) * np.pi / (2 * _RADIUS)
# The program's horizontal pass makes four steps of the recursion in one, its vertical pass one.
_STEPS_ALONG_ROWS, _STEPS_ALONG_COLUMNS = 4, 1


def _amplitudes_and_window():
  """Amplitudes [3] and the window [9] that they make.

  As close to the Gaussian's spectrum as may be with its mass and its variance.
  """
  offsets = np.arange(1 - _RADIUS, _RADIUS)
  cosines = np.cos(np.outer(offsets, _FREQUENCIES))
  ideal = np.exp(-np.square(_SIGMA * _FREQUENCIES) / 2) / _RADIUS
  moments = np.stack([cosines.sum(axis=0), np.square(offsets) @ cosines])
  amplitudes = ideal + np.linalg.pinv(moments) @ (np.array([1, _SIGMA**2]) - moments @ ideal)
  return amplitudes, cosines @ amplitudes


_AMPLITUDES, _WINDOW = _amplitudes_and_window()


def blur(xp, x):
  """Blurs [..., H, W] to the same size by the window of 9 x 9; what lies outside counts as zero.

  Args:
    xp: the namespace of `x`, NumPy or jax.numpy.
    x: [..., H, W] float.
  """
  return filters.blur(xp, xp.pad(x, [(0, 0)] * (x.ndim - 2) + [(MARGIN, MARGIN)] * 2), _WINDOW)


def blur_recursively(x):
  """Computes the same in float32 as the program does, with its rounding errors: for scores.

  Args:
    x: [..., H, W] float32 JAX array.
  """
  import jax.numpy as jnp

  rows = jnp.moveaxis(x, (-1, -2), (0, 1))
  columns = jnp.moveaxis(_recur(rows, _STEPS_ALONG_ROWS), 1, 0)
  return jnp.moveaxis(_recur(columns, _STEPS_ALONG_COLUMNS), (0, 1), (-2, -1))


def _recur(x, block):
  """Along the first axis of [L, ...]: y[n] = gain s[n] + 2 cos(f) y[n-1] - y[n-2], summed over f.

  s[n] = x[n - radius - 1] + x[n + radius - 1]. `block` steps are computed from the two outputs
  before them, by the impulse response of the recursion.
  """
  import jax
  import jax.numpy as jnp

  lead = MARGIN  # steps before the first output
  count = -(-(len(x) + lead) // block)
  padding = [(2 * _RADIUS, count * block)] + [(0, 0)] * (x.ndim - 1)
  padded = jnp.pad(x, padding)
  inputs = padded[: count * block] + padded[2 * _RADIUS :][: count * block]
  gain, response = _coefficients(block, x.ndim - 1)

  def step(state, s):
    before, before_that = state
    outputs = []
    for i in range(block):
      y = gain * response[i] * s[0]
      for j in range(1, i + 1):
        y = gain * response[i - j] * s[j] + y
      outputs.append(response[i + 1] * before + (y - response[i] * before_that))
    state = (outputs[-1], outputs[-2] if block > 1 else before)
    return state, jnp.stack([first + (second + third) for first, second, third in outputs])

  zeros = jnp.zeros((3, *x.shape[1:]), x.dtype)
  _, y = jax.lax.scan(step, (zeros, zeros), inputs.reshape(count, block, *x.shape[1:]))
  return y.reshape(-1, *x.shape[1:])[lead : lead + len(x)]


def _coefficients(block, axes):
  """Gains [3, 1, ...] and `block` + 1 values of the impulse response, of each cosine."""
  shape = (3,) + (1,) * axes
  gain = -_AMPLITUDES * np.cos(_FREQUENCIES * (_RADIUS + 1))
  response = [np.ones(3), 2 * np.cos(_FREQUENCIES)]
  while len(response) <= block:
    response.append(response[1] * response[-1] - response[-2])
  return np.reshape(gain, shape), [np.reshape(value, shape) for value in response]
