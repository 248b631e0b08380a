"""The variable-rate model: block transforms, a small hyperprior and a parallel context model."""

import importlib
from typing import TYPE_CHECKING, Any

from cae_jax.models.context.settings import ContextSettings

if TYPE_CHECKING:
  from cae_jax.models.context.model import ContextModel, log_magnitude, start_from_klt

__all__ = ["ContextModel", "ContextSettings", "log_magnitude", "start_from_klt"]


def __getattr__(name: str) -> Any:
  if name in __all__:  # these bring JAX with them, which decoders do without
    return getattr(importlib.import_module("cae_jax.models.context.model"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
