"""The real Pillow reads and writes .cae files."""

import copy
import dataclasses
import io
import pickle
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

import cae_jax
from cae_jax import api
from cae_jax.coding.bitstream import pack, unpack
from cae_jax.errors import UsageError
from cae_jax.pillow import CaeImageFile
from cae_jax.weights import save_weights, shipped
from tests.golden import FOLDER
from tests.lossless import tiny_weights
from tests.models import context_codec

RNG = np.random.default_rng(0)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Small images of few colours, which need no networks.
PIXELS = (RNG.integers(0, 3, (20, 30, 4)) * 100).astype(np.uint8)
PIXELS[..., 3] |= 1
KINDS = {
  "L": PIXELS[..., 0],
  "LA": PIXELS[..., 2:],
  "RGB": PIXELS[..., :3],
  "RGBA": PIXELS,
  "I;16": PIXELS[..., 0] * np.uint16(257) + np.uint16(3),
}


@pytest.fixture(autouse=True)
def _tiny(tmp_path_factory, monkeypatch):
  """The package's weights are tiny ones here."""
  folder = tmp_path_factory.mktemp("weights")
  save_weights(folder / "lossless.safetensors", tiny_weights())
  monkeypatch.setattr("cae_jax.weights.shipped.FOLDER", folder)
  monkeypatch.setattr(shipped, "LOSSLESS", tiny_weights().name)
  api._codec.cache_clear()
  yield
  api._codec.cache_clear()


@pytest.fixture
def path(tmp_path):
  """Where a .cae file is, lossless, with all metadata."""
  exif = Image.Exif()
  exif[ExifTags.Base.Artist] = "Somebody"
  name = tmp_path / "a.cae"
  image = Image.fromarray(KINDS["RGB"])
  image.save(name, lossless=True, icc_profile=PROFILE, exif=exif, xmp="<x:xmpmeta/>")
  return name


def saved(image: Image.Image, **options) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, "CAE", **options)
  return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
  return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("mode", KINDS)
def test_every_mode_comes_back(mode):
  image = Image.fromarray(KINDS[mode])
  assert image.mode == mode
  again = opened(saved(image, lossless=True))
  assert (again.mode, again.size, again.format) == (mode, (30, 20), "CAE")
  np.testing.assert_array_equal(np.asarray(again), KINDS[mode])


@pytest.mark.parametrize("mode", ["1", "P"])
def test_other_modes_become_what_they_show(mode):
  image = Image.fromarray(KINDS["RGB"]).convert(mode)
  again = opened(saved(image, lossless=True))
  assert again.mode == {"1": "L", "P": "RGB"}[mode]
  np.testing.assert_array_equal(np.asarray(again), np.asarray(image.convert(again.mode)))


@pytest.mark.parametrize(
  ("mode", "better"), [("CMYK", "RGB"), ("F", "L"), ("I", "I;16"), ("YCbCr", "RGB")]
)
def test_modes_that_are_not_written(mode, better, tmp_path):
  with pytest.raises(OSError, match=rf'mode {mode}; give image.convert\("{better}"\)'):
    Image.new(mode, (3, 2)).save(tmp_path / "a.cae", lossless=True)
  assert list(tmp_path.iterdir()) == []


def test_grey_of_mode_i_keeps_its_values_as_the_error_says():
  image = Image.new("I", (3, 2), 30000).convert("I;16")
  assert opened(saved(image, lossless=True)).getpixel((0, 0)) == 30000


def test_colours_of_16_bits_are_reduced_and_it_is_said():
  pixels = RNG.integers(0, 1 << 16, (4, 5, 3), dtype=np.uint16)
  image = opened(cae_jax.compress(pixels, lossless=True))
  assert (image.mode, image.info["bits"]) == ("RGB", 16)
  np.testing.assert_array_equal(np.asarray(image), np.round(pixels / 257))


