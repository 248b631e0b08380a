"""Which codec meets what is asked for: lossy, near-lossless or lossless."""

import dataclasses
import functools
import math
from unittest import mock

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cae_jax.codec import automatic, info, near_lossless
from cae_jax.codec.kinds import visible_ssimulacra2
from cae_jax.codec.lossless import image as image_module
from cae_jax.codec.lossless.image import LosslessCodec, LosslessEncoded
from cae_jax.codec.lossless.plain import estimate_plain, may_be_smaller
from cae_jax.codec.near_lossless import NearLosslessFiles
from cae_jax.codec.targets import OutOfReach, too_small
from cae_jax.errors import UsageError
from cae_jax.images import metrics
from tests.lossless import LossyEncoded, LossyStandIn, tiny_weights

RNG = np.random.default_rng(3)
LOSSY = LossyStandIn(size_bytes=400, psnr_db=40)


class _Remembering(LosslessCodec):
  """Makes each file once, since searches try the same errors again and again."""

  def __init__(self, weights):
    super().__init__(weights)
    self._files = {}

  def encode(self, image, **asked):
    image = np.asarray(image)
    given = repr(sorted(item for item in asked.items() if item[1]))
    key = image.dtype, image.shape, image.tobytes(), given
    if key not in self._files:
      self._files[key] = super().encode(image, **asked)
    return self._files[key]


@functools.cache
def codec():
  return _Remembering(tiny_weights())


def _image(dtype=np.uint8):
  rng = np.random.default_rng(0)
  peak = np.iinfo(dtype).max
  ramp = np.add.outer(np.arange(24), np.arange(30))[..., None] / 60
  return np.clip((ramp + rng.normal(0, 0.02, (24, 30, 3))) * peak, 0, peak).astype(dtype)


IMAGE, DEEP = _image(), _image(np.uint16)


def encode(image=IMAGE, lossy=lambda: LOSSY, lossless=codec, **asked):
  lossy = lossy if isinstance(lossy, list) else [lossy]
  return automatic.encode(image, lossy, lossless, **asked)


def _never():
  raise AssertionError("this codec is not asked for")


@functools.cache
def _sizes(dtype):
  """Of the near-lossless files by largest errors, and their PSNR."""
  image = IMAGE if dtype == np.uint8 else DEEP
  return [codec().encode(image, near_lossless=error) for error in range(6)]


def _error(encoded, image):
  return int(np.abs(codec().decompress(encoded.data).astype(int) - image).max())


@pytest.mark.parametrize(
  "asked", [{}, {"quality": 100}, {"psnr": 39}, {"ssimulacra2": 60}, {"bpp": 1}, {"effort": 1}]
)
def test_what_the_lossy_codec_can_do_is_its_own(asked):
  assert isinstance(encode(lossless=_never, **asked), LossyEncoded)


@pytest.mark.parametrize(
  ("image", "asked"),
  [(image, asked) for image in (IMAGE, DEEP) for asked in ({"exact": True}, {"psnr": math.inf})],
)
def test_exactly(image, asked):
  encoded = encode(image, lossy=_never, **asked)
  assert encoded.how == "lossless"
  assert encoded.psnr_db == math.inf
  assert _error(encoded, image) == 0


@pytest.mark.parametrize("image", [IMAGE, DEEP], ids=["uint8", "uint16"])
def test_near_lossless(image):
  encoded = encode(image, lossy=_never, near_lossless=2)
  assert encoded.how == "near-lossless, errors of at most 2"
  assert _error(encoded, image) == 2


@pytest.mark.parametrize("psnr", [41, 45, 50, 60])
def test_a_psnr_beyond_the_lossy_codec_is_met_by_the_largest_error_that_does(psnr):
  encoded = encode(psnr=psnr)
  assert isinstance(encoded, LosslessEncoded)
  assert encoded.psnr_db >= psnr
  if encoded.largest_error < 5:
    assert _sizes(np.uint8)[encoded.largest_error + 1].psnr_db < psnr


@pytest.mark.parametrize("psnr", [30, 50, 70, 90])
def test_16_bits_have_any_psnr(psnr):
  encoded = encode(DEEP, lossy=_never, psnr=psnr)
  assert psnr <= encoded.psnr_db < psnr + 0.6


