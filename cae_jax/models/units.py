"""What latents are counted in: their scales, and the steps and lmbda of trade-offs."""

import numpy as np

SCALE_FLOOR = 0.11  # below it, all mass is in one bin to within 1e-5
SCALE_CEILING = 256.0
SCALE_LEVELS = 64

LMBDA_UNIT = 0.009  # a typical lmbda, of rate_bpp + lmbda * MSE (0-255)
# A uniform quantiser of this step over the root of lmbda is about the best at its trade-off: with
# the rate of a third of a bit a sample, dR/dD = -lmbda at D = step^2 / 12.
STEP = 5.1


def scale_levels() -> np.ndarray:
  """Returns the scales that latents are coded with: float64 [64], evenly spaced in logarithm."""
  return np.geomspace(SCALE_FLOOR, SCALE_CEILING, SCALE_LEVELS)
