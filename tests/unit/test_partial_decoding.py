"""Regions, previews, and what is left of damaged files."""

import dataclasses
import functools

import numpy as np
import pytest

from cae_jax import codec as codecs
from cae_jax.codec import checked, info
from cae_jax.codec.decoded import Damage
from cae_jax.codec.info import pack_rate, unpack_rate
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.regions import area_of
from cae_jax.codec.small import shrink
from cae_jax.coding.bitstream import Kind, pack, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.symbols import turned
from cae_jax.errors import UsageError
from cae_jax.images.metrics import psnr_db
from tests.golden import FOLDER
from tests.lossless import tiny_weights
from tests.models import context_codec, photo

WIDE = photo(48, 1100)  # two tiles
RGBA = np.dstack([WIDE[:40], np.tile(np.arange(1100) // 5, (40, 1)).astype(np.uint8)])


LAYER = np.zeros((48, 1100, 4), np.uint8)
LAYER[8:40, 900:1050] = (np.indices((32, 150)).sum(axis=0) % 7 * 40)[..., None]
LAYER[8:40, 900:1050, 3] = 255


@functools.cache
def lossless():
  return LosslessCodec(tiny_weights())


@functools.cache
def file_of(name):
  lossy, exact = context_codec(), lossless()
  return {
    "lossy": lambda: lossy.compress(WIDE, quality=30),
    "rgba": lambda: lossy.compress(RGBA, quality=30),
    "layered": lambda: lossy.encode(WIDE, quality=30, layer=LAYER).data,
    "layered_rgba": lambda: lossy.encode(RGBA, quality=30, layer=LAYER[:40]).data,
    "first": (FOLDER / "context-tiles.cae").read_bytes,
    "lossless": lambda: exact.compress(WIDE),
    "deep": lambda: exact.compress(RGBA.astype(np.uint16) * 200, near_lossless=9),
    "whole": lambda: exact.compress(np.tile(WIDE[:1, :8], (40, 140, 1))),
    "counted": lambda: exact.compress(np.cumsum(np.arange(1, 23))[WIDE // 12].astype(np.uint8)),
  }[name]()


def codec_of(name):
  return context_codec() if name in LOSSY else lossless()


@functools.cache
def whole_of(name):
  return codec_of(name).decompress(file_of(name))


LOSSY = ["lossy", "rgba", "layered", "layered_rgba", "first"]
NAMES = [*LOSSY, "lossless", "deep", "whole", "counted"]
REGIONS = [(0, 0, 1, 1), (3, 1000, 30, 60), (39, 1099, 1, 1), (10, 1030, 7, 9)]


@pytest.mark.parametrize("name", NAMES)
def test_a_region_is_that_of_the_image(name):
  for region in REGIONS:
    top, left, height, width = region
    found = codec_of(name).decompress(file_of(name), region=region)
    assert found.dtype == whole_of(name).dtype
    np.testing.assert_array_equal(found, whole_of(name)[top : top + height, left : left + width])


# Of the last tile, of 76 pixels; the window of lossy files looks at the first one, too.
@pytest.mark.parametrize(("name", "tiles"), [("lossy", 2), ("lossless", 1)])
def test_a_region_decodes_its_tiles_only(monkeypatch, name, tiles):
  coder, calls = codec_of(name).coder, []
  decode = coder.decode
  monkeypatch.setattr(coder, "decode", lambda *given: calls.append(given) or decode(*given))
  codec_of(name).decompress(file_of(name), region=(5, 1060, 30, 40))
  assert len(calls) == tiles


def test_a_region_of_many_windows(monkeypatch):
  monkeypatch.setattr("cae_jax.codec.windows.HOST_SIDE", 128)
  data = file_of("lossy")
  whole = context_codec().decompress(data)
  decoded, shapes = context_codec().coder, []
  synthesise = decoded.synthesise
  monkeypatch.setattr(
    decoded, "synthesise", lambda y, *given: shapes.append(y.shape[:2]) or synthesise(y, *given)
  )
  for left, width, windows in ((0, 40, 1), (500, 90, 3), (1090, 10, 1), (0, 1100, None)):
    shapes.clear()
    found = context_codec().decompress(data, region=(7, left, 20, width))
    np.testing.assert_array_equal(found, whole[7:27, left : left + width])
    assert windows is None or len(shapes) <= windows


@pytest.mark.parametrize(
  ("region", "message"),
  [
    ((0, 0, 49, 1), r"region 49 x 1 at \(0, 0\): not within the image, which has 48 rows and 1100"),
    ((0, -1, 1, 1), "not within"),
    ((0, 0, 0, 1), "not within"),
    ((0, 1100, 1, 1), "not within"),
    ((0, 0, 1), r"expected \(top, left, height, width\) in pixels"),
    ((0, 0, 1.5, 1), "expected"),
    (3, "expected"),
  ],
)
def test_what_is_no_region(region, message):
  for name in ("lossy", "lossless"):
    with pytest.raises(UsageError, match=message):
      codec_of(name).decompress(file_of(name), region=region)
  assert area_of((np.int64(1), 2, 3, 4), 48, 1100) == (slice(1, 4), slice(2, 6))


def test_means_of_pixels():
  x = np.arange(9 * 10, dtype=np.uint8).reshape(9, 10)
  assert shrink(x, 8).shape == (2, 2)
  assert shrink(x, 8)[0, 0] == np.rint(x[:8, :8].mean())
  assert shrink(x, 8)[1, 1] == np.rint(x[8:, 8:].mean())
  assert shrink(x[..., None].astype(np.uint16) * 300, 3).dtype == np.uint16


@pytest.mark.parametrize("name", NAMES)
def test_a_preview_is_the_image_made_small(name):
  small = codec_of(name).preview(file_of(name))
  expected = shrink(whole_of(name), 8)
  assert (small.shape, small.dtype) == (expected.shape, expected.dtype)
  peak = np.iinfo(small.dtype).max
  least = {"counted": 25, "lossless": 30, "deep": 30, "whole": 30}.get(name, 20)
  assert psnr_db(small / peak * 255, expected / peak * 255) > least


def test_a_preview_is_the_means_of_the_block_transform():
  """Of an untrained model: of few coarse latents, with random networks beside them."""
  coder = context_codec().coder
  y = np.random.default_rng(0).normal(0, 2, (3, 4, 8)).astype(np.float32)
  basis = context_codec().weights.params["synthesis"]["basis"]
  model, params = coder.compiled.model, coder.compiled.params
  step = model.apply({"params": params}, coder._passes.tradeoffs(900), method="step")
  blocks = (y * np.asarray(step)[0, 0, 0, :8]) @ basis[:, :8].T / np.sqrt(768)
  pixels = blocks.reshape(3, 4, 16, 16, 3).swapaxes(1, 2).reshape(48, 64, 3) + 127.5
  expected = pixels.reshape(6, 8, 8, 8, 3).mean((1, 3)).clip(0, 255)
  np.testing.assert_allclose(coder.preview(y, 900), expected, atol=0.51)


def test_a_preview_does_without_the_rest():
  data = file_of("lossy")
  container = unpack(data)
  cut = [section[: len(section) // 2] + bytes(len(section) // 2) for section in container.sections]
  np.testing.assert_array_equal(
    context_codec().preview(pack(container.header, cut)), context_codec().preview(data)
  )
  damaged = [section[:4] + bytes(len(section)) for section in container.sections]
  with pytest.raises(BitstreamError):
    context_codec().preview(pack(container.header, damaged))


def test_models_without_coarse_latents_have_previews_of_the_whole():
  data = (FOLDER / "factorized-rgb.cae").read_bytes()
  factorized = codecs.load(FOLDER / "factorized.safetensors")
  np.testing.assert_array_equal(factorized.preview(data), shrink(factorized.decompress(data), 8))
  whole = factorized.decompress(factorized.compress(WIDE))
  found = factorized.decompress(factorized.compress(WIDE), region=(3, 1010, 30, 50))
  np.testing.assert_array_equal(found, whole[3:33, 1010:1060])


def damaged(data, section, place):
  """The file with a byte of a section changed; `place` is a share of the section."""
  sizes = list(map(len, unpack(data).sections))
  at = len(data) - 4 - sum(sizes[section:]) + int(place * (sizes[section] - 1))
  return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def salvaged(name, data):
  ours = codec_of(name)
  with pytest.raises(BitstreamError, match="the file is damaged"):
    ours.decode(data)
  return ours.decode(data, salvage=True)


@pytest.mark.parametrize("name", ["lossy", "lossless"])
def test_a_whole_file_has_no_damage(name):
  found = codec_of(name).decode(file_of(name), salvage=True)
  assert found.damage == ()
  np.testing.assert_array_equal(found.image, whole_of(name))


def test_damage_behind_the_coarse_symbols_blurs():
  found = salvaged("lossy", damaged(file_of("lossy"), 0, 0.9))
  assert found.damage == (Damage(0, 0, 48, 1024, "blurred"),)
  whole = whole_of("lossy")
  # Synthesis looks across the border of tiles.
  np.testing.assert_array_equal(found.image[:, 1080:], whole[:, 1080:])
  assert 15 < psnr_db(found.image, whole) < 60


def test_damage_at_the_start_loses_a_tile():
  found = salvaged("lossy", damaged(file_of("lossy"), 0, 0))
  assert found.damage == (Damage(0, 0, 48, 1024, "lost"),)
  np.testing.assert_array_equal(found.image[:, 1080:], whole_of("lossy")[:, 1080:])
  assert found.image[:, :900].std(axis=(0, 1)).max() < 20
  region = context_codec().decode(
    damaged(file_of("lossy"), 0, 0), region=(0, 1090, 9, 9), salvage=True
  )
  np.testing.assert_array_equal(region.image, found.image[:9, 1090:1099])


def test_a_lossy_file_that_was_cut_off():
  data = context_codec().compress(photo(96, 96), quality=60)
  whole = context_codec().decompress(data)
  quality = []
  for share in (0.9, 0.6):
    cut = data[: int(share * len(data))]
    found = context_codec().decode(cut, salvage=True)
    assert found.damage == (Damage(0, 0, 96, 96, "blurred"),)
    quality.append(psnr_db(found.image, whole))
  assert min(quality) > 15
  with pytest.raises(BitstreamError, match="nothing is left of the image"):
    context_codec().decode(data[:45], salvage=True)


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_lossless_file_loses_a_tile(place):
  whole = whole_of("lossless")
  found = salvaged("lossless", damaged(file_of("lossless"), 1, place))
  assert found.damage == (Damage(0, 1024, 48, 76, "lost"),)
  assert str(found.damage[0]) == "76 x 48 pixels at (0, 1024) lost"
  np.testing.assert_array_equal(found.image[:, :1024], whole[:, :1024])
  mean = np.rint(whole[:, :1024].mean(axis=(0, 1)))
  np.testing.assert_array_equal(found.image[:, 1024:], np.broadcast_to(mean, (48, 76, 3)))
  data = file_of("lossless")
  assert lossless().decode(data[:-9], salvage=True).damage == found.damage


@pytest.mark.parametrize("name", ["rgba", "deep"])
def test_opacity_that_is_lost_is_full(name):
  data = file_of(name)
  found = salvaged(name, damaged(data, 2, 0.9))
  assert found.damage == (Damage(0, 0, 40, 1100, "opaque"),)
  assert (found.image[..., 3] == np.iinfo(found.image.dtype).max).all()
  np.testing.assert_array_equal(found.image[..., :3], whole_of(name)[..., :3])


@pytest.mark.parametrize(("name", "section"), [("layered", 2), ("layered_rgba", 3)])
def test_a_layer_that_is_lost_shows_what_is_under_it(name, section):
  found = salvaged(name, damaged(file_of(name), section, 0.9))
  height = len(found.image)
  assert found.damage == (Damage(0, 0, height, 1100, "undrawn"),)
  is_drawn = LAYER[:height, :, 3] > 0
  np.testing.assert_array_equal(found.image[~is_drawn], whole_of(name)[~is_drawn])
  assert psnr_db(found.image[is_drawn], whole_of(name)[is_drawn]) < 15


def test_what_is_drawn_is_exact():
  for name in ("layered", "layered_rgba"):
    image = whole_of(name)
    is_drawn = LAYER[: len(image), :, 3] > 0
    np.testing.assert_array_equal(image[is_drawn][:, :3], LAYER[: len(image)][is_drawn][:, :3])


def test_a_damaged_header_or_an_older_file_is_not_salvaged():
  data = file_of("lossy")
  with pytest.raises(BitstreamError, match="the header is damaged"):
    context_codec().decode(data[:20] + bytes([data[20] ^ 1]) + data[21:], salvage=True)
  old = file_of("first")
  with pytest.raises(BitstreamError, match="the file is damaged"):
    context_codec().decode(old[:-20], salvage=True)
  assert context_codec().decode(old, salvage=True).damage == ()


def test_values_that_occur_are_needed():
  with pytest.raises(BitstreamError):
    lossless().decode(damaged(file_of("counted"), 0, 0.9), salvage=True)


def test_exchanged_tiles_are_found():
  """Of two tiles with the same number of positions."""
  image = photo(16, 2048)
  container = unpack(context_codec().compress(image))
  with pytest.raises(BitstreamError, match="do not match their checksum"):
    context_codec().decompress(pack(container.header, container.sections[::-1]))


def test_a_check_is_of_symbols_and_place():
  symbols = [np.arange(5), np.arange(7), np.arange(9)]
  sealed = checked.seal(b"\0section", symbols, 3, 2)
  assert checked.opened(sealed) == b"\0section"
  assert sealed[4:] == turned(b"\0section") == b"\0" + b"section"[::-1]
  checked.check(sealed, symbols, 3, 2)
  checked.check(sealed, symbols[:2], 3, 2)
  for wrong in (symbols[:1], [*symbols[:2], symbols[2] + 1], [symbols[0] + 1, *symbols[1:]]):
    with pytest.raises(BitstreamError, match="do not match"):
      checked.check(sealed, wrong, 3, 2)
  with pytest.raises(BitstreamError, match="do not match"):
    checked.check(sealed, symbols, 4, 2)


def test_what_a_file_is_tuned_for():
  data = file_of("lossy")
  assert info(data).tune == "psnr"
  container = unpack(data)
  level, _ = unpack_rate(container.header.parameters)
  retuned = lambda parameters: pack(
    dataclasses.replace(container.header, parameters=parameters), container.sections
  )
  eye = retuned(pack_rate(level, "eye"))
  assert (info(eye).tune, info(eye).rate_level) == ("eye", level)
  np.testing.assert_array_equal(context_codec().decompress(eye), whole_of("lossy"))
  with pytest.raises(BitstreamError, match="unknown tune 2; a newer cae_jax may know it"):
    context_codec().decompress(retuned((level | 2 << 13).to_bytes(2, "little")))
  assert info(file_of("lossless")).tune is None


@pytest.mark.parametrize("kind", [Kind.GREY_ALPHA_16, Kind.RGB_16, Kind.RGBA_16])
def test_lossy_files_of_16_bits_are_refused(kind):
  container = unpack(file_of("rgba"))
  deep = pack(dataclasses.replace(container.header, kind=kind), container.sections)
  message = f"{kind.name}: lossy files have 8 bits a sample"
  for salvage in (False, True):
    with pytest.raises(BitstreamError, match=message):
      context_codec().decode(deep, salvage=salvage)
  with pytest.raises(BitstreamError, match=message):
    context_codec().preview(deep)
