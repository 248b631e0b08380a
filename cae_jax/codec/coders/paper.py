"""The paper's autoencoder as a coder: latents rounded to b bits, Huffman-coded by channel."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cae_jax.codec.coders import programs
from cae_jax.codec.coders.arrays import channel_indexes
from cae_jax.codec.coders.base import Coded
from cae_jax.codec.coders.one_rate import OneRateCoder
from cae_jax.coding import huffman
from cae_jax.coding.tables import CodingTables, tables_from_counts
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models import build_model
from cae_jax.models.paper import PaperAutoencoder
from cae_jax.models.quantization import dequantize_uniform, quantize_uniform
from cae_jax.weights import Weights


class Coder(OneRateCoder):
  """See `LatentCoder`.

      image -> analysis -> y -> 2^b levels in [low, high] of each channel -> Huffman -> bytes

  Ranges and code tables belong to the weights (see `calibrate`), so a file holds only the code.
  """

  def __init__(self, weights: Weights):
    model = build_model(weights.config)
    assert isinstance(model, PaperAutoencoder)
    super().__init__(model, weights)
    self._bits = model.file_bits
    self._low, self._high = weights.table("low"), weights.table("high")
    self._code = CodingTables.from_arrays(weights.table("code"))

  def encode(self, y: np.ndarray, *_: Any) -> Coded:
    """Encodes rounded latents by Huffman's codes."""
    symbols = np.asarray(quantize_uniform(y, self._low, self._high, self._bits))
    section = huffman.encode(symbols, channel_indexes(symbols.shape), self._code)
    return Coded(section, [symbols], self._dequantize(symbols))

  def decode(
    self, section: bytes, shape: tuple[int, int], *_: Any
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Decodes what `encode` has written; raises BitstreamError."""
    indexes = channel_indexes((*shape, self.model.latent_channels))
    symbols = huffman.decode(section, indexes, self._code)
    return [symbols], self._dequantize(symbols)

  def _dequantize(self, symbols: np.ndarray) -> np.ndarray:
    return np.asarray(dequantize_uniform(symbols, self._low, self._high, self._bits))


def calibrate(model: PaperAutoencoder, params: Any, images: Iterable[np.ndarray]) -> dict[str, Any]:
  """Returns ranges and code tables of the latents, from training images.

  Args:
    images: uint8 [H, W, 3], all of them. A model trained with rounding keeps its range, -1 to 1.
  Returns:
    {"low", "high"}: [M] float32, and {"code"}: the arrays of `CodingTables`.
  """
  latents = [
    np.asarray(programs.analyse(model, params, pad_to_multiple(image, model.multiple)))
    for image in images
  ]
  bits = model.file_bits
  low, high = _trained_range(model) if model.latent_bits else _seen_range(latents)
  counts = np.zeros((model.latent_channels, 2**bits), np.int64)
  for y in latents:
    counts += _counts(np.asarray(quantize_uniform(y, low, high, bits)), 2**bits)
  return {"low": low, "high": high, "code": tables_from_counts(counts).to_arrays()}


def _trained_range(model: PaperAutoencoder) -> tuple[np.ndarray, np.ndarray]:
  ones = np.ones(model.latent_channels, np.float32)
  return -ones, ones


def _seen_range(latents: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  low = np.min([y.min(axis=(0, 1)) for y in latents], axis=0)
  high = np.max([y.max(axis=(0, 1)) for y in latents], axis=0)
  return low, np.where(high > low, high, low + 1)  # a channel may be constant


def _counts(symbols: np.ndarray, levels: int) -> np.ndarray:
  """[h, w, M] symbols -> [M, levels], how often each occurs in each channel."""
  channels = symbols.shape[-1]
  flat = symbols.reshape(-1, channels) + levels * np.arange(channels)
  return np.bincount(flat.ravel(), minlength=levels * channels).reshape(channels, levels)