def test_metadata_are_read_without_pixels(path):
  with Image.open(path) as image:
    assert image._container is not None
    assert (image.size, image.mode, image.get_format_mimetype()) == ((30, 20), "RGB", "image/x-cae")
    assert image.info["icc_profile"] == PROFILE
    assert image.getexif()[ExifTags.Base.Artist] == "Somebody"
    assert image.info["xmp"] == b"<x:xmpmeta/>"
    assert image._container is not None
    image.load()
    assert image._container is None


def test_opening_needs_no_jax(path):
  code = f"""
import sys
from PIL import Image
import cae_jax.pillow
with Image.open({str(path)!r}) as image:
  assert (image.size, image.getexif()[315]) == ((30, 20), "Somebody")
  image.verify()
assert not {{"jax", "flax"}} & set(sys.modules)
"""
  subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_image_keeps_its_profile_and_what_it_is_given(path):
  with Image.open(path) as image:
    kept = opened(saved(image, lossless=True))
    assert set(kept.info) == {"icc_profile"}
    assert set(opened(saved(image, lossless=True, icc_profile=None)).info) == set()
    everything = opened(saved(image, lossless=True, exif=image.getexif(), xmp=image.info["xmp"]))
  assert everything.getexif()[ExifTags.Base.Artist] == "Somebody"
  assert everything.info["xmp"] == b"<x:xmpmeta/>"


def test_options_reach_the_codec(monkeypatch):
  asked = {}

  def compress(pixels, **options):
    asked.update(options)
    return b"bytes"

  monkeypatch.setattr(api, "compress", compress)
  given = {"bpp": 0.5, "quality": 40, "psnr": 1, "size_bytes": 9, "lossless": True}
  given |= {
    "ssimulacra2": 70,
    "tune": "psnr",
    "near_lossless": 2,
    "effort": 1,
    "keep_hidden_colour": True,
  }
  image = Image.new("RGB", (3, 2))
  assert saved(image, optimize=True, **given) == b"bytes"  # as others, ours ignores other options
  assert asked == {**given, "metadata": {}}


def test_options_that_make_no_sense(tmp_path):
  with pytest.raises(ValueError, match="expected one target, got"):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.cae", bpp=1, lossless=True)
  assert list(tmp_path.iterdir()) == []


def test_text_that_is_no_text():
  with pytest.raises(UsageError, match=r"xmp '\\udc80': expected text of Unicode, or bytes"):
    saved(Image.new("L", (3, 2)), xmp="\udc80")


def test_errors_stay_small():
  image = Image.fromarray(KINDS["RGB"])
  again = np.asarray(opened(saved(image, near_lossless=2))).astype(int)
  assert np.abs(again - KINDS["RGB"]).max() <= 2


def test_a_lossy_file(monkeypatch):
  monkeypatch.setattr(api, "codec", lambda weights: context_codec())
  monkeypatch.setattr("cae_jax.weights.shipped.find_for_file", lambda *_: "context")
  with Image.open(FOLDER / "context-grey.cae") as image:
    assert image.mode == "L"
    shown = np.asarray(image).astype(int)
  with Image.open(FOLDER / "context-grey.png") as expected:
    assert np.abs(shown - np.asarray(expected)).max() <= 1


def test_other_bytes_are_not_identified():
  for data in (b"", b"CAE", b"\xc1CA", bytes(100)):
    with pytest.raises(UnidentifiedImageError):
      opened(data)


def test_damaged_files_say_what_is_wrong(path):
  data = path.read_bytes()
  for wrong in (data[:-1], data[:60], data + b"\0", data[:50] + bytes([data[50] ^ 1]) + data[51:]):
    with pytest.raises(OSError, match="the file is damaged: bytes were changed, cut off or added"):
      opened(wrong)
  with pytest.raises(OSError, match="format version 9"):
    opened(data[:4] + b"\x09" + data[5:])
  opened(data).load()


