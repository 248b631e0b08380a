"""Images to bytes and back: where networks, tables and the container meet."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from cae_jax import backend
from cae_jax.codec.info import DEFAULT_MAX_PIXELS, Info, info

if TYPE_CHECKING:
  from cae_jax.codec.calibration import calibrate_weights
  from cae_jax.codec.coders.base import Coded, LatentCoder
  from cae_jax.codec.decoded import Decoded
  from cae_jax.codec.encoding import Encoded
  from cae_jax.codec.image import Codec
  from cae_jax.codec.lossless.image import LosslessCodec
  from cae_jax.weights import Weights
  from cae_jax.weights.look import Look

__all__ = [
  "DEFAULT_MAX_PIXELS",
  "Codec",
  "Coded",
  "Decoded",
  "Encoded",
  "Info",
  "LatentCoder",
  "LosslessCodec",
  "calibrate_weights",
  "from_weights",
  "info",
  "load",
]

# Imported when asked for: they take time, or bring JAX with them.
_LAZY = {
  "Codec": "image",
  "Coded": "coders.base",
  "Decoded": "decoded",
  "Encoded": "encoding",
  "LatentCoder": "coders.base",
  "LosslessCodec": "lossless.image",
  "calibrate_weights": "calibration",
}


def load(name_or_path: str | os.PathLike | None = None) -> Any:
  """Makes a codec of trained weights: a `Codec`, or of a lossless model a `LosslessCodec`.

  With NAME.safetensors goes the look in NAME.look.safetensors, if that lies beside it.

  Args:
    name_or_path: the name of shipped weights, or a weights file; the default ones if not given.
  Raises:
    WeightsError: there are none of that name, or the file is missing, damaged, or of a model that
      this version does not know.
    BackendError: JAX is needed, and cannot work here.
  """
  from cae_jax.weights import load_weights
  from cae_jax.weights.look import look_of
  from cae_jax.weights.shipped import find

  path = find(name_or_path)
  return from_weights(load_weights(path), look_of(path))


def from_weights(weights: "Weights", look: "Look | None" = None) -> Any:
  """Makes a codec of weights in memory, and of their look if they have one, as `load`.

  Raises:
    WeightsError: their model is not known, or the look is that of other weights.
    BackendError: JAX is needed and cannot work here, or NumPy's products are not exact.
  """
  if weights.config.get("model") == "lossless":
    from cae_jax.codec.lossless.image import LosslessCodec

    return LosslessCodec(weights)
  from cae_jax.codec.coders import make_coder
  from cae_jax.codec.image import Codec

  coder = make_coder(weights)
  if not coder.works_on_host:
    backend.require()
  return Codec(weights, coder, look)


def __getattr__(name: str) -> Any:
  if name in _LAZY:
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
