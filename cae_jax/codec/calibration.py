"""From trained parameters to what else a weights file holds: coding tables, integer networks."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from cae_jax.codec.arrays import on_device
from cae_jax.codec.context import calibrate_context
from cae_jax.codec.factorized import calibrate_factorized
from cae_jax.codec.hyperprior import calibrate_hyperprior
from cae_jax.codec.paper import calibrate
from cae_jax.models import build_model
from cae_jax.models.context import ContextModel
from cae_jax.models.factorized import FactorizedModel
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.weights import Weights


def calibrate_weights(
  name: str,
  config: Mapping[str, Any],
  params: Any,
  images: Iterable[np.ndarray],
  card: Mapping[str, Any] | None = None,
) -> Weights:
  """Weights that a codec can be made from (`codec.from_weights`) or that can be saved.

  Args:
    name, config, card: of the weights; the config as for `models.build_model`.
    params: trained; kept as they are, dtype and all.
    images: uint8 [H, W, 3]. Of the paper's model all training images, which its tables count; of
      the others a few, for the sizes of activations, with sides that are multiples of
      `model.multiple`.
  """
  params = jax.device_get(params)
  return Weights(name, config, params, _tables(config, on_device(params), images), card or {})


def _tables(config, params, images) -> dict[str, Any]:
  model = build_model(config)
  match model:
    case ContextModel():
      return calibrate_context(config, params, images)
    case FactorizedModel():
      return calibrate_factorized(model, params, images)
    case HyperpriorModel():
      return calibrate_hyperprior(model, params, images)
    case _:
      return calibrate(model, params, config["preprocessing"], images, config["coding_bits"])
