"""`FactorizedModel` as a coder."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cae_jax.codec.coders import programs
from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.codec.coders.base import Coded, OneRateCoder
from cae_jax.codec.coders.calibrating import pmf_tables
from cae_jax.coding import rans
from cae_jax.coding.tables import CodingTables
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models import build_model
from cae_jax.models.entropy import factorized_pmfs
from cae_jax.models.factorized import FactorizedModel
from cae_jax.weights import Weights


class Coder(OneRateCoder):
  """See `LatentCoder`: image -> y -> rounded -> coded by a table for each channel."""

  def __init__(self, weights: Weights):
    model = build_model(weights.config)
    assert isinstance(model, FactorizedModel)
    self.model = model
    self.channels = model.latent_channels
    self.stride = self.multiple = model.multiple
    # As far as that of `paper`: the transforms are the same.
    self.margin = 4 * (model.kernel_size // 2)
    self._params = programs.on_device(weights.params)
    self._prior = CodingTables.from_arrays(weights.table("prior"))

  def analyse(self, image: np.ndarray, *_: Any) -> np.ndarray:
    """Analyses uint8 [H, W, 3]: y [h, w, M] float32, before rounding."""
    image = pad_to_multiple(image, self.multiple)
    return np.asarray(programs.analyse(self.model, self._params, image))

  def encode(self, y: np.ndarray, rate_level: int = 0, *_: Any) -> Coded:
    """Encodes latents."""
    del rate_level
    symbols = np.rint(y).astype(np.int32)
    section = rans.encode(symbols, channel_indexes(symbols.shape), self._prior)
    return Coded(section, [symbols], symbols.astype(np.float32))

  def decode(
    self, section: bytes, shape: tuple[int, int], rate_level: int = 0, *_: Any
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes what `encode` has written; raises BitstreamError."""
    del rate_level
    indexes = channel_indexes((*shape, self.model.latent_channels))
    symbols = rans.decode(section, indexes, self._prior)
    return [symbols], symbols.astype(np.float32)

  def synthesise(self, y_hat: np.ndarray, rate_level: int = 0, *_: Any) -> np.ndarray:
    """Synthesises y_hat [h, w, M]: uint8 [h * stride, w * stride, 3]."""
    del rate_level
    x = programs.synthesise(self.model, self._params, y_hat, programs.ONE_RATE)
    return np.asarray(x)


def calibrate(model: FactorizedModel, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns coding tables of trained parameters, as weights files keep them."""
  del model, images
  return {"prior": pmf_tables(factorized_pmfs(params["prior"]))}
