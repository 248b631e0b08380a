"""Learned image compression with convolutional autoencoders, in JAX and Flax."""

__version__ = "0.1.0"
