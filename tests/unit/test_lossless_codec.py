import math

import numpy as np
import pytest

from cae_jax.codec.lossless import image as codec_module
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.coding.bitstream import Kind, pack, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.errors import UsageError
from tests.lossless import tiny_weights

DTYPES = (np.uint8, np.uint16)


@pytest.fixture(scope="module")
def codec():
  return LosslessCodec(tiny_weights())


def _photograph(shape, dtype=np.uint8, seed=0):
  """Noise on a ramp, some of it as bright as can be."""
  rng = np.random.default_rng(seed)
  height, width, *channels = shape
  y, x = np.indices((height, width))
  peak = np.iinfo(dtype).max
  ramp = (0.3 + 0.8 * (x + y) / (height + width)) * peak
  noise = rng.normal(0, peak / 100, (height, width, *channels))
  ramp = ramp.reshape(height, width, *[1] * len(channels))
  return np.clip(ramp + noise, 0, peak).astype(dtype)


def _drawing(shape, dtype=np.uint8):
  x = np.zeros(shape, dtype)
  x[5:20, 7:30] = np.iinfo(dtype).max
  x[10:, 12:] = 77
  return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 1), (3, 2), (45, 60)])
def test_every_bit_comes_back(codec, size, channels, dtype):
  image = _photograph((*size, *channels), dtype)
  decoded = codec.decompress(codec.compress(image, keep_hidden_colour=True))
  assert decoded.dtype == dtype
  np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("near_lossless", [0, 2])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (3, np.uint16)])
