"""What coders of entropy models share: networks and tables as arrays, and their calibration."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.coding.tables import tables_from_pmfs
from cae_jax.models.base import Model
from cae_jax.models.entropy import Pmfs
from cae_jax.models.exact.conditional import Networks, activation_maxima
from cae_jax.models.exact.integers import IntegerLayer


def channel_indexes(shape: tuple[int, ...]) -> np.ndarray:
  """Returns table indexes of [..., C] symbols that have one table for each channel."""
  return np.broadcast_to(np.arange(shape[-1]), shape)


def pmf_tables(pmfs: Pmfs) -> dict[str, np.ndarray]:
  """Returns the arrays of the `CodingTables` of some distributions."""
  rows, offsets = zip(*pmfs)
  return tables_from_pmfs(rows, offsets).to_arrays()


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


def largest_activations(
  model: Model, params: Any, images: Iterable[np.ndarray], tradeoffs: Sequence[float]
) -> dict[str, list[float]]:
  """Measures the largest magnitude of each layer in each stack, over images and trade-offs.

  Args:
    images: uint8 [H, W, 3], sides multiples of `model.multiple`.
  """
  maxima: dict[str, list[float]] = {}
  for image in images:
    for tradeoff in tradeoffs:
      found = _activation_maxima(
        model, params, image[None].astype(np.float32) / 255, jnp.full(1, tradeoff)
      )
      for name, sizes in found.items():
        maxima[name] = np.maximum(maxima.get(name, 0.0), [*map(float, sizes)]).tolist()
  return maxima


_activation_maxima = jax.jit(activation_maxima, static_argnums=0)
