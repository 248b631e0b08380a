"""`ContextModel` as a coder. Only what refines or needs an accelerator imports JAX."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from cae_jax.codec.coders.context.coder import Coder

if TYPE_CHECKING:
  from cae_jax.models.context import ContextModel

__all__ = ["Coder", "calibrate"]


def calibrate(model: "ContextModel", params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns integer networks and coding tables of trained parameters; see `calibration`."""
  from cae_jax.codec.coders.context import calibration

  return calibration.calibrate(model, params, images)
