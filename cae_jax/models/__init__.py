"""Networks and probabilities, in JAX and Flax, and in NumPy what codecs run of them."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cae_jax.errors import UsageError
from cae_jax.models.configuration import configured, settings

if TYPE_CHECKING:
  from cae_jax.models.base import Model, Network, init_params

__all__ = ["MODELS", "Model", "Network", "build_model", "init_params", "model_class", "settings"]

# Name, as in weights files -> module and class. The coder of a name is `codec.coders.NAME`.
MODELS: Mapping[str, str] = {
  "paper": "cae_jax.models.paper:PaperAutoencoder",
  "context": "cae_jax.models.context:ContextModel",
  "factorized": "cae_jax.models.factorized:FactorizedModel",
  "hyperprior": "cae_jax.models.hyperprior:HyperpriorModel",
  "lossless": "cae_jax.models.lossless.model:LosslessModel",
}


def model_class(name: Any) -> Any:
  """Returns the class of a model, a `Network`, imported when asked for.

  Raises:
    UsageError: an unknown model.
  """
  if name not in MODELS:
    raise UsageError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
  module, _, attribute = MODELS[name].partition(":")
  return getattr(importlib.import_module(module), attribute)


def build_model(config: Mapping[str, Any], dtype: Any = None) -> "Network":
  """Returns the network that a configuration describes.

  Args:
    config: JSON-able; "model" names one of `MODELS`, the rest are settings of that module. Those
      that are not given have their defaults, as in older weights files.
    dtype: of the network's computations; float32 if not given.
  Raises:
    UsageError: an unknown model or setting.
  """
  more = {} if dtype is None else {"dtype": dtype}
  return configured(model_class(config.get("model")), config, **more)


def __getattr__(name: str) -> Any:
  if name in __all__:  # these bring JAX with them, which decoders do without
    return getattr(importlib.import_module("cae_jax.models.base"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