def test_what_is_left_is_shown_to_who_asks_for_it(monkeypatch):
  monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
  ramp = np.arange(1100)[None] // 5 + RNG.normal(0, 3, (8, 1100))
  pixels = np.clip(ramp, 0, 255).astype(np.uint8)
  data = cae_jax.compress(pixels, lossless=True)
  image = opened(data[:-9])
  assert image.size == (1100, 8)
  np.testing.assert_array_equal(np.asarray(image)[:, :1024], pixels[:, :1024])
  assert opened(data[:-9]).draft(None, (9, 1)) is None  # a preview fills nothing
  with pytest.raises(OSError, match="nothing is left of the image"):
    opened(data[:60]).load()
  with pytest.raises(OSError, match="the header is damaged"):
    opened(data[:20] + bytes([data[20] ^ 1]) + data[21:])


def test_a_file_holds_one_frame(path):
  image, file = Image.new("RGB", (9, 5)), io.BytesIO()
  image.save(file, "CAE", save_all=True, lossless=True)
  assert opened(file.getvalue()).size == (9, 5)
  with pytest.raises(UsageError, match=r"a \.cae file holds one picture, got 2"):
    image.save(io.BytesIO(), "CAE", save_all=True, append_images=[image])
  with pytest.raises(UsageError, match="got 3"):
    image.save(io.BytesIO(), "CAE", save_all=True, append_images=(image for _ in range(2)))
  image.save(file, "CAE", save_all=True, append_images=None, lossless=True)


def test_thumbnails_are_made_of_previews(monkeypatch):
  pixels = np.add.outer(np.arange(90), np.arange(161)).astype(np.uint8)
  data = cae_jax.compress(np.dstack([pixels] * 3), lossless=True)
  decode = api.decode
  monkeypatch.setattr(api, "decode", None)
  image = opened(data)
  image.thumbnail((10, 6))
  assert image.size == (10, 6)
  square = opened(data)
  square.thumbnail((10, 10))
  assert square.size == (10, 6)
  preview = opened(data)
  assert preview.draft(None, (21, 12)) == ("RGB", (0, 0, 161 / 8, 90 / 8))
  assert preview.draft(None, (1, 1)) is None
  np.testing.assert_array_equal(np.asarray(preview), cae_jax.preview(data))
  looked = opened(data)
  looked.draft(None, (21, 12))
  with pytest.raises(UsageError, match="a preview has no look"):
    looked.load(look=0.5)
  monkeypatch.setattr(api, "decode", decode)
  large = opened(data)
  assert large.draft(None, (24, 14)) is None
  assert large.draft("L", None) is None
  np.testing.assert_array_equal(np.asarray(large)[..., 0], pixels)


def test_damage_within_is_found_on_loading(path):
  body = bytearray(path.read_bytes()[:-4])
  body[-30] ^= 1
  image = opened(bytes(body) + zlib.crc32(body).to_bytes(4, "little"))
  with pytest.raises(OSError, match=r"section '\w+', byte"):
    image.load()


def test_files_of_other_weights_open_but_do_not_load(path, monkeypatch, tmp_path):
  monkeypatch.setattr("cae_jax.weights.shipped.FOLDER", tmp_path / "none")
  with Image.open(path) as image, pytest.raises(OSError, match="made with the weights 'tiny"):
    image.load()


def test_the_limit_against_bombs_is_that_of_pillow(path, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 30 // 2 - 1)
  with pytest.raises(Image.DecompressionBombError):
    Image.open(path)
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 30 - 1)
  with pytest.warns(Image.DecompressionBombWarning), Image.open(path) as image:
    image.load()


def test_narrow_images_are_held_against_that_limit_as_they_are_padded(monkeypatch):
  monkeypatch.setattr(api, "_codec_of", lambda container: context_codec())
  container = unpack(context_codec().compress(PIXELS[..., :3]))
  narrow = dataclasses.replace(container.header, height=1 << 24, width=1)
  with Image.open(io.BytesIO(pack(narrow, container.sections))) as image:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 24)
    with pytest.raises(OSError, match=r"64 x 16777216, more than .* = 33554432; .*MAX_IMAGE_PIX"):
      image.load()


