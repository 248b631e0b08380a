"""`FactorizedModel` as a coder, and any other model whose latents are rounded as they are, with a
`FactorizedPrior` named "prior".
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.calibrating import pmf_tables
from cae_jax.codec.coders.one_rate import OneRateCoder
from cae_jax.coding import rans
from cae_jax.coding.tables import CodingTables
from cae_jax.models import Model, build_model
from cae_jax.models.entropy import factorized_pmfs
from cae_jax.weights import Weights


class Coder(OneRateCoder):
  """See `LatentCoder`: image -> y -> rounded -> coded by a table for each channel."""

  def __init__(self, weights: Weights):
    super().__init__(build_model(weights.config), weights)
    self._prior = CodingTables.from_arrays(weights.table("prior"))

  def encode(self, y: np.ndarray, *_: Any) -> Coded:
    """Encodes latents."""
    symbols = np.rint(y).astype(np.int32)
    section = rans.encode(symbols, channel_indexes(symbols.shape), self._prior)
    return Coded(section, [symbols], symbols.astype(np.float32))

  def decode(
    self, section: bytes, shape: tuple[int, int], *_: Any
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes what `encode` has written; raises BitstreamError."""
    indexes = channel_indexes((*shape, self.channels))
    symbols = rans.decode(section, indexes, self._prior)
    return [symbols], symbols.astype(np.float32)


def calibrate(model: Model, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns coding tables of trained parameters, as weights files keep them."""
  del model, images
  return {"prior": pmf_tables(factorized_pmfs(params["prior"]))}
