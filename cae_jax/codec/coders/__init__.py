"""One coder for each model, by its name: `Coder`, and `calibrate` for what its weights need."""

import importlib
from typing import Any

from cae_jax.errors import UsageError
from cae_jax.models import MODELS
from cae_jax.weights import Weights, WeightsError


def module_of(model: str) -> Any:
  """Returns the module of a model's coder, imported when asked for.

  It has `Coder(weights)`, a `base.LatentCoder` (of the lossless model, which has no latents, a
  `lossless.tile.TileCoder`), and `calibrate(model, params, images)`, which returns the tables of
  its weights.
  """
  return importlib.import_module(f"{__name__}.{model}")


def make_coder(weights: Weights) -> Any:
  """Returns the coder of weights.

  Raises:
    WeightsError: this version does not know their model, or they are not whole.
  """
  model = str(weights.config.get("model"))
  if model not in MODELS:
    raise WeightsError(f"unknown model {model!r}; expected one of {', '.join(MODELS)}")
  try:
    return module_of(model).Coder(weights)
  except UsageError as error:
    raise WeightsError(f"the weights {weights.name!r}: {error}") from error
