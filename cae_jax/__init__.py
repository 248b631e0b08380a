"""Learned image compression with convolutional autoencoders, in JAX and Flax."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from cae_jax.codec.image import Codec

__version__ = "0.1.0"


def load(name_or_path: str | os.PathLike | None = None) -> "Codec":
  """A codec from trained weights: the shipped ones, others by name, or a file.

      codec = cae_jax.load()
      data = codec.compress(image, bpp=0.5)  # uint8 [H, W, 3] -> bytes
      image = codec.decompress(data)

  Raises:
    WeightsError: there are no such weights, or the file is damaged.
  """
  from cae_jax import codec

  return codec.load(name_or_path)
