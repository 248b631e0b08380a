"""Learned image compression with convolutional autoencoders, in JAX and Flax."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from cae_jax import backend as _backend  # has to know of every fork from now on
from cae_jax.errors import Error, MissingExtraError, UsageError

if TYPE_CHECKING:
  from cae_jax.api import compress, decode, decompress, encode, preview
  from cae_jax.codec.image import Codec
  from cae_jax.codec.info import info
  from cae_jax.coding.errors import BitstreamError
  from cae_jax.images.files import ImageError
  from cae_jax.weights import WeightsError

__all__ = [
  "BackendError",
  "BitstreamError",
  "Error",
  "ImageError",
  "MissingExtraError",
  "UsageError",
  "WeightsError",
  "compress",
  "decode",
  "decompress",
  "encode",
  "info",
  "load",
  "preview",
]
__version__ = "1.10.0"

BackendError = _backend.BackendError
# Imported when asked for: they bring NumPy, Pillow or Flax with them.
_LAZY = {
  "BitstreamError": "coding.errors",
  "ImageError": "images.files",
  "WeightsError": "weights",
  "compress": "api",
  "decode": "api",
  "decompress": "api",
  "encode": "api",
  "info": "codec.info",
  "preview": "api",
}


def load(name_or_path: str | os.PathLike | None = None) -> "Codec":
  """Makes a codec of trained weights: the shipped ones, others by name, or a file.

      codec = cae_jax.load()
      data = codec.compress(image, bpp=0.5)  # uint8 [H, W, 3] -> bytes
      image = codec.decompress(data)

  Raises:
    WeightsError: there are no such weights, or the file is damaged.
    BackendError: JAX is needed, and cannot work here.
  """
  from cae_jax import codec

  return codec.load(name_or_path)


def __getattr__(name: str) -> Any:
  if name in _LAZY:
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
