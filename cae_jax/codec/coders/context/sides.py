"""Sides of latents: those of z, and those that programs are compiled for."""

import numpy as np

HYPER = 4  # latent positions across and down that a position of z stands for
# Latents are padded to one of these sides, so that all images share a few compiled programs. The
# symbols do not depend on it.
_SIDES = (16, 32, 48, 64, 96)


def hyper_side(side: int) -> int:
  """Returns the side of z for a side of y."""
  return -(-side // HYPER)


def padded_side(side: int) -> int:
  """Returns the side that latents are padded to."""
  return next((s for s in _SIDES if s >= side), -(-side // _SIDES[0]) * _SIDES[0])


def padded(y: np.ndarray) -> np.ndarray:
  """Pads latents [h, w, M] to `padded_side`s, zeros added below and to the right."""
  return np.pad(y, [*((0, padded_side(side) - side) for side in y.shape[:2]), (0, 0)])
