"""Images to bytes and back: where networks, tables and the container meet."""

import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from cae_jax.coding import huffman
from cae_jax.coding.bitstream import Header, Kind, pack, symbol_checksum, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.tables import CodingTables, tables_from_counts
from cae_jax.images.preprocessing import PREPROCESSINGS, to_uint8
from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models import build_model
from cae_jax.models.paper import PaperAutoencoder
from cae_jax.models.quantization import dequantize_uniform, quantize_uniform
from cae_jax.weights import Weights, WeightsError, load_weights


def load(path: str | os.PathLike) -> "PaperCodec":
  """A codec from a weights file.

  Raises:
    WeightsError: the file is missing, damaged, or of a model this version does not know.
  """
  return from_weights(load_weights(path))


def from_weights(weights: Weights) -> "PaperCodec":
  """A codec from weights in memory."""
  if weights.config.get("model") != "paper":
    raise WeightsError(f"unknown model {weights.config.get('model')!r}; expected 'paper'")
  return PaperCodec(weights)


class PaperCodec:
  """The paper's autoencoder as a codec: latents rounded to b bits, Huffman-coded by channel.

      image -> analysis -> y -> 2^b levels in [low, high] of each channel -> Huffman -> bytes

  Ranges and code tables belong to the weights (see `calibrate`), so a file holds only the code.
  """

  def __init__(self, weights: Weights):
    self.weights = weights
    self.model = build_model(weights.config)
    self.preprocessing = PREPROCESSINGS[weights.config["preprocessing"]]
    self._multiple = int(np.lcm(self.model.multiple, self.preprocessing.multiple))
    self._bits = weights.config["coding_bits"]
    self._low, self._high = weights.tables["low"], weights.tables["high"]
    self._code = CodingTables.from_arrays(weights.tables["code"])
    self._hash = weights.hash()

  def compress(self, image: np.ndarray) -> bytes:
    """The file for an image.

    Args:
      image: uint8 [H, W, 3].
    Raises:
      ValueError: another type or shape.
    """
    _check_rgb(image)
    symbols = self.symbols(image)
    header = Header(
      model_id=self.weights.name,
      model_hash=self._hash,
      kind=Kind.RGB,
      height=image.shape[0],
      width=image.shape[1],
      symbol_checksum=symbol_checksum([symbols]),
    )
    return pack(header, [huffman.encode(symbols, _channel_indexes(symbols.shape), self._code)])

  def decompress(self, data: bytes) -> np.ndarray:
    """The image of a file, uint8 [H, W, 3].

    Raises:
      BitstreamError: the file is damaged, or was made with other weights.
    """
    container = unpack(data)
    header = container.header
    self._check_header(header, len(container.sections))
    shape = self._latent_shape(header.height, header.width)
    symbols = huffman.decode(container.sections[0], _channel_indexes(shape), self._code)
    if symbol_checksum([symbols]) != header.symbol_checksum:
      raise BitstreamError("symbols", 0, "the decoded symbols do not match their checksum")
    y_hat = dequantize_uniform(symbols, self._low, self._high, self._bits)
    return self.reconstruct(y_hat, header.height, header.width)

  def latents(self, image: np.ndarray) -> jax.Array:
    """uint8 [H, W, 3] -> y [h, w, M] float32, before rounding; the image padded as need be."""
    return self._analyse(self.weights.params, pad_to_multiple(image, self._multiple))

  def symbols(self, image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> int32 [h, w, M] in [0, 2^b - 1], what a file codes."""
    y = self.latents(image)
    return np.asarray(quantize_uniform(y, self._low, self._high, self._bits))

  def reconstruct(self, y_hat: jax.Array, height: int, width: int) -> np.ndarray:
    """Latents [h, w, M] float32 -> uint8 [H, W, 3]."""
    return np.asarray(self._synthesise(self.weights.params, y_hat))[:height, :width]

  @functools.partial(jax.jit, static_argnums=0)
  def _analyse(self, params, image):
    return self.model.apply(
      {"params": params}, self.preprocessing.forward(image)[None], method="encode"
    )[0]

  @functools.partial(jax.jit, static_argnums=0)
  def _synthesise(self, params, y_hat):
    x_hat = self.model.apply({"params": params}, y_hat[None], method="decode")[0]
    return to_uint8(self.preprocessing.inverse(x_hat))

  def _latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
    rows, columns = (
      -(-side // self._multiple) * self._multiple // self.model.multiple for side in (height, width)
    )
    return rows, columns, self.model.latent_channels

  def _check_header(self, header: Header, sections: int) -> None:
    ours = self.weights.name, self._hash
    if (header.model_id, header.model_hash) != ours:
      raise BitstreamError(
        "header",
        0,
        f"the file was made with the weights {header.model_id!r} ({header.model_hash.hex()}); "
        f"these are {ours[0]!r} ({ours[1].hex()})",
      )
    if header.kind != Kind.RGB or sections != 1 or header.parameters:
      raise BitstreamError("header", 0, "expected an RGB image in one section")


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
  multiple = int(np.lcm(model.multiple, steps.multiple))

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


def _channel_indexes(shape: tuple[int, int, int]) -> np.ndarray:
  return np.broadcast_to(np.arange(shape[-1]), shape)


def _check_rgb(image: np.ndarray) -> None:
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
    raise ValueError(
      f"expected an RGB image, uint8 [H, W, 3]; got {image.dtype} {list(image.shape)}; "
      "cae_jax.images.files.to_rgb makes one"
    )
