"""The mean-scale hyperprior (Minnen et al. 2018), a baseline of one rate."""

from cae_jax.models.hyperprior.model import HyperpriorModel

__all__ = ["HyperpriorModel"]