@pytest.mark.parametrize("asked", [{"psnr": 40}, {"ssimulacra2": 90}], ids=str)
def test_samples_of_12_bits_are_measured_as_such(asked):
  deep = DEEP >> 4
  encoded = encode(deep, lossy=_never, bits=12, **asked)
  decoded = codec().decompress(encoded.data)
  mse = np.mean(np.square(decoded - deep.astype(float)))
  assert encoded.psnr_db == pytest.approx(10 * math.log10(4095**2 / mse), abs=0.01)
  assert encoded.largest_error > 0
  if "psnr" in asked:
    assert 40 <= encoded.psnr_db < 40.6
  else:
    assert visible_ssimulacra2(deep, decoded, 4095) >= 90


def test_a_target_of_another_name_is_no_rate():
  with pytest.raises(TypeError, match="unexpected keyword argument 'bbp'"):
    encode(DEEP, bbp=12)


def test_a_size_that_metadata_alone_exceed():
  with pytest.raises(UsageError, match=r"500 bytes .* cannot be met"):
    encode(DEEP, size_bytes=500, metadata={"exif": bytes(RNG.bytes(40_000))})


@pytest.mark.parametrize("image", [IMAGE, DEEP], ids=["uint8", "uint16"])
def test_a_psnr_beyond_all_is_lossless(image):
  assert encode(image, psnr=5000).psnr_db == math.inf


