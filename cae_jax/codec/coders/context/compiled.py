"""What of the coder JAX compiles: refinement, and the transforms on an accelerator."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cae_jax.codec.coders import programs
from cae_jax.codec.coders.context.passes import Passes
from cae_jax.codec.coders.context.refine import refine
from cae_jax.codec.coders.context.sides import padded, padded_side
from cae_jax.images.tiling import pad_to
from cae_jax.models import build_model
from cae_jax.models.context import ContextModel
from cae_jax.models.context.synthesis import BLOCK


class Compiled:
  """The half of `Coder` that needs JAX.

  Attributes:
    model: the network.
    params: its parameters, on the device.
  """

  def __init__(
    self, config: Mapping[str, Any], params: Mapping[str, Any], passes: Passes, dtype: Any = None
  ):
    """`config` and `params` are of weights, `passes` of the same; `dtype` is of the transforms."""
    model = build_model(config, dtype)
    assert isinstance(model, ContextModel)
    self.model = model
    self.params = programs.on_device(params)
    self._passes = passes

  def analyse(self, image: np.ndarray) -> np.ndarray:
    """Analyses uint8 [H, W, 3]: y [h, w, M] float32 in grey levels, h = ceil(H / 16)."""
    height, width = (-(-side // BLOCK) for side in image.shape[:2])
    x = pad_to(image, BLOCK * padded_side(height), BLOCK * padded_side(width))
    return np.asarray(programs.analyse(self.model, self.params, x))[:height, :width]

  def refine(
    self, image: np.ndarray, steps: np.ndarray, rate_level: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Makes latents in steps [h, w, M] better for a rate level, and finds their aims: `refine`."""
    height, width, _ = steps.shape
    tradeoff = self._passes.tradeoffs(rate_level)
    found = refine(self.model, self.params, image, padded(steps), tradeoff)
    refined, aim = (latents[:height, :width] for latents in found)
    return refined, aim

  def synthesise(self, y_hat: np.ndarray, rate_level: int) -> np.ndarray:
    """Synthesises y_hat [h, w, M] in steps: uint8 [16h, 16w, 3]."""
    height, width = y_hat.shape[:2]
    # Beyond the border is more of the same: zeros, a grey, would show at its edges.
    y_hat = pad_to(y_hat, padded_side(height), padded_side(width))
    tradeoff = self._passes.tradeoffs(rate_level)
    x = np.asarray(programs.synthesise(self.model, self.params, y_hat, tradeoff))
    return x[: BLOCK * height, : BLOCK * width]