def test_verified_copied_pickled(path):
  with Image.open(path) as image:
    image.verify()
  with Image.open(path) as image:
    for again in (pickle.loads(pickle.dumps(image)), copy.deepcopy(image), image.copy()):
      np.testing.assert_array_equal(np.asarray(again), KINDS["RGB"])
      again.putpixel((0, 0), (1, 2, 3))
      assert again.getpixel((0, 0)) == (1, 2, 3)
    assert image.getpixel((0, 0)) == tuple(KINDS["RGB"][0, 0])


def test_an_image_of_ours_is_one_of_pillow(path):
  with Image.open(path) as image:
    data = cae_jax.compress(image, lossless=True)
  np.testing.assert_array_equal(cae_jax.decompress(data), KINDS["RGB"])


def test_small_pictures_of_it(path):
  with Image.open(path) as image:
    image.thumbnail((10, 10))
    assert image.size == (10, 7)


def test_fifty_files_by_four_threads(path, tmp_path):
  names = [tmp_path / f"{i}.cae" for i in range(50)]
  images = [np.roll(KINDS["RGB"][:8, :8], i, 1) for i in range(50)]

  def write(name, pixels):
    Image.fromarray(pixels).save(name, lossless=True)

  def read(name):
    with Image.open(name) as image:
      return np.asarray(image.convert("RGB"))

  with ThreadPoolExecutor(4) as pool:
    list(pool.map(write, names, images))
    for pixels, expected in zip(pool.map(read, names), images):
      np.testing.assert_array_equal(pixels, expected)


def test_threads_may_share_an_image(path, monkeypatch):
  decoded = []
  decode = api.decode
  monkeypatch.setattr(api, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
  with Image.open(path) as image, ThreadPoolExecutor(8) as pool:
    for pixels in pool.map(lambda _: np.array(image), range(8)):
      np.testing.assert_array_equal(pixels, KINDS["RGB"])
  assert len(decoded) == 1


def test_files_are_closed(path):
  """A file left open is a warning, which is an error here."""
  image = Image.open(path)
  image.load()
  assert image.fp is None
  with open(path, "rb") as file:
    Image.open(file).load()
    assert not file.closed


@pytest.mark.parametrize("library", ["imageio.v3", "skimage.io"])
def test_other_libraries_read_it_through_pillow(library, path):
  read = pytest.importorskip(library).imread
  np.testing.assert_array_equal(read(path), KINDS["RGB"])


def test_imageio_writes_it(tmp_path):
  imageio = pytest.importorskip("imageio.v3")
  imageio.imwrite(tmp_path / "b.cae", KINDS["RGBA"], plugin="pillow", lossless=True)
  np.testing.assert_array_equal(imageio.imread(tmp_path / "b.cae"), KINDS["RGBA"])


def test_what_is_registered():
  assert Image.registered_extensions()[".cae"] == "CAE"
  assert Image.OPEN["CAE"][0] is CaeImageFile
  assert Image.MIME["CAE"] == "image/x-cae"


def test_16_bits_are_lossless_if_nothing_is_asked_for():
  deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
  np.testing.assert_array_equal(np.asarray(opened(saved(Image.fromarray(deep)))), deep)


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (7, 7, 7))])
def test_a_transparent_colour_becomes_alpha(mode, colour):
  image = Image.new(mode, (12, 9), colour)
  image.putpixel((3, 4), 99 if mode == "L" else (99, 1, 2))
  image.info["transparency"] = colour
  alpha = np.asarray(opened(saved(image, lossless=True)).getchannel("A"))
  assert alpha.sum() == alpha[4, 3] == 255


def test_the_commands_name_of_a_size_is_not_passed_over():
  with pytest.raises(UsageError, match="bytes=100: expected size_bytes=100"):
    saved(Image.new("L", (9, 9)), bytes=100)


def test_results_are_told_in_a_line():
  deep = np.arange(600, dtype=np.uint16).reshape(20, 30)
  assert re.fullmatch(
    r"<LosslessEncoded: \d+ bytes, [\d.]+ bpp, lossless>", repr(cae_jax.encode(deep, lossless=True))
  )
