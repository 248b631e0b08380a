"""`HyperpriorModel` as a coder: the same symbols on every machine."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from cae_jax.codec.coders import programs
from cae_jax.codec.coders.arrays import (
  channel_indexes,
  networks_from_arrays,
  networks_to_arrays,
)
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.calibrating import largest_activations, pmf_tables
from cae_jax.codec.coders.one_rate import OneRateCoder
from cae_jax.coding import rans
from cae_jax.coding.tables import CodingTables
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models import build_model
from cae_jax.models.entropy import factorized_pmfs, gaussian_pmfs
from cae_jax.models.exact.conditional import FRACTION_BITS
from cae_jax.models.hyperprior import HyperpriorModel
from cae_jax.models.hyperprior.exact import exact_conditional, quantize_hyper_synthesis
from cae_jax.weights import Weights

_HYPER = 4  # latent positions across and down that a position of z stands for


class Coder(OneRateCoder):
  """See `LatentCoder`.

  image -> y -> z -> rounded, coded -> integer hyper-synthesis -> means, scales
            y -> rounded around the means -> coded by the scales
  """

  def __init__(self, weights: Weights):
    model = build_model(weights.config)
    assert isinstance(model, HyperpriorModel)
    super().__init__(model, weights)
    self._layers = networks_from_arrays(weights.table("networks"))["hyper_synthesis"]
    self._gaussians = CodingTables.from_arrays(weights.table("gaussian"))
    self._prior = CodingTables.from_arrays(weights.table("prior"))

  def encode(self, y: np.ndarray, *_: Any) -> Coded:
    """Encodes latents."""
    z = _hyper_analyse(self.model, self._params, pad_to_multiple(y, _HYPER))
    z_hat = np.rint(np.asarray(z)).astype(np.int32)
    means, indexes = self._means_and_indexes(z_hat, y.shape[:2])
    symbols = np.rint(y - _in_steps(means)).astype(np.int32)
    parts = [
      (z_hat, channel_indexes(z_hat.shape), self._prior),
      (symbols, indexes, self._gaussians),
    ]
    return Coded(rans.encode_parts(parts), [z_hat, symbols], _latents(symbols, means))

  def decode(
    self, section: bytes, shape: tuple[int, int], *_: Any
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes what `encode` has written; raises BitstreamError."""
    decoder = rans.Decoder(section)
    z_shape = (*(-(-side // _HYPER) for side in shape), self.model.hidden_channels)
    z_hat = decoder.decode(channel_indexes(z_shape), self._prior)
    means, indexes = self._means_and_indexes(z_hat, shape)
    symbols = decoder.decode(indexes, self._gaussians)
    decoder.finish()
    return [z_hat, symbols], _latents(symbols, means)

  def _means_and_indexes(self, z_hat, shape) -> tuple[np.ndarray, np.ndarray]:
    """For h x w latents: means in sixteenths, int32, and indexes of the scale tables."""
    height, width = shape
    means, indexes = exact_conditional(self.model, self._layers, z_hat)
    return means[:height, :width], indexes[:height, :width]


@functools.partial(jax.jit, static_argnums=0)
def _hyper_analyse(model: HyperpriorModel, params: Any, y: jax.Array) -> jax.Array:
  return programs.apply(model, params, "hyper_analyse", y[None])[0]


def calibrate(model: HyperpriorModel, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns integer network and coding tables of trained parameters, as weights files keep them.

  Args:
    images: uint8 [H, W, 3], for the sizes of activations; padded as need be.
  """
  padded = (pad_to_multiple(image, model.multiple) for image in images)
  maxima = largest_activations(model, params, padded, (0.0,))
  return {
    "networks": networks_to_arrays(quantize_hyper_synthesis(model, params, maxima)),
    "gaussian": pmf_tables(gaussian_pmfs()),
    "prior": pmf_tables(factorized_pmfs(params["prior"])),
  }


def _in_steps(sixteenths: np.ndarray) -> np.ndarray:
  return sixteenths * np.float32(2.0**-FRACTION_BITS)


def _latents(symbols: np.ndarray, means: np.ndarray) -> np.ndarray:
  return _in_steps((symbols << FRACTION_BITS) + means)
