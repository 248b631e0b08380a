"""What the calibrations of coders share: sizes of activations, tables of distributions."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.coding.tables import tables_from_pmfs
from cae_jax.models import Model
from cae_jax.models.entropy import Pmfs
from cae_jax.models.exact.stack import activation_maxima


def pmf_tables(pmfs: Pmfs) -> dict[str, np.ndarray]:
  """Returns the arrays of the `CodingTables` of some distributions."""
  rows, offsets = zip(*pmfs)
  return tables_from_pmfs(rows, offsets).to_arrays()


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
