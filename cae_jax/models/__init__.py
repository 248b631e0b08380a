"""Networks and probabilities, in pure JAX and Flax."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cae_jax.models.context import ContextModel
from cae_jax.models.factorized import FactorizedModel
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.models.paper import PaperAutoencoder

Model = PaperAutoencoder | ContextModel | FactorizedModel | HyperpriorModel
MODELS: dict[str, type[Model]] = {
  "paper": PaperAutoencoder,
  "context": ContextModel,
  "factorized": FactorizedModel,
  "hyperprior": HyperpriorModel,
}


def build_model(config: Mapping[str, Any], dtype: jnp.dtype = jnp.float32) -> Model:
  """The network a configuration describes.

  Args:
    config: JSON-able; "model" names one of `MODELS`, and every field of that module is there.
    dtype: of the network's computations.
  Raises:
    ValueError: an unknown model.
  """
  name = config.get("model")
  if name not in MODELS:
    raise ValueError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
  module = MODELS[name]
  fields: dict[str, Any] = {field: config[field] for field in module.CONFIG_FIELDS}
  return module(dtype=dtype, **{k: _hashable(v) for k, v in fields.items()})


def init_params(model: Model, seed: int) -> Any:
  """The model's random parameters, the same on every device.

  Compiled without optimisation: on CPU, XLA takes 14 s to optimise the random generators of a
  network that then run for milliseconds.
  """
  x = jnp.zeros((1, model.multiple, model.multiple, 3))
  inputs = (x,) if isinstance(model, PaperAutoencoder) else (x, jnp.zeros(1))
  init = jax.jit(lambda key: model.init(key, *inputs)["params"])
  options: dict[str, Any] = (
    {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
  )
  return init.lower(jax.random.key(seed)).compile(options)(jax.random.key(seed))


def _hashable(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value
