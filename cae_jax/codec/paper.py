"""The paper's autoencoder as a coder: latents rounded to b bits, Huffman-coded by channel."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from cae_jax.codec.arrays import on_device
from cae_jax.codec.coder import Coded
from cae_jax.coding import huffman
from cae_jax.coding.tables import CodingTables, tables_from_counts
from cae_jax.images.preprocessing import PREPROCESSINGS, to_uint8
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models import build_model
from cae_jax.models.paper import PaperAutoencoder
from cae_jax.models.quantization import dequantize_uniform, quantize_uniform
from cae_jax.weights import Weights


class PaperCoder:
  """See `LatentCoder`.

      image -> analysis -> y -> 2^b levels in [low, high] of each channel -> Huffman -> bytes

  Ranges and code tables belong to the weights (see `calibrate`), so a file holds only the code.
  """

  rate_levels = 0

  def __init__(self, weights: Weights):
    model = build_model(weights.config)
    assert isinstance(model, PaperAutoencoder)
    self.model = model
    self.preprocessing = PREPROCESSINGS[weights.config["preprocessing"]]
    self.stride = model.multiple
    self.multiple = _multiple(model, weights.config["preprocessing"])
    # Each stage looks model.kernel_size // 2 pixels further at twice the stride of the one before,
    # less than two such radii of latents in all; the synthesis has up to two convolutions more.
    self.margin = 4 * (model.kernel_size // 2)
    self._params = on_device(weights.params)
    self._bits = weights.config["coding_bits"]
    self._low, self._high = weights.tables["low"], weights.tables["high"]
    self._code = CodingTables.from_arrays(weights.tables["code"])

  def analyse(self, image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> y [h, w, M] float32, before rounding."""
    height, width = (-(-side // self.stride) for side in image.shape[:2])
    y = self._analyse(self._params, pad_to_multiple(image, self.multiple))
    return np.asarray(y)[:height, :width]

  def refine(self, *arguments) -> tuple[np.ndarray, np.ndarray]:
    """Not for models of one rate."""
    raise NotImplementedError

  def encode(self, y: np.ndarray, rate_level: int, aim: np.ndarray | None = None) -> Coded:
    """The Huffman code of rounded latents."""
    del rate_level, aim
    symbols = np.asarray(quantize_uniform(y, self._low, self._high, self._bits))
    section = huffman.encode(symbols, _channel_indexes(symbols.shape), self._code)
    return Coded(section, [symbols], self._dequantize(symbols))

  def decode(
    self, section: bytes, shape: tuple[int, int], rate_level: int
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """The inverse of `encode`; raises BitstreamError."""
    del rate_level
    indexes = _channel_indexes((*shape, self.model.latent_channels))
    symbols = huffman.decode(section, indexes, self._code)
    return [symbols], self._dequantize(symbols)

  def synthesise(self, y_hat: np.ndarray, rate_level: int = 0) -> np.ndarray:
    """Latents [h, w, M] float32 -> uint8 [h * stride, w * stride, 3]."""
    del rate_level
    height, width = (self.stride * side for side in y_hat.shape[:2])
    x = self._synthesise(self._params, pad_to_multiple(y_hat, self.multiple // self.stride))
    return np.asarray(x)[:height, :width]

  def _dequantize(self, symbols: np.ndarray) -> np.ndarray:
    return np.asarray(dequantize_uniform(symbols, self._low, self._high, self._bits))

  @functools.partial(jax.jit, static_argnums=0)
  def _analyse(self, params, image):
    return self.model.apply(
      {"params": params}, self.preprocessing.forward(image)[None], method="encode"
    )[0]

  @functools.partial(jax.jit, static_argnums=0)
  def _synthesise(self, params, y_hat):
    x_hat = self.model.apply({"params": params}, y_hat[None], method="decode")[0]
    return to_uint8(self.preprocessing.inverse(x_hat))


def _multiple(model: PaperAutoencoder, preprocessing: str) -> int:
  return int(np.lcm(model.multiple, PREPROCESSINGS[preprocessing].multiple))


def calibrate(
  model: PaperAutoencoder,
  params: Any,
  preprocessing: str,
  images: Iterable[np.ndarray],
  bits: int,
) -> dict[str, Any]:
  """Ranges and code tables of the latents, from training images.

  Args:
    images: uint8 [H, W, 3].
    bits: of the uniform quantiser. A model trained with rounding keeps its range, -1 to 1.
  Returns:
    {"low", "high"}: [M] float32, and {"code"}: the arrays of `CodingTables`.
  """
  steps = PREPROCESSINGS[preprocessing]
  multiple = _multiple(model, preprocessing)

  @jax.jit
  def analyse(image):
    return model.apply({"params": params}, steps.forward(image)[None], method="encode")[0]

  latents = [np.asarray(analyse(pad_to_multiple(image, multiple))) for image in images]
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


def _channel_indexes(shape: tuple[int, ...]) -> np.ndarray:
  return np.broadcast_to(np.arange(shape[-1]), shape)
