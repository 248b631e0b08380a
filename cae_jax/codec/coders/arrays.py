"""What coders of entropy models share: their networks as arrays of a weights file."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cae_jax.models.exact.conditional import Networks
from cae_jax.models.exact.integers import IntegerLayer


def channel_indexes(shape: tuple[int, ...]) -> np.ndarray:
  """Returns table indexes of [..., C] symbols that have one table for each channel."""
  return np.broadcast_to(np.arange(shape[-1]), shape)


def networks_to_arrays(networks: Networks) -> dict[str, Any]:
  """Writes integer networks as small integer arrays, for a weights file."""
  return {
    name: {
      str(i): {
        "weights": layer.weights.astype(np.int16),
        "bias": layer.bias.astype(np.int32),
        "shift": layer.shift.astype(np.int8),
      }
      for i, layer in enumerate(layers)
    }
    for name, layers in networks.items()
  }


def networks_from_arrays(arrays: Mapping[str, Any]) -> Networks:
  """Reads the networks of `networks_to_arrays`."""
  return {
    name: [
      IntegerLayer(
        weights=layers[str(i)]["weights"].astype(np.float32),
        bias=layers[str(i)]["bias"].astype(np.float64),
        shift=layers[str(i)]["shift"].astype(np.int32),
      )
      for i in range(len(layers))
    ]
    for name, layers in arrays.items()
  }
