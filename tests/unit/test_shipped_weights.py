"""The weights that come with the package."""

import io

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import data

import cae_jax
from cae_jax.images.files import read_rgb
from cae_jax.images.metrics import psnr_db
from cae_jax.models.macs import macs_per_pixel
from cae_jax.weights import load_weights, shipped
from cae_jax.weights.look import SUFFIX, load_look

PHOTO = data.astronaut()[100:292, 130:322]
LIMIT_MIB = 26
HEADER_BYTES = 38


@pytest.fixture(scope="module")
def codec():
  return cae_jax.load()


@pytest.mark.parametrize("name", sorted(shipped.shipped()))
def test_they_are_small_and_documented(name):
  path = shipped.find(name)
  assert path.stat().st_size < LIMIT_MIB * 2**20
  card = path.with_suffix(".md").read_text()
  weights = load_weights(path)
  assert weights.hash().hex() in card
  assert weights.card["step"] > 0
  assert sum(a.size for a in jax.tree.leaves(weights.params)) < 11e6


@pytest.mark.parametrize("path", sorted(shipped.FOLDER.glob(f"*{SUFFIX}")), ids=lambda p: p.name)
def test_looks_belong_to_weights_that_ship(path):
  look = load_look(path)
  assert path.stat().st_size < 7 * 2**20
  assert look.hash().hex() in shipped.find(look.weights_name).with_suffix(".md").read_text()
  codec = cae_jax.load(look.weights_name)  # refuses a look of others
  encoded = codec.encode(PHOTO, bpp=0.3)
  plain = codec.decompress(encoded.data)
  loss_db = [
    psnr_db(PHOTO, plain) - psnr_db(PHOTO, codec.decompress(encoded.data, look=strength))
    for strength in (0, 0.5, 1)
  ]
  assert loss_db[0] == 0
  assert 0 < loss_db[1] < loss_db[2] < 0.8


def test_default_weights_beat_jpeg(codec):
  encoded = codec.encode(PHOTO, bpp=0.8)
  decoded = codec.decompress(encoded.data)
  assert psnr_db(PHOTO, decoded) == pytest.approx(encoded.psnr_db, abs=0.01)
  jpegs = [_jpeg(PHOTO, quality) for quality in range(5, 60)]
  best = max(psnr for size, psnr in jpegs if size <= 1.02 * len(encoded.data))
  assert encoded.psnr_db > best + 1


@pytest.mark.parametrize(
  ("drawn", "least_db"),
  [
    ("flat", 48),
    ("ramp", 45),
    ("squares", 32),
  ],
)
def test_pictures_unlike_photographs(codec, drawn, least_db):
  """Networks are sure of much that is wrong there."""
  y, x = np.mgrid[:192, :192]
  picture = {
    "flat": np.full((192, 192, 3), (255, 0, 0)),
    "ramp": np.repeat(x[..., None], 3, axis=-1),
    "squares": np.repeat(((x // 8 + y // 8) % 2 * 255)[..., None], 3, axis=-1),
  }[drawn].astype(np.uint8)
  assert codec.encode(picture, quality=100).psnr_db > least_db


@pytest.mark.parametrize("quality", [15, 85])
def test_files_are_as_small_as_the_model_says(codec, quality):
  """A little smaller: sizes are counted where the model assumes them, and signs are hidden."""
  coder = codec.coder
  data = codec.compress(PHOTO, quality=quality)
  tradeoff = coder._passes.tradeoffs(codec.info(data).rate_level)
  x = PHOTO[None].astype(np.float32) / 255
  output = jax.jit(coder.compiled.model.apply)({"params": coder.compiled.params}, x, tradeoff)
  expected = float(output.y_bits[0] + output.z_bits[0]) / 8
  assert 0.88 < (len(data) - HEADER_BYTES) / expected < 0.97


def _jpeg(image, quality):
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
  return buffer.tell(), psnr_db(image, read_rgb(buffer.getvalue()))


def test_transforms_are_within_their_budget(codec):
  """kMAC a pixel: at most 40 for the decoder and 60 for the encoder, with a few for the context."""
  encoder, decoder = macs_per_pixel(codec.coder.compiled.model)
  assert 1e3 < decoder < 40e3
  assert 1e3 < encoder < 60e3
