"""From trained parameters to what else a weights file holds: coding tables, integer networks."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from cae_jax.codec.coders import module_of
from cae_jax.codec.coders.programs import on_device
from cae_jax.models import build_model
from cae_jax.weights import Weights, WeightsError


def calibrate_weights(
  name: str,
  config: Mapping[str, Any],
  params: Any,
  images: Iterable[np.ndarray],
  card: Mapping[str, Any] | None = None,
) -> Weights:
  """Makes weights that a codec can be made from (`codec.from_weights`) or that can be saved.

  Args:
    name, config, card: of the weights; the config as for `models.build_model`.
    params: trained; kept as they are, dtype and all.
    images: uint8 [H, W, 3]. Of the paper's model all training images, which its tables count; of
      the others a few, for the sizes of activations or for coefficients, with sides that are
      multiples of `model.multiple`.
  Raises:
    WeightsError: a parameter is not finite.
    UsageError: parameters of a lossless model are too large for exact sums.
  """
  params = jax.device_get(params)
  for path, array in flatten_dict(params, sep="/").items():
    if not np.isfinite(array).all():
      raise WeightsError(f"parameter {path} is not finite in {array.dtype}; these are no weights")
  calibrate = module_of(config["model"]).calibrate
  tables = calibrate(build_model(config), on_device(params), images)
  return Weights(name, config, params, tables, card or {})
