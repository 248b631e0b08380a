"""Means and scales of conditional distributions in integers: what integer networks end in."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cae_jax.models.exact.integers import IntegerLayer
from cae_jax.models.units import SCALE_CEILING, SCALE_FLOOR, SCALE_LEVELS

FRACTION_BITS = 4  # of means and decoded latents: they count in sixteenths of a step
HEADROOM = 2.0  # of activations, over the largest that calibration saw
MEAN_UNIT = 2.0**-FRACTION_BITS
INDEX_BITS = 8  # below an index of the scale tables
LOG_SCALE_UNIT = np.log(SCALE_CEILING / SCALE_FLOOR) / (SCALE_LEVELS - 1) / 2**INDEX_BITS

# name of the stack ("hyper_synthesis", "context_0", ...) -> its layers
Networks = dict[str, list[IntegerLayer]]


def scales_from_floor(params: Mapping[str, Any], channels: int) -> dict[str, np.ndarray]:
  """Changes a stack's parameters: outputs ln(scale / floor) in place of ln(scale).

  Args:
    params: of an `EntropyStack` whose outputs are the means of some channels and, after them, the
      logarithms of their scales.
    channels: C, how many.
  """
  params = {name: np.asarray(value) for name, value in params.items()}
  last = max(name for name in params if name.startswith("bias_"))
  params[last] = params[last].copy()
  params[last][0, channels:] -= np.log(SCALE_FLOOR)
  return params


def means_and_indexes(outputs: np.ndarray, wider: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Reads what a stack of `scales_from_floor` says of its channels.

  Args:
    outputs: [..., 2C] integers, the last C in units of `LOG_SCALE_UNIT`.
    wider: what is added to these.
  Returns:
    means [..., C] int32 in the network's unit, and uint8 indexes of the scale tables.
  """
  means, scales = np.split(outputs.astype(np.int32), 2, axis=-1)
  half = 1 << (INDEX_BITS - 1)
  indexes = np.clip((scales + (wider + half)) >> INDEX_BITS, 0, SCALE_LEVELS - 1)
  return means, indexes.astype(np.uint8)
