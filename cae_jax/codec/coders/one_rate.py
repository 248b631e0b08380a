"""What models of one rate, without coarse latents or looks, have in common as coders."""

from typing import Any

import numpy as np

from cae_jax.codec.coders import programs
from cae_jax.codec.coders.base import LatentCoder
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.weights import Weights


class OneRateCoder:
  """Half of a `LatentCoder`: the transforms, and what such models are not asked for.

  Attributes:
    model: a `Model` of one rate, with what the coder asks of it beside.
    stride, multiple, channels, margin: of the model.
  """

  rate_levels = finest_level = 0
  coarse_parts = 0
  works_on_host = False

  def __init__(self, model: Any, weights: Weights):
    self.model, self.channels = model, model.latent_channels
    self.stride, self.multiple, self.margin = model.stride, model.multiple, model.margin
    self._params = programs.on_device(weights.params)

  def analyse(self, image: np.ndarray, *_: Any) -> np.ndarray:
    """Analyses uint8 [H, W, 3]: y [h, w, M] float32, before rounding."""
    height, width = (-(-side // self.stride) for side in image.shape[:2])
    y = programs.analyse(self.model, self._params, pad_to_multiple(image, self.multiple))
    return np.asarray(y)[:height, :width]

  def synthesise(self, y_hat: np.ndarray, *_: Any) -> np.ndarray:
    """Synthesises y_hat [h, w, M] float32: uint8 [h * stride, w * stride, 3]."""
    height, width = (self.stride * side for side in y_hat.shape[:2])
    y_hat = pad_to_multiple(y_hat, self.multiple // self.stride)
    x = programs.synthesise(self.model, self._params, y_hat, programs.ONE_RATE)
    return np.asarray(x)[:height, :width]

  def refine(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """Raises NotImplementedError, as all that such models are not asked for."""
    raise NotImplementedError

  def steps(self, *arguments: Any) -> np.ndarray:
    """Raises NotImplementedError."""
    raise NotImplementedError

  def decode_coarse(self, *arguments: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Raises NotImplementedError."""
    raise NotImplementedError

  def preview(self, *arguments: Any) -> np.ndarray:
    """Raises NotImplementedError."""
    raise NotImplementedError

  def looking(self, *arguments: Any) -> LatentCoder:
    """Raises NotImplementedError."""
    raise NotImplementedError
