"""The lossless codec's promises, for any image."""

import functools
import math

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.samples import put_together, take_apart
from tests.lossless import tiny_weights

MOST_ADDED = 64  # bytes beyond the samples: the container, and a few for each section
bounded = functools.partial(settings, deadline=None, max_examples=40)
sides = st.one_of(st.integers(1, 12), st.integers(1, 80))


@functools.cache
def codec(number=0):
  """Codecs of the same weights; each number is one of its own."""
  return LosslessCodec(tiny_weights(biases=True))


@st.composite
def images(draw):
  """Photographs, noise, drawings, dithers and constants, of all kinds, depths and values."""
  rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
  height, width, channels = draw(sides), draw(sides), draw(st.integers(1, 4))
  shape = height, width, channels
  dtype = draw(st.sampled_from([np.uint8, np.uint16]))
  bits = draw(st.integers(1, 8 * np.dtype(dtype).itemsize))
  peak = (1 << bits) - 1
  x = draw(st.sampled_from([_photograph, _noise, _drawing, _dither, _constant]))(rng, shape) * peak
  x = np.clip(np.rint(x), 0, peak).astype(np.int64)
  room = np.iinfo(dtype).max // max(peak, 1)
  gap = draw(st.integers(1, room))
  x = gap * x + draw(st.integers(0, np.iinfo(dtype).max - gap * peak))
  if channels >= 3 and draw(st.booleans()):
    x[..., :3] = x[..., :1]  # grey in disguise
  if channels in (2, 4) and draw(st.booleans()):
    x[: height // 2, : width // 2, -1] = 0
  return (x[..., 0] if channels == 1 else x).astype(dtype)


def _photograph(rng, shape):
  y, x = np.indices(shape[:2])
  waves = np.sin(x / rng.uniform(3, 20) + y / rng.uniform(3, 20))[..., None]
  return 0.5 + 0.55 * waves * rng.uniform(0.5, 1, shape[2]) + rng.normal(0, 0.02, shape)


def _noise(rng, shape):
  return rng.uniform(0, 1, shape)


def _drawing(rng, shape):
  x = np.full(shape, rng.uniform(0, 1, shape[2]))
  for _ in range(rng.integers(1, 6)):
    top, left = rng.integers(shape[0]), rng.integers(shape[1])
    x[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = rng.uniform(
      0, 1, shape[2]
    )
  return x


def _dither(rng, shape):
  return (rng.uniform(0, 1, shape) < rng.uniform(0, 1)).astype(float)


def _constant(rng, shape):
  return np.broadcast_to(rng.uniform(0, 1, shape[2]), shape)


@given(image=images())
@bounded(max_examples=50)
def test_decode_inverts_encode(image):
  encoded = codec().encode(image, keep_hidden_colour=True)
  decoded = codec().decompress(encoded.data)
  assert decoded.dtype == image.dtype
  np.testing.assert_array_equal(decoded, image)
  assert encoded.psnr_db == math.inf
  assert len(encoded.data) <= image.nbytes + MOST_ADDED


@given(image=images())
@bounded()
def test_all_that_can_be_seen_comes_back(image):
  decoded = codec().decompress(codec().compress(image))
  if image.ndim == 3 and image.shape[2] in (2, 4):
    np.testing.assert_array_equal(decoded[..., -1], image[..., -1])
    seen = image[..., -1] > 0
    decoded, image = decoded[seen], image[seen]
  np.testing.assert_array_equal(decoded, image)


@given(image=images(), error=st.one_of(st.integers(1, 5), st.integers(0, (1 << 15) - 1)))
@bounded()
def test_no_sample_is_further_off_than_was_allowed(image, error):
  encoded = codec().encode(image, near_lossless=error, keep_hidden_colour=True)
  decoded = codec().decompress(encoded.data)
  assert decoded.dtype == image.dtype
  difference = np.abs(decoded.astype(int) - image)
  assert difference.max() <= error
  if image.ndim == 3 and image.shape[2] in (2, 4):
    assert not difference[..., -1].any()
    difference = difference[..., :-1]
  mse, peak = np.square(difference).mean(), np.iinfo(image.dtype).max
  expected = 10 * math.log10(peak**2 / mse) if mse else math.inf
  np.testing.assert_allclose(encoded.psnr_db, expected, atol=1e-6)


@given(image=images())
@bounded()
def test_the_same_image_gives_the_same_bytes(image):
  assert codec().compress(np.asfortranarray(image)) == codec(1).compress(image.copy())


@given(image=images())
@bounded(max_examples=200)
def test_images_are_put_together_as_they_were_taken_apart(image):
  taken = take_apart(image)
  assert taken.colours.max() <= taken.layout.largest
  assert Layout.unpack(taken.layout.pack()) == taken.layout
  back = put_together(taken.kind, taken.colours, taken.alpha, taken.layout)
  assert back.dtype == image.dtype
  np.testing.assert_array_equal(back, image)