def test_weights_with_biases_are_for_samples_to_one_side(codec, channels, dtype, near_lossless):
  image = _photograph((140, 150, channels), dtype).squeeze()
  darker = image.copy()
  darker[1::2], darker[:, 1::2] = (
    part - np.minimum(part, part.max() // 50) for part in (darker[1::2], darker[:, 1::2])
  )
  biased = LosslessCodec(tiny_weights(biases=True))
  data = biased.compress(darker, near_lossless=near_lossless)
  if dtype == np.uint8:  # a constant is of at most 32 levels
    assert len(data) < 0.99 * len(codec.compress(darker, near_lossless=near_lossless))
  difference = np.abs(biased.decompress(data).astype(int) - darker)
  assert difference.max() <= near_lossless
  few = biased.compress(image[:5, :5])
  np.testing.assert_array_equal(biased.decompress(few), image[:5, :5])


@pytest.mark.parametrize(
  "image",
  [
    np.zeros((300, 200, 3), np.uint8),
    np.full((40, 50), 65535, np.uint16),
    np.random.default_rng(0).integers(0, 256, (64, 65, 3)).astype(np.uint8),
    np.random.default_rng(0).integers(0, 65536, (30, 31)).astype(np.uint16),
    np.random.default_rng(0).integers(0, 2, (50, 60)).astype(np.uint8) * 255,
    _drawing((90, 80, 3)),
    _drawing((90, 80, 4), np.uint16),
  ],
  ids=["black", "white", "noise", "deep noise", "dither", "drawing", "deep drawing"],
)
def test_odd_images_come_back_and_are_never_much_larger_than_they_were(codec, image):
  data = codec.compress(image, keep_hidden_colour=True)
  np.testing.assert_array_equal(codec.decompress(data), image)
  assert len(data) <= image.nbytes + 64


def test_a_drawing_is_not_coded_as_a_photograph(codec):
  image = _drawing((200, 300, 3))
  assert len(codec.compress(image)) < 200


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest_error", [1, 2, 9, 200])
def test_no_sample_differs_by_more_than_was_allowed(codec, largest_error, dtype):
  image = _photograph((40, 50, 3), dtype)
  encoded = codec.encode(image, near_lossless=largest_error)
  decoded = codec.decompress(encoded.data)
  error = decoded.astype(int) - image
  assert 0 < np.abs(error).max() <= largest_error
  mse, peak = np.square(error).mean(), np.iinfo(dtype).max
  assert encoded.psnr_db == pytest.approx(10 * math.log10(peak**2 / mse), abs=1e-6)
  assert len(encoded.data) < len(codec.compress(image))
  assert codec.info(encoded.data).largest_error == largest_error


def test_alpha_is_exact_in_near_lossless_files(codec):
  image = _photograph((40, 50, 4))
  decoded = codec.decompress(codec.compress(image, near_lossless=5))
  np.testing.assert_array_equal(decoded[..., 3], image[..., 3])


def test_colours_under_full_transparency_are_kept_if_asked_for(codec):
  image = _photograph((40, 50, 4))
  image[10:30, 10:40, 3] = 0
  dropped = codec.decompress(codec.compress(image))
  seen = image[..., 3] > 0
  np.testing.assert_array_equal(dropped[seen], image[seen])
  assert (dropped[~seen] != image[~seen]).any()
  kept = codec.compress(image, keep_hidden_colour=True)
  np.testing.assert_array_equal(codec.decompress(kept), image)


@pytest.mark.parametrize(
  ("image", "layout"),
  [
    (np.uint16([[0, 16, 4080]]), Layout(gap=16, largest=255)),
    (np.uint16([[1000, 1003, 1009]]), Layout(offset=1000, gap=3, largest=3)),
    (np.uint16([[5, 4000]] * 3 + [[6, 7]]), Layout(offset=5, largest=3995)),
    (np.uint8([[0, 85, 170, 255]]), Layout(gap=85, largest=3)),
    (np.uint8([[[7, 7, 7], [9, 9, 9], [4, 4, 4]]]), Layout(grey=True)),
    (np.uint8([[[7, 7, 7], [9, 9, 9], [4, 4, 5]]]), Layout()),
    (np.uint8([[3]]), Layout(gap=3, largest=1)),
    (np.uint16([[0]]), Layout(largest=1)),
  ],
)
def test_true_depths_and_gaps_are_found(image, layout):
  taken = codec_module.samples.take_apart(image)
  assert taken.layout == layout
  assert Layout.unpack(layout.pack()) == layout
  back = codec_module.samples.put_together(taken.kind, taken.colours, None, layout)
  np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_do_not_occur_cost_nothing(codec, dtype):
  rng = np.random.default_rng(0)
  values = np.sort(rng.choice(np.iinfo(dtype).max, 20, replace=False)).astype(dtype)
  image = values[rng.integers(0, 20, (60, 50))]
  data = codec.compress(image)
  np.testing.assert_array_equal(codec.decompress(data), image)
  assert 8 * len(data) < image.size * (np.log2(20) + 1.5)
  all_used = np.arange(image.size, dtype=dtype).reshape(image.shape)
  assert codec_module.samples.counted(codec_module.samples.take_apart(all_used)) is None


def test_numbers_of_values_that_do_not_occur_are_refused(codec):
  layout = Layout(largest=3, counted=True)
  with pytest.raises(BitstreamError, match="2 values occur, not 4"):
    codec_module.samples.uncounted(np.zeros((1, 1, 1), int), np.uint8([0, 1, 1, 0]), layout)


def test_tiles_and_threads_give_the_same_bytes(codec, monkeypatch):
  image = _photograph((70, 90, 3))
  monkeypatch.setattr("cae_jax.codec.tiles.TILE_SIDE", 32)
  found = set()
  for cores in (1, 2, 40):
    monkeypatch.setattr("cae_jax.codec.threads.cores", lambda cores=cores: cores)
    data = codec.compress(image)
    np.testing.assert_array_equal(codec.decompress(data), image)
    found.add(data)
  assert len(found) == 1
  assert len(unpack(data).sections) == 9


def test_one_section_for_all_tiles_where_that_is_smaller(codec, monkeypatch):
  monkeypatch.setattr("cae_jax.codec.tiles.TILE_SIDE", 32)
  image = np.tile(np.random.default_rng(0).integers(0, 256, (1, 40, 3)), (100, 3, 1))
  image = image.astype(np.uint8)
  data = codec.compress(image)
  assert len(unpack(data).sections) == 1
  np.testing.assert_array_equal(codec.decompress(data), image)


def test_metadata_are_kept(codec):
  data = codec.compress(_drawing((8, 9)), metadata={"icc": b"profile"})
  decoded = codec.decode(data)
  assert decoded.metadata == {"icc": b"profile"}
  assert decoded.info.kind == Kind.GREY
  assert decoded.info.largest_error == 0


def _changed(data, index, value):
  """A file whose section was changed behind its back: its own checksum is right again."""
  container = unpack(data)
  section = bytearray(container.sections[0])
  section[index] = value if section[index] != value else value ^ 1
  return pack(container.header, [bytes(section), *container.sections[1:]])


def test_damage_is_found(codec):
  data = codec.compress(_photograph((40, 50, 3)))
  length = len(unpack(data).sections[0])
  for index in [*range(12), *range(12, length, 97), length - 1]:
    with pytest.raises(BitstreamError):
      codec.decompress(_changed(data, index, 0x5A))


def test_parameters_of_no_lossless_file_are_refused(codec):
  container = unpack(codec.compress(_drawing((9, 8))))
  for parameters in (b"", b"\0", bytes(5), b"\x08\0\0\1\3", Layout(largest=300).pack()):
    header = container.header.__class__(**{**container.header.__dict__, "parameters": parameters})
    with pytest.raises(BitstreamError, match=r"parameters|none of a GREY image"):
      codec.decompress(pack(header, container.sections))


def test_sections_that_are_too_few_or_too_many_are_refused(codec):
  container = unpack(codec.compress(_photograph((20, 30, 4))))
  for sections in ((), container.sections[:1], container.sections * 2):
    with pytest.raises(BitstreamError):
      codec.decompress(pack(container.header, sections))


@pytest.mark.parametrize("value", [-1, 1.5, True, "2", 1 << 15])
def test_errors_that_make_no_sense_are_refused(codec, value):
  with pytest.raises(UsageError, match=r"near_lossless .* expected a whole number"):
    codec.compress(_drawing((9, 8)), near_lossless=value)


@pytest.mark.parametrize(
  ("image", "way_out"),
  [
    (np.zeros((4, 5), np.float32), "scale it to 0-255"),
    (np.zeros((4, 5), np.int32), r"image.astype\(np.uint8\)"),
    (np.zeros((4, 5, 6), np.uint8), "expected uint8 or uint16"),
    (np.zeros((2, 4, 5, 3), np.uint16), "one image after the other"),
    (np.zeros((0, 5), np.uint8), r"got uint8 \[0, 5\]"),
  ],
)
def test_images_of_other_kinds_are_refused(codec, image, way_out):
  with pytest.raises(UsageError, match=way_out):
    codec.compress(image)
