"""The weights that come with the package."""

import functools
import io
import pickle

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import data

import cae_jax
from cae_jax.codec import encoding, from_weights
from cae_jax.images.files import read_rgb
from cae_jax.images.metrics import psnr_db
from cae_jax.models.macs import macs_per_pixel
from cae_jax.weights import WeightsError, load_weights, save_weights, shipped
from cae_jax.weights.look import SUFFIX, load_look
from cae_jax.weights.parts import decoding_part
from tests import golden
from tests.models import context_weights

PHOTO = data.astronaut()[100:292, 130:322]
LIMIT_MIB = 26
HEADER_BYTES = 38


@pytest.fixture(scope="module")
def codec():
  return cae_jax.load()


@pytest.fixture(scope="module")
def apply(codec):
  """The model: an image and a trade-off -> CodedOutput, in one compiled program."""
  compiled = codec.coder.compiled
  return functools.partial(jax.jit(compiled.model.apply), {"params": compiled.params})


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
  is_whole = not codec.weights.whole_hash
  released = (golden.FOLDER / f"{look.weights_name}-released.cae").read_bytes()
  data = codec.compress(PHOTO, bpp=0.3) if is_whole else released
  plain, half, full = (codec.decompress(data, look=strength) for strength in (0, 0.5, 1))
  np.testing.assert_array_equal(plain, codec.decompress(data))
  assert psnr_db(plain, half) > psnr_db(plain, full)
  if is_whole:
    loss_db = [psnr_db(PHOTO, plain) - psnr_db(PHOTO, looked) for looked in (half, full)]
    assert 0 < loss_db[0] < loss_db[1] < 0.8


def test_earlier_generations_decode_and_say_that_they_do_no_more():
  codec = cae_jax.load("context")
  with pytest.raises(WeightsError, match="'context' are of an earlier version and can only deco"):
    codec.compress(PHOTO)
  again = pickle.loads(pickle.dumps(codec))
  released = (golden.FOLDER / "context-released.cae").read_bytes()
  np.testing.assert_array_equal(again.decompress(released), codec.decompress(released))


def test_the_decoding_part_of_weights_makes_the_same_pictures(tmp_path):
  whole = context_weights()
  part = decoding_part(whole)
  save_weights(tmp_path / "whole.safetensors", whole)
  save_weights(tmp_path / "part.safetensors", part)
  sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "part")]
  assert sizes[1] < sizes[0]
  again = load_weights(tmp_path / "part.safetensors")
  assert again.hash() == part.hash() == whole.hash()
  data = from_weights(whole).compress(PHOTO)
  expected = from_weights(whole).decompress(data)
  np.testing.assert_array_equal(from_weights(again).decompress(data), expected)
  damaged = bytearray((tmp_path / "part.safetensors").read_bytes())
  damaged[-1] ^= 1
  (tmp_path / "part.safetensors").write_bytes(damaged)
  with pytest.raises(WeightsError, match="the content does not match its hash"):
    load_weights(tmp_path / "part.safetensors")


def test_default_weights_beat_jpeg(codec):
  encoded = codec.encode(PHOTO, bpp=0.8)
  decoded = codec.decompress(encoded.data)
  assert psnr_db(PHOTO, decoded) == pytest.approx(encoded.psnr_db, abs=0.01)
  jpegs = [_jpeg(PHOTO, quality) for quality in range(5, 60)]
  best = max(psnr for size, psnr in jpegs if size <= 1.02 * len(encoded.data))
  assert encoded.psnr_db > best + 1


@pytest.mark.parametrize("bpp", [0.3, 1, 2])
def test_a_size_is_met_in_few_trials(codec, monkeypatch, bpp):
  """The first guess is mostly within 20 % of it."""
  sizes = []
  encode = encoding.Analysed.encode

  def counted(self, *arguments):
    sizes.append(len((found := encode(self, *arguments)).data))
    return found

  monkeypatch.setattr(encoding.Analysed, "encode", counted)
  limit = bpp * PHOTO[..., 0].size / 8
  assert 0.98 * limit <= len(codec.compress(PHOTO, bpp=bpp)) <= limit
  assert len(sizes) <= 4
  assert sizes[0] == pytest.approx(limit, rel=0.25)


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
def test_files_are_as_small_as_the_model_says(codec, apply, quality):
  """A little smaller: sizes are counted where the model assumes them, and signs are hidden."""
  coder = codec.coder
  data = codec.compress(PHOTO, quality=quality)
  tradeoff = coder._passes.tradeoffs(codec.info(data).rate_level)
  x = PHOTO[None].astype(np.float32) / 255
  output = apply(x, tradeoff)
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
