"""Networks and probabilities, in pure JAX and Flax."""

import importlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from cae_jax.errors import UsageError
from cae_jax.models.base import Model, init_params, setting_fields, settings

__all__ = ["MODELS", "Model", "build_model", "init_params", "model_class", "settings"]

# Name, as in weights files -> module and class. The coder of a name is `codec.coders.NAME`.
MODELS: Mapping[str, str] = {
  "paper": "cae_jax.models.paper:PaperAutoencoder",
  "context": "cae_jax.models.context:ContextModel",
  "factorized": "cae_jax.models.factorized:FactorizedModel",
  "hyperprior": "cae_jax.models.hyperprior:HyperpriorModel",
}


def model_class(name: Any) -> Any:
  """Returns the class of a model, a `Model`, imported when asked for.

  Raises:
    UsageError: an unknown model.
  """
  if name not in MODELS:
    raise UsageError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
  module, _, attribute = MODELS[name].partition(":")
  return getattr(importlib.import_module(module), attribute)


def build_model(config: Mapping[str, Any], dtype: Any = jnp.float32) -> Model:
  """Returns the network that a configuration describes.

  Args:
    config: JSON-able; "model" names one of `MODELS`, the rest are settings of that module. Those
      that are not given have their defaults, as in older weights files.
    dtype: of the network's computations.
  Raises:
    UsageError: an unknown model or setting.
  """
  module = model_class(config.get("model"))
  fields: dict[str, Any] = {k: _hashable(v) for k, v in config.items() if k != "model"}
  unknown = sorted(fields.keys() - setting_fields(module).keys())
  if unknown:
    raise UsageError(
      f"the model {config['model']!r} has no setting {', '.join(unknown)}; expected some of "
      f"{', '.join(setting_fields(module))}. Weights of a newer version?"
    )
  return module(dtype=dtype, **fields)


def _hashable(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value