@pytest.mark.parametrize("image", [IMAGE, DEEP], ids=["uint8", "uint16"])
def test_a_score_beyond_the_lossy_codec_is_met_by_the_largest_error_that_does(image):
  lossy = (lambda: LOSSY) if image.dtype == np.uint8 else _never
  score = lambda encoded: visible_ssimulacra2(image, codec().decompress(encoded.data))
  encoded = encode(image, lossy=lossy, ssimulacra2=90)
  assert encoded.largest_error > 0
  assert score(encoded) >= 90
  larger = codec().encode(image, near_lossless=encoded.largest_error * 33 // 32 + 1)
  assert score(larger) < 90
  assert encode(image, lossy=_never, ssimulacra2=100).how == "lossless"


@pytest.mark.parametrize("image", [IMAGE, DEEP], ids=["uint8", "uint16"])
def test_a_psnr_is_of_what_can_be_seen(image):
  alpha = np.zeros((24, 30, 1), image.dtype)
  alpha[:6, :9] = np.iinfo(image.dtype).max
  cut_out, seen = np.concatenate([image, alpha], axis=2), alpha[..., 0] > 0
  for target in (38, 52):
    encoded = encode(cut_out, lossy=lambda: dataclasses.replace(LOSSY, psnr_db=30), psnr=target)
    decoded = codec().decompress(encoded.data)
    peak = float(np.iinfo(image.dtype).max)
    found = metrics.psnr_db(image[seen][None], decoded[seen][None, :, :3], peak)
    assert encoded.psnr_db == pytest.approx(found)
    assert found >= target


def test_opacity_is_coded_once(monkeypatch):
  coded, real = [], image_module.opacity_section
  monkeypatch.setattr(near_lossless, "opacity_section", lambda x: coded.append(x) or real(x))
  encode(np.concatenate([DEEP, DEEP[..., :1]], axis=2), lossy=_never, size_bytes=2900)
  assert len(coded) == 1


def test_errors_smaller_than_the_gap_are_none():
  image = (IMAGE // 8).astype(np.uint16) * 2048
  file = encode(image, lossy=_never, near_lossless=2047)
  assert math.isinf(file.psnr_db)
  assert info(file.data).largest_error == 0
  assert info(encode(image, lossy=_never, near_lossless=2048).data).largest_error == 2048


def test_searches_are_short():
  tried = []

  def counted():
    return mock.Mock(
      encode=lambda *args, **asked: tried.append(asked) or codec().encode(*args, **asked),
      decompress=codec().decompress,
    )

  for asked in ({"psnr": 33}, {"psnr": 80}, {"size_bytes": 2000}, {"size_bytes": 600}):
    tried.clear()
    encode(DEEP, lossy=_never, lossless=counted, **asked)
    assert len(tried) <= 8
  tried.clear()
  encode(DEEP, lossy=_never, lossless=counted, ssimulacra2=85)
  assert len(tried) <= 9
  tried.clear()
  encode(size_bytes=LOSSY.size_bytes * 1.1, lossless=counted)
  assert len(tried) <= 6


@pytest.mark.parametrize("error", range(4))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_size_beyond_the_lossy_codec_is_met_by_the_smallest_error_that_does(dtype, error):
  image = IMAGE if dtype == np.uint8 else DEEP
  limit = len(_sizes(dtype)[error].data)
  for asked in ({"size_bytes": limit}, {"bpp": 8 * (limit + 0.01) / (24 * 30)}):
    encoded = encode(image, **asked)
    assert len(encoded.data) <= limit
    assert encoded.largest_error <= error
    assert encoded.how.startswith("lossless" if error == 0 else "near-lossless")


def test_a_size_that_no_error_allows_stays_with_the_lossy_codec():
  encoded = encode(size_bytes=LOSSY.size_bytes * 1.1)
  assert isinstance(encoded, LossyEncoded)


def test_of_two_files_of_a_size_the_closer_one_is_taken():
  limit = len(_sizes(np.uint8)[2].data)
  best = dataclasses.replace(LOSSY, psnr_db=99)
  assert isinstance(encode(size_bytes=limit), LosslessEncoded)
  assert isinstance(encode(lossy=lambda: best, size_bytes=limit), LossyEncoded)


def test_a_file_as_large_as_asked_for_is_not_tried_again():
  full = dataclasses.replace(LOSSY, size_bytes=2000)
  noise = RNG.integers(0, 256, (24, 30, 3), np.uint8)
  found = encode(noise, lossy=lambda: full, lossless=_never, size_bytes=2010)
  assert isinstance(found, LossyEncoded)


@pytest.mark.parametrize("asked", [{}, {"quality": 30}, {"psnr": 30}, {"bpp": 8}], ids=str)
def test_drawings_are_lossless_where_that_takes_no_more(asked):
  drawing = np.full((24, 30, 3), 240, np.uint8)
  drawing[5:15, 8:20] = 10, 40, 90
  lossy = mock.Mock()
  lossy.encode.return_value = LossyEncoded(bytes(900), 39, is_best=False)
  found = encode(drawing, lossy=lambda: lossy, **asked)
  assert found.psnr_db == math.inf
  assert len(found.data) < 720
  lossy.encode.return_value = LossyEncoded(bytes(60), 39, is_best=False)
  smaller = encode(drawing, lossy=lambda: lossy, **asked)
  # Of a size the closest within the limit is meant.
  assert smaller.psnr_db == (math.inf if "bpp" in asked else 39)


def test_patterns_of_few_colours_are_drawings():
  board = (np.indices((96, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
  for image in (board, np.dstack([board, board // 2, 255 - board])):
    assert encode(image, lossy=lambda: LossyStandIn(size_bytes=9000)).how == "lossless"
    # Though even the smallest file of a lossy codec has more bytes.
    assert encode(image, lossy=_never, size_bytes=900).how == "lossless"


def _page() -> Image.Image:
  page, rng = Image.new("RGB", (400, 480), "white"), np.random.default_rng(0)
  words = ["what", "is", "written", "again", "over", "there", "in", "lines", "of", "text", "quite"]
  for top in range(0, 480, 20):
    ImageDraw.Draw(page).text((8, top), " ".join(rng.choice(words, 10)), "black")
  return page


def _shades() -> np.ndarray:
  """A page whose letters have soft edges: a hundred greys, and two areas a grey level apart."""
  image = np.asarray(_page().resize((320, 384), Image.Resampling.BILINEAR)).copy()
  image[300:] -= np.minimum(image[300:], 1)
  return image


def test_screenshots_are_lossless_where_that_takes_no_more():
  """Their excerpts say little: here words come again in other lines."""
  image = np.asarray(_page())
  exact = encode(image, lossy=_never, exact=True)
  lossy = LossyStandIn(size_bytes=len(exact.data))
  assert encode(image, lossy=lambda: lossy).how == "lossless"
  lossy = LossyStandIn(size_bytes=len(exact.data) * 8 // 10)
  assert isinstance(encode(image, lossy=lambda: lossy), LossyEncoded)
  assert len(exact.data) < estimate_plain(image)
  assert may_be_smaller(image, len(exact.data))


@pytest.mark.parametrize(("quality", "error"), [(0, 32), (50, 16), (100, 8), (150, 4)])
def test_drawings_have_fewer_colours_by_quality(quality, error):
  image = _shades()
  exact = len(encode(image, lossy=_never, exact=True).data)
  lossy = LossyStandIn(size_bytes=exact, psnr_db=30)
  found = encode(image, lossy=lambda: lossy, quality=quality)
  assert found.how == f"near-lossless, errors of at most {error}"
  assert len(found.data) < 0.9 * exact
  assert error / 2 < _error(found, image) <= error
  decoded = codec().decompress(found.data)
  assert (decoded[0, 0], decoded[-1, 0]) == (pytest.approx(255), pytest.approx(254))


def test_drawings_of_fewer_colours_have_to_be_smaller_and_closer():
  image = _shades()
  found = encode(image, lossy=lambda: LossyStandIn(size_bytes=1 << 20))
  size = len(found.data)
  for lossy in (LossyStandIn(size - 1), LossyStandIn(size + 1, psnr_db=found.psnr_db + 1.1)):
    assert isinstance(encode(image, lossy=lambda lossy=lossy: lossy), LossyEncoded)


def test_drawings_meet_targets_with_fewer_colours():
  image = _shades()
  exact = len(encode(image, lossy=_never, exact=True).data)
  lossy = _finer(exact, 35, quality=60)
  found = encode(image, lossy=lossy, psnr=34)
  assert 34 <= found.psnr_db < 40
  assert found.largest_error > 16
  found = encode(image, lossy=lossy, ssimulacra2=85)
  assert found.largest_error > 4
  assert visible_ssimulacra2(image, codec().decompress(found.data)) >= 85
  found = encode(image, lossy=lossy, size_bytes=0.9 * exact)
  assert 0 < found.largest_error <= 8
  assert len(found.data) <= 0.9 * exact
  # None is as small, and better.
  assert encode(image, lossy=lossy, size_bytes=0.5 * exact).how == "lossy"


def _mixed():
  """A page with a photograph, which is no drawing for its many colours."""
  x = np.asarray(_page()).copy()
  x[:, -64:] = RNG.integers(0, 256, (len(x), 64, *x.shape[2:]), np.uint8)
  return x


def test_what_is_drawn_beside_a_photograph_is_a_layer():
  image = _mixed()
  small = LossyStandIn(size_bytes=5000, layered_share=0.5)
  find = functools.partial(encode, image, lossless=_never)
  assert find(lossy=lambda: small).how == "layered"
  assert find(lossy=lambda: small, quality=100).how == "layered"
  assert find(lossy=lambda: small, quality=150).how == "layered"
  assert find(lossy=lambda: dataclasses.replace(small, layered_share=1.1)).how == "lossy"
  for gain_db, share, how in ((3, 1.2, "layered"), (1, 1.2, "lossy"), (9, 1.3, "lossy")):
    closer = dataclasses.replace(small, layered_share=share, layered_gain_db=gain_db)
    assert find(lossy=lambda closer=closer: closer).how == how


def test_drawings_stay_exact_where_that_costs_little():
  image = np.asarray(_page()).copy()
  image[:10, :10] = np.arange(100, dtype=np.uint8).reshape(10, 10, 1)
  found = encode(image, lossy=lambda: LossyStandIn(size_bytes=1 << 20))
  assert found.how == "lossless"


def test_a_second_lossy_codec_reaches_what_the_first_does_not():
  second = dataclasses.replace(LOSSY, psnr_db=50, size_bytes=600, ssimulacra2=99)
  codecs = [lambda: LOSSY, lambda: second]
  noise = RNG.integers(0, 256, (24, 30, 3), np.uint8)
  assert encode(noise, lossy=codecs, lossless=_never, ssimulacra2=98).psnr_db == 49
  assert encode(noise, lossy=codecs, lossless=_never, size_bytes=605).psnr_db == 50
  assert encode(noise, lossy=[codecs[0], _never], lossless=_never, size_bytes=405).psnr_db == 40


def _finer(size_bytes, psnr_db, quality=141):
  """A lossy codec with one file, in steps much finer than it was trained with."""
  file = LossyEncoded(bytes(size_bytes), psnr_db, is_best=False, quality=quality)
  return lambda: mock.Mock(encode=lambda *_, **__: file)


@pytest.mark.parametrize("asked", [{"psnr": 45}, {"ssimulacra2": 90}], ids=str)
def test_in_much_finer_steps_the_smaller_file_is_taken(asked):
  near = encode(lossy=[], **asked)
  size = len(near.data)
  smaller, larger = (_finer(size + by, near.psnr_db) for by in (-1, 1))
  assert len(encode(lossy=[smaller, _never], **asked).data) == size - 1
  assert len(encode(lossy=[larger, _never], **asked).data) == size
  # In steps nearer to its own a codec is sure of itself.
  sure = _finer(size + 1, near.psnr_db, quality=140)
  assert len(encode(lossy=[sure, _never], lossless=_never, **asked).data) == size + 1
  assert encode(lossy=larger, lossless=_never, quality=141).quality == 141


def test_no_score_is_searched_for_where_a_file_as_coarse_is_larger(monkeypatch):
  monkeypatch.setattr(NearLosslessFiles, "of_ssimulacra2", _never)
  coarse = _sizes(np.uint8)[3]
  small = _finer(len(coarse.data), coarse.psnr_db + 0.5)
  assert encode(lossy=small, ssimulacra2=90).how == "lossy"


def test_in_much_finer_steps_the_closest_file_of_a_size_is_taken():
  limit = len(_sizes(np.uint8)[1].data)
  closer, farther = _finer(50, 90), _finer(limit, 30)
  assert encode(lossy=closer, size_bytes=limit).psnr_db == 90
  assert encode(lossy=farther, size_bytes=limit).largest_error == 1


def test_16_bits_have_sizes_down_to_where_nothing_is_left():
  small = len(codec().compress(DEEP, near_lossless=1 << 13))
  encoded = encode(DEEP, lossy=_never, size_bytes=2 * small)
  assert len(encoded.data) <= 2 * small
  with pytest.raises(OutOfReach, match=r"10 bytes .* cannot be met: .* of at most 16383"):
    encode(DEEP, lossy=_never, size_bytes=10)


def test_16_bits_have_no_quality():
  for asked in ({}, {"quality": 50}):
    with pytest.raises(UsageError, match=r"lossless=True or near_lossless=T"):
      encode(DEEP, lossless=_never, **asked)


def test_an_image_of_one_value():
  for image in (np.zeros((9, 8), np.uint8), np.full((9, 8, 3), 700, np.uint16)):
    for asked in ({"psnr": 70}, {"size_bytes": 1000}, {"bpp": 100}):
      encoded = encode(image, **asked)
      np.testing.assert_array_equal(codec().decompress(encoded.data), image)


@pytest.mark.parametrize("name", ["exact", "near_lossless"])
def test_an_effort_of_the_lossless_codec_is_refused(name):
  with pytest.raises(UsageError, match="lossless has one effort only; leave effort out"):
    encode(lossy=_never, lossless=_never, effort=1, **{name: 1})


@pytest.mark.parametrize(
  ("asked", "message"),
  [
    ({"exact": True, "psnr": 40}, "expected one target, got psnr and lossless"),
    ({"near_lossless": 1, "bpp": 40}, "expected one target, got bpp and near_lossless"),
    ({"exact": True, "near_lossless": 0}, "expected one target, got lossless and near_lossless"),
    ({"psnr": "much"}, "psnr 'much': expected a number"),
    ({"psnr": np.array([30.0, 40.0])}, "expected a number, got ndarray"),
    ({"psnr": math.nan}, "psnr nan: expected a positive number"),
    ({"psnr": -math.inf}, "psnr -inf: expected a positive number"),
    ({"size_bytes": -1}, "size_bytes -1: expected a positive number"),
    ({"bpp": math.inf}, "bpp inf: expected a positive number"),
    ({"near_lossless": -1}, "near_lossless -1: expected a whole number"),
    ({"effort": 4}, "effort 4: expected 0 or 1; higher ones were removed, since they made files"),
  ],
)
def test_what_makes_no_sense_is_refused(asked, message):
  with pytest.raises(UsageError, match=message):
    encode(DEEP, **asked)


@pytest.mark.parametrize("asked", [{}, {"bpp": 1}, {"psnr": 40}, {"exact": True}])
@pytest.mark.parametrize("dtype", [float, bool, np.int64])
def test_arrays_of_other_types_are_refused(dtype, asked):
  with pytest.raises(UsageError, match="expected uint8"):
    encode(IMAGE.astype(dtype), **asked)


@pytest.mark.parametrize(
  "asked", [{}, {"psnr": 40}, {"exact": True}, {"near_lossless": 2}], ids=str
)
@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 0, 2), (2, 4, 4, 4), (4,)], ids=str)
def test_arrays_of_other_shapes_are_refused(shape, asked):
  with pytest.raises(UsageError, match="expected uint8"):
    encode(np.zeros(shape, np.uint8), **asked)


class _TooLarge(LossyStandIn):
  def encode(self, image, **asked):
    raise too_small(asked["size_bytes"], 24 * 30, self.size_bytes, "at the lowest quality")


def test_a_size_below_one_codecs_files_is_met_by_the_next():
  first, second = (_TooLarge(size_bytes=size) for size in (500, 600))
  assert (
    encode(lossy=[lambda: first, lambda: LOSSY], size_bytes=405).data == LOSSY.encode(IMAGE).data
  )
  for both in ([first, second], [second, first]):
    with pytest.raises(OutOfReach, match=r"405 bytes .* cannot be met: .* takes 500 bytes .* at"):
      encode(lossy=[functools.partial(lambda each: each, each) for each in both], size_bytes=405)


def test_a_size_below_all_lossy_files_of_a_drawing_is_met_with_fewer_colours():
  drawing = np.full((80, 120, 3), 250, np.uint8)
  for number in range(60):
    drawing[7 + number, 10 : 40 + number] = 20 + number % 9
  first = lambda: _TooLarge(size_bytes=4000)
  sizes = [len(codec().encode(drawing, near_lossless=e, drawn=True).data) for e in (0, 63)]
  found = encode(drawing, lossy=first, size_bytes=sizes[0] - 1)
  assert len(found.data) < sizes[0]
  assert found.how.startswith("near-lossless")
  with pytest.raises(OutOfReach, match=f"takes {sizes[1]} bytes .* with errors of at most 63"):
    encode(drawing, lossy=first, size_bytes=sizes[1] - 1)


def test_dithered_pictures_are_lossless_where_that_fits():
  grey = np.add.outer(np.arange(160), np.arange(200)) * 255 / 360
  dithered = np.where(grey > np.random.default_rng(0).integers(0, 256, grey.shape), 255, 0)
  image = dithered.astype(np.uint8)[..., None].repeat(3, axis=2)
  size = len(codec().encode(image).data)
  full = lambda: LossyStandIn(size_bytes=9000)
  assert encode(image, lossy=full, size_bytes=size).how == "lossless"


@pytest.mark.parametrize("image", [IMAGE, DEEP])
@pytest.mark.parametrize("asked", [{"bpp": 9}, {"psnr": 50}, {"lossless": None}])
def test_a_tune_that_there_is_not(image, asked):
  with pytest.raises(UsageError, match="tune 'nonsense': expected psnr or eye"):
    encode(image, tune="nonsense", **{name: value for name, value in asked.items() if value})


def test_a_near_lossless_file_without_an_error_is_said_to_be_lossless():
  drawing = np.zeros((40, 60, 3), np.uint8)
  drawing[10:, 20:] = 200
  file = encode(drawing, near_lossless=2)
  assert math.isinf(file.psnr_db)
  assert info(file.data).largest_error == 0
  np.testing.assert_array_equal(codec().decompress(file.data), drawing)
