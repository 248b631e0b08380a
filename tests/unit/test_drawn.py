"""Layers of what is drawn: where it is, what a file holds, what a decoder makes of it."""

import functools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cae_jax.codec.drawn import drawn_layer, lay_over, lay_over_preview
from cae_jax.codec.hidden import flat, smooth
from cae_jax.codec.info import info
from cae_jax.codec.small import shrink
from cae_jax.coding.bitstream import unpack
from cae_jax.errors import UsageError
from cae_jax.images.metrics import psnr_db
from tests.models import context_codec, photo


@functools.cache
def page():
  """Text at the left, a photograph at the right."""
  image = Image.new("RGB", (320, 192), (250, 250, 246))
  draw = ImageDraw.Draw(image)
  for top in range(3, 190, 12):
    draw.text((4, top), "Letters on plain ground.", (20, 20, 60))
  x = np.array(image)
  x[:, 160:] = photo(192, 160)
  return x


@functools.cache
def layer():
  return drawn_layer(page(), 0)


def test_text_is_drawn_and_a_photograph_is_not():
  is_drawn = layer()[..., 3] > 0
  assert is_drawn[:, :144].mean() > 0.95
  assert not is_drawn[:, 160:].any()
  np.testing.assert_array_equal(layer()[is_drawn][:, :3], page()[is_drawn])
  assert not layer()[~is_drawn].any()


def test_a_layer_has_fewer_colours():
  coarse = drawn_layer(page(), 40)
  np.testing.assert_array_equal(coarse[..., 3], layer()[..., 3])
  difference = np.abs(coarse.astype(int) - layer())
  assert 0 < difference.max() <= 40
  of = lambda x: len(np.unique(x.reshape(-1, 4), axis=0))
  assert of(coarse) < of(layer())


def test_nothing_or_everything_drawn_makes_no_layer():
  assert drawn_layer(photo(192, 320), 0) is None
  assert drawn_layer(page()[:, :128], 0) is None
  plain = page().copy()
  plain[:, :160] = 250  # ground without a stroke
  assert drawn_layer(plain, 0) is None
  gradient = np.linspace(0, 255, 320).astype(np.uint8)[None, :, None].repeat(192, 0)
  assert drawn_layer(gradient, 0) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (17, 300)])
def test_small_and_narrow_images(shape):
  for channels in (1, 2, 3, 4):
    x = np.random.default_rng(0).integers(0, 2, (*shape, channels), np.uint8) * 255
    found = drawn_layer(x, 16)
    assert found is None or found.shape == (*shape, 2 if channels < 3 else 4)


def test_what_is_transparent_is_not_drawn():
  opacity = np.full((192, 320), 255, np.uint8)
  opacity[:96] = 0
  found = drawn_layer(np.dstack([page(), opacity]), 0)
  assert not found[:96].any()
  np.testing.assert_array_equal(found[96:], layer()[96:])


@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey", "grey_alpha"])
def test_every_kind_comes_back(kind):
  x = page() if kind.startswith("rgb") else page()[..., :1]
  if kind.endswith("a"):
    x = np.dstack([x, np.tile(np.arange(320).clip(1, 255), (192, 1)).astype(np.uint8)])
  drawn = drawn_layer(x, 0)
  image = x[..., 0] if kind == "grey" else x
  encoded = context_codec().encode(image, quality=40, layer=drawn)
  assert unpack(encoded.data).header.version == 4
  assert info(encoded.data).has_layer
  decoded = context_codec().decompress(encoded.data)
  assert decoded.shape == image.shape
  is_drawn = drawn[..., -1] > 0
  np.testing.assert_array_equal(decoded[is_drawn], image[is_drawn])
  assert encoded.how == "quality 40.0, drawn layer"
  colours = slice(None) if kind == "grey" else slice(0, -1 if kind.endswith("a") else None)
  same = (image, decoded) if kind == "grey" else (image[..., colours], decoded[..., colours])
  assert encoded.psnr_db == pytest.approx(psnr_db(*same))


def test_what_is_under_a_layer_costs_little():
  quality = {"quality": 40}
  alone = context_codec().compress(page()[:, 160:], **quality)
  layered = context_codec().encode(page(), layer=layer(), **quality)
  *_, tile, drawn = map(len, unpack(layered.data).sections)
  assert tile < 2 * len(alone)
  assert drawn < 3000


@pytest.mark.parametrize("asked", [{"bpp": 2.0}, {"size_bytes": 12000}, {"psnr": 21.0}])
def test_targets_are_of_the_whole_file(asked):
  found = context_codec().encode(page(), layer=layer(), **asked)
  size = len(found.data)
  if "psnr" in asked:
    decoded = context_codec().decompress(found.data)
    assert psnr_db(page(), decoded) >= 21
  else:
    limit = asked.get("size_bytes", 2.0 * page()[..., 0].size / 8)
    assert 0.9 * limit < size <= limit or found.is_best


@pytest.mark.parametrize("quality", [101, 175])
def test_finer_steps_under_a_layer(quality):
  finer = context_codec().encode(page(), quality=quality, layer=layer())
  header = unpack(finer.data).header
  assert (header.version, header.is_finer) == (4, False)
  assert finer.is_finer
  assert info(finer.data).quality == pytest.approx(quality, abs=0.02)
  decoded = context_codec().decompress(finer.data)
  assert psnr_db(page(), decoded) == pytest.approx(finer.psnr_db)
  alone = context_codec().encode(page(), quality=quality)
  below = layer()[..., 3] == 0
  assert psnr_db(decoded[below], context_codec().decompress(alone.data)[below]) > 20


@pytest.mark.parametrize("wrong", [layer()[1:], layer()[..., :2], layer().astype(np.uint16)])
def test_layers_of_other_images_are_refused(wrong):
  with pytest.raises(UsageError, match=r"expected a layer of uint8 \[192, 320, 4\]; got"):
    context_codec().encode(page(), layer=wrong)


def test_laid_over_a_preview_by_what_it_covers():
  rgb, over = photo(192, 320), layer()
  found = lay_over_preview(shrink(rgb, 8), over, 8)
  expected = shrink(lay_over(rgb, over), 8)
  covered = shrink(over[..., 3], 8)
  whole = (covered == 0) | (covered == 255)
  assert np.abs(found.astype(int) - expected)[whole].max() <= 1
  odd = np.zeros((8, 8, 2), np.uint8)
  odd[:4] = 200, 255
  assert lay_over_preview(np.full((1, 1, 3), 100, np.uint8), odd, 8).tolist() == [[[150] * 3]]


def test_hidden_colours_are_flat_or_smooth():
  x = photo(40, 70)
  is_seen = np.ones((40, 70), bool)
  is_seen[8:33, 16:64] = False
  for fill in (flat, smooth):
    found = fill(x, is_seen)
    np.testing.assert_array_equal(found[is_seen], x[is_seen])
    assert fill(x, np.ones_like(is_seen)) is x
    one = fill(np.full((9, 11, 1), 7, np.uint16), np.eye(9, 11, dtype=bool))
    assert (one == 7).all()
    none = fill(x, np.zeros_like(is_seen))
    assert np.ptp(none, axis=(0, 1)).max() == 0
  steps = np.abs(np.diff(smooth(x, is_seen).astype(int), axis=0))[9:30, 20:60]
  assert steps.mean() < np.abs(np.diff(x.astype(int), axis=0))[9:30, 20:60].mean()
