"""Whatever is drawn on whatever image comes back exactly, and the rest as without it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_jax.codec.drawn import drawn_layer, lay_over, lay_over_preview
from cae_jax.codec.hidden import flat, smooth
from cae_jax.codec.small import shrink
from tests.models import context_codec


@st.composite
def layered_images(draw):
  """An image [H, W, C] and a layer for it, of any pixels."""
  height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
  channels = draw(st.integers(1, 4))
  rng = np.random.default_rng(draw(st.integers(0, 2**32)))
  image = rng.integers(0, 256, (height, width, channels), np.uint8)
  layer = rng.integers(0, 256, (height, width, 2 if channels < 3 else 4), np.uint8)
  layer[..., -1] *= rng.random((height, width)) < draw(st.sampled_from([0, 0.1, 0.5, 1]))
  return image, layer


@settings(max_examples=40)
@given(layered_images())
def test_what_is_drawn_comes_back(given):
  image, layer = given
  pixels = image[..., 0] if image.shape[2] == 1 else image
  codec = context_codec()
  data = codec.encode(pixels, layer=layer).data
  found = np.atleast_3d(codec.decompress(data))
  assert found.shape == image.shape
  is_drawn, colours = layer[..., -1] > 0, layer.shape[2] - 1
  np.testing.assert_array_equal(found[is_drawn][:, :colours], layer[is_drawn][:, :colours])
  if colours < image.shape[2]:
    np.testing.assert_array_equal(found[..., -1], image[..., -1])
  assert codec.preview(data).shape[:2] == tuple(-(-side // 8) for side in image.shape[:2])


@given(layered_images())
def test_layers_are_of_the_image(given):
  image, _ = given
  for x in (image, image // 128 * 255):
    layer = drawn_layer(x, 0)
    if layer is not None:
      colours = layer.shape[2] - 1
      is_drawn = layer[..., -1] > 0
      np.testing.assert_array_equal(layer[is_drawn][:, :colours], x[is_drawn][:, :colours])


@given(layered_images(), st.integers(1, 9))
def test_a_small_picture_has_the_means(given, factor):
  _, layer = given
  rgb = np.full((*layer.shape[:2], 3), 130, np.uint8)
  found = lay_over_preview(shrink(rgb, factor), layer, factor)
  expected = shrink(lay_over(rgb, layer), factor)
  assert np.abs(found.astype(int) - expected).max() <= 2


@given(layered_images())
def test_hidden_colours_lie_between_those_that_are_seen(given):
  image, layer = given
  is_seen = layer[..., -1] > 0
  if is_seen.any():
    for fill in (flat, smooth):
      found = fill(image, is_seen)
      np.testing.assert_array_equal(found[is_seen], image[is_seen])
      assert (found >= image[is_seen].min(axis=0)).all()
      assert (found <= image[is_seen].max(axis=0)).all()
