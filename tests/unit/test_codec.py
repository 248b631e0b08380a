import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax import codec
from cae_jax.coding.bitstream import unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.evaluation import own_codec
from cae_jax.models import build_model, init_params
from cae_jax.weights import Weights, WeightsError, save_weights

CONFIG = {
  "model": "paper",
  "channels": [4, 6, 8],
  "kernel_size": 3,
  "bottleneck": 0,
  "upsampling": "nearest",
  "latent_bits": 0,
  "coding_bits": 8,
  "preprocessing": "ycbcr",
}


def _image(height=21, width=34, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@functools.cache
def _codec(**changes):
  config = {**CONFIG, **changes}
  model = build_model(config)
  params = init_params(model, 0)
  images = [_image(32, 32, seed) for seed in range(3)]
  tables = codec.calibrate(model, params, config["preprocessing"], images, config["coding_bits"])
  return codec.PaperCodec(Weights("tiny", config, jax.device_get(params), tables))


@pytest.mark.parametrize("shape", [(21, 34), (1, 1), (16, 16)])
def test_file_decodes_to_the_rounded_latents(shape):
  ours = _codec()
  image = _image(*shape)
  decoded = ours.decompress(ours.compress(image))
  assert decoded.shape == image.shape
  assert decoded.dtype == np.uint8
  # 8 bits a latent change the untrained network's picture by little
  rough = own_codec.uncoded(ours)
  unrounded = rough.decode(rough.encode(image, None))
  assert np.abs(decoded.astype(int) - unrounded).mean() < 3


def test_trained_rounding_is_the_coders():
  """With latent_bits the network decodes in training exactly what a file holds."""
  ours = _codec(bottleneck=3, latent_bits=4, coding_bits=4)
  image = _image(16, 16)
  x = ours.preprocessing.forward(image)[None]
  x_hat = ours.model.apply({"params": ours.weights.params}, x).x_hat[0]
  expected = np.asarray(ours.preprocessing.inverse(x_hat))
  decoded = ours.decompress(ours.compress(image))
  np.testing.assert_allclose(decoded, np.clip(expected, 0, 255), atol=0.51)


def test_dct_preprocessing_pads_to_its_blocks():
  ours = _codec(preprocessing="ycbcr_dct")
  assert ours.decompress(ours.compress(_image())).shape == (21, 34, 3)


def test_size_is_near_the_information_content():
  from cae_jax.coding.symbols import information_bits
  from cae_jax.coding.tables import CodingTables

  ours = _codec()
  image = _image(64, 96)
  data = ours.compress(image)
  tables = CodingTables.from_arrays(ours.weights.tables["code"])
  symbols = np.asarray(ours.symbols(image))
  indexes = np.broadcast_to(np.arange(symbols.shape[-1]), symbols.shape)
  ideal = information_bits(symbols, indexes, tables) / 8
  assert ideal <= len(data) < 1.05 * ideal + 40


def test_constant_latents_can_be_coded():
  """Channels that never vary in training still code other pictures."""
  model = build_model(CONFIG)
  params = jax.tree.map(jnp.zeros_like, init_params(model, 0))
  tables = codec.calibrate(model, params, "ycbcr", [_image()], 8)
  ours = codec.PaperCodec(Weights("flat", CONFIG, jax.device_get(params), tables))
  assert (np.ptp(ours.decompress(ours.compress(_image())), axis=(0, 1)) == 0).all()


@pytest.mark.parametrize("position", [0, 5, 20, -1])
def test_a_flipped_bit_is_an_error(position):
  data = bytearray(_codec().compress(_image()))
  data[position] ^= 4
  with pytest.raises(BitstreamError):
    _codec().decompress(bytes(data))


def test_other_weights_are_an_error():
  data = _codec().compress(_image())
  weights = _codec().weights
  low = weights.tables["low"] - 0.1
  other = codec.PaperCodec(dataclasses.replace(weights, tables={**weights.tables, "low": low}))
  with pytest.raises(BitstreamError, match="made with the weights 'tiny'"):
    other.decompress(data)


def test_overhead_of_the_container_is_small():
  container = unpack(_codec().compress(_image()))
  assert len(_codec().compress(_image())) - len(container.sections[0]) < 40


@pytest.mark.parametrize(
  "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_arrays_are_refused(image):
  with pytest.raises(ValueError, match=r"expected an RGB image, uint8 \[H, W, 3\]; got"):
    _codec().compress(image)


def test_load(tmp_path):
  path = tmp_path / "tiny.safetensors"
  save_weights(path, _codec().weights)
  loaded = codec.load(path)
  data = _codec().compress(_image())
  np.testing.assert_array_equal(loaded.decompress(data), _codec().decompress(data))


def test_unknown_model():
  with pytest.raises(WeightsError, match="unknown model 'gan'; expected 'paper'"):
    codec.from_weights(Weights("x", {"model": "gan"}, {}, {}))
