"""From trained parameters of a `ContextModel` to its integer networks and coding tables."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cae_jax.codec.coders.arrays import networks_to_arrays
from cae_jax.codec.coders.calibrating import largest_activations, pmf_tables
from cae_jax.codec.coders.context.coder import Coder
from cae_jax.codec.info import RATE_LEVELS
from cae_jax.models import settings
from cae_jax.models.context import ContextModel
from cae_jax.models.context.exact import quantize_networks
from cae_jax.models.entropy import factorized_pmfs, magnitude_pmfs
from cae_jax.weights import Weights

_COUNTED_LEVELS = tuple(RATE_LEVELS * eighth // 8 for eighth in (1, 3, 5, 7))
_ASSUMED_COUNT = 1000.0


def calibrate(model: ContextModel, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns integer networks and coding tables of trained parameters, as weights files keep them.

  Sizes of symbols are not quite distributed as training assumes: they are counted.

  Args:
    images: uint8 [H, W, 3], for the sizes of activations and the magnitudes of symbols; sides
      multiples of `model.multiple`.
  """
  images = list(images)
  low, high = model.tradeoff_range
  maxima = largest_activations(model, params, images, (low, (low + high) / 2, high))
  tables = {
    "networks": networks_to_arrays(quantize_networks(model, params, maxima)),
    "sizes": _magnitude_tables(magnitude_pmfs()),
    "prior": pmf_tables(factorized_pmfs(params["prior"])),
  }
  config = {"model": "context", **settings(model)}
  coder = Coder(Weights("", config, params, tables, {}))
  counts = np.sum([_count_magnitudes(coder, image) for image in images], axis=0)
  assumed = zip(magnitude_pmfs(), counts, strict=True)
  return tables | {"sizes": _magnitude_tables(counted_pmf(pmf, row) for pmf, row in assumed)}


def counted_pmf(assumed: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Returns a distribution by its counts, as if the assumed one had been seen 1,000 times before.

  Args:
    assumed: [L], less than one in all.
    counts: [L or more]; those of other symbols are in the (L + 1)-th.
  """
  size = len(assumed)
  return (_ASSUMED_COUNT * assumed + counts[:size]) / (_ASSUMED_COUNT + counts.sum())


def _count_magnitudes(coder: Coder, image: np.ndarray) -> np.ndarray:
  y = coder.analyse(image)
  return np.sum([coder.encoder.count_magnitudes(y, level) for level in _COUNTED_LEVELS], axis=0)


def _magnitude_tables(pmfs: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
  return pmf_tables([(pmf, 0) for pmf in pmfs])
