"""From trained parameters to what else a weights file holds: coding tables, integer networks."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cae_jax.codec.context import calibrate_context
from cae_jax.codec.factorized import calibrate_factorized
from cae_jax.codec.hyperprior import calibrate_hyperprior
from cae_jax.codec.paper import calibrate
from cae_jax.models import build_model
from cae_jax.models.context import ContextModel
from cae_jax.models.factorized import FactorizedModel
from cae_jax.models.hyperprior import HyperpriorModel


def calibrate_weights(
  config: Mapping[str, Any], params: Any, images: Iterable[np.ndarray]
) -> dict[str, Any]:
  """The tables of a model's weights.

  Args:
    config: of the weights, see `models.build_model`.
    params: trained.
    images: uint8 [H, W, 3]. Of the paper's model all training images, which its tables count; of
      the others a few, for the sizes of activations, with sides that are multiples of
      `model.multiple`.
  """
  model = build_model(config)
  match model:
    case ContextModel():
      return calibrate_context(model, params, images)
    case FactorizedModel():
      return calibrate_factorized(model, params, images)
    case HyperpriorModel():
      return calibrate_hyperprior(model, params, images)
    case _:
      return calibrate(model, params, config["preprocessing"], images, config["coding_bits"])
