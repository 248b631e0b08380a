"""The variable-rate model: block transforms, a small hyperprior and a parallel context model."""

from cae_jax.models.base import CodedOutput
from cae_jax.models.context.model import ContextModel, log_magnitude, start_from_klt

__all__ = ["CodedOutput", "ContextModel", "log_magnitude", "start_from_klt"]
