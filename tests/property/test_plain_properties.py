"""The coder of drawings gives every image back, whatever it holds."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from cae_jax.codec.lossless.colours import fewer
from cae_jax.codec.lossless.plain import decode_plain, encode_plain
from cae_jax.coding.errors import BitstreamError

shapes = st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(1, 4))
dtypes = st.sampled_from([np.uint8, np.uint16])


@st.composite
def images(draw):
  """Of all values, or of few."""
  dtype = draw(dtypes)
  top = np.iinfo(dtype).max
  few = st.sampled_from([0, 1, 2, 7, top // 2, top])
  elements = draw(st.sampled_from([few, st.integers(0, top)]))
  return draw(hnp.arrays(dtype, draw(shapes), elements=elements))


@given(image=images())
@settings(deadline=None, max_examples=40)
def test_every_image_comes_back(image):
  section = encode_plain(image)
  assert len(section) <= 1 + image.nbytes
  decoded = decode_plain(section, image.shape, image.dtype)
  assert decoded.dtype == image.dtype
  np.testing.assert_array_equal(decoded, image)


@given(image=images(), largest_error=st.integers(0, 1 << 16))
@settings(deadline=None, max_examples=40)
def test_drawings_of_fewer_colours_are_within_their_error(image, largest_error):
  drawn = fewer(image, largest_error)
  assert (drawn.dtype, drawn.shape) == (image.dtype, image.shape)
  assert np.abs(drawn.astype(int) - image).max() <= largest_error
  colours = [{*map(tuple, each.reshape(-1, image.shape[2]).tolist())} for each in (drawn, image)]
  assert colours[0] <= colours[1]


def test_a_tiny_image_of_few_colours_is_stored_rather_than_numbered():
  image = np.ones((3, 5, 1), np.uint8)
  image[0, :, 0] = 127, 2, 1, 1, 0
  assert len(encode_plain(image)) <= 1 + image.nbytes


@given(section=st.binary(max_size=60), shape=shapes, dtype=dtypes)
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_refused_or_are_an_image(section, shape, dtype):
  try:
    decoded = decode_plain(section, shape, dtype)
  except BitstreamError:
    return
  assert (decoded.shape, decoded.dtype) == (shape, dtype)
