"""Every kind of image file has one defined outcome; see test_image_tables.py, too."""

import io
import struct
import sys
import tracemalloc
import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from cae_jax.errors import UsageError
from cae_jax.images import files
from tests.image_files import encode, png, png_chunk, profile, tiff

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (6, 9, 4), dtype=np.uint8)
SRGB = profile()
ORIENTATION = ExifTags.Base.Orientation


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA], ids=["grey", "rgb", "rgba"])
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tiff"])
def test_written_pixels_are_read_back(tmp_path, pixels, suffix):
  path = tmp_path / f"image{suffix}"
  files.write_image(path, pixels)
  image = files.read_image(path)
  np.testing.assert_array_equal(image.pixels, pixels)
  assert image.pixels.dtype == np.uint8
  assert image.notes == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_values_are_rounded_not_cut(channels):
  values = RNG.integers(0, 65536, (5, 7, channels))
  values[0, 0] = 65535
  image = files.read_image(png(values, 16))
  expected = np.rint(values / 257).astype(np.uint8)
  np.testing.assert_array_equal(image.pixels.reshape(expected.shape), expected)
  assert image.notes == ("16-bit reduced to 8",)


def test_16_bit_turned_by_its_orientation():
  values = RNG.integers(0, 65536, (5, 7, 3))
  exif = Image.Exif()
  exif[ORIENTATION] = 6
  block = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
  pixels = files.read_image(png(values, 16, block)).pixels
  np.testing.assert_array_equal(pixels, np.rot90(np.rint(values / 257), -1))


def test_16_bit_tiff():
  values = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)
  pixels = files.read_image(encode(values, "TIFF")).pixels
  np.testing.assert_array_equal(pixels, np.rint(values / 257))


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_tiff_that_is_compressed(channels):
  """Of which Pillow gets the values in the machine's order of bytes."""
  values = RNG.integers(0, 65536, (5, 7, channels))
  pixels = files.read_image(tiff(values, 16, deflate=True)).pixels
  np.testing.assert_array_equal(pixels, np.rint(values / 257))


@pytest.mark.parametrize("kind", ["1", "P", "grey with tRNS", "P with tRNS"])
def test_other_modes_are_expanded(kind):
  kwargs = {}
  if kind == "1":
    image, shape = Image.fromarray(GREY).convert("1"), (6, 9)
  elif kind == "grey with tRNS":
    image, shape, kwargs = Image.fromarray(GREY), (6, 9, 2), {"transparency": int(GREY[0, 0])}
  else:
    image, shape = Image.fromarray(RGB).quantize(16), (6, 9, 3)
    if "tRNS" in kind:
      shape, kwargs = (6, 9, 4), {"transparency": bytes(range(0, 160, 10))}
  read = files.read_image(encode(image, **kwargs))
  assert read.pixels.shape == shape
  assert read.pixels.dtype == np.uint8
  assert len(read.notes) == 1
  assert "expanded" in read.notes[0]


def test_palette_colours_are_exact():
  palette = Image.fromarray(RGB).quantize(16)
  read = files.read_image(encode(palette))
  np.testing.assert_array_equal(read.pixels, np.asarray(palette.convert("RGB")))
  assert read.notes == ("palette expanded",)


def test_cmyk_becomes_rgb_without_its_profile():
  flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
  data = encode(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=100)
  read = files.read_image(data)
  assert np.abs(read.pixels.astype(int) - flat).max() <= 4
  assert read.notes == ("CMYK converted to sRGB",)
  assert read.icc_profile is None


def test_cmyk_with_a_broken_profile_is_still_read():
  data = encode(Image.new("CMYK", (8, 8)), "JPEG", icc_profile=b"no profile")
  read = files.read_image(data)
  np.testing.assert_array_equal(read.pixels, 255)
  assert read.notes == ("CMYK converted to sRGB", "left out: unreadable ICC profile")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_removed(orientation):
  exif = Image.Exif()
  exif[ORIENTATION] = orientation
  exif[ExifTags.Base.Artist] = "someone"
  turned = [
    RGB, RGB[:, ::-1], RGB[::-1, ::-1], RGB[::-1],
    RGB.swapaxes(0, 1), np.rot90(RGB, -1), RGB[::-1, ::-1].swapaxes(0, 1), np.rot90(RGB),
  ]  # fmt: skip
  read = files.read_image(encode(RGB, exif=exif))
  np.testing.assert_array_equal(read.pixels, turned[orientation - 1])
  kept = Image.Exif()
  kept.load(read.exif)
  assert kept.get(ORIENTATION, 1) == 1
  assert kept[ExifTags.Base.Artist] == "someone"
  assert read.notes == ((f"EXIF orientation {orientation} applied",) if orientation > 1 else ())


def test_exif_of_orientation_only_is_dropped():
  exif = Image.Exif()
  exif[ORIENTATION] = 3
  assert files.read_image(encode(RGB, "JPEG", exif=exif)).exif is None


def test_profile_and_exif_are_kept(tmp_path):
  exif = Image.Exif()
  exif[ExifTags.Base.Artist] = "someone"
  path = tmp_path / "image.png"
  notes = files.write_image(path, RGB, icc_profile=SRGB, exif=exif.tobytes(), xmp=b"<x/>")
  read = files.read_image(path)
  assert notes == read.notes == ()
  assert read.icc_profile == SRGB
  assert read.xmp == b"<x/>"
  assert read.metadata.keys() == {"icc", "exif", "xmp"}
  kept = Image.Exif()
  kept.load(read.exif)
  assert kept[ExifTags.Base.Artist] == "someone"


def test_first_of_several_frames():
  frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
  read = files.read_image(encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
  np.testing.assert_array_equal(read.pixels, RGB)
  assert read.notes == ("first frame of 2",)


def test_floating_point_pixels_are_refused():
  with pytest.raises(files.ImageError, match="floating-point pixels; convert"):
    files.read_image(encode(GREY.astype(np.float32), "TIFF"))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_truncated_file_is_an_error_that_names_it(tmp_path, image_format):
  big = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
  data = encode(big, image_format)
  path = tmp_path / "broken.image"
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(files.ImageError, match=r"broken\.image: not a readable image \("):
    files.read_image(path)


@pytest.mark.parametrize(
  ("data", "words"),
  [
    (b"", "an empty file"),
    (b"text", "Pillow does not know its format, or its beginning is damaged"),
    (b"\x89PNG\r\n\x1a\n", "a kind of PNG that Pillow does not read, or damaged"),
    (b"II*\0" + bytes(20), "a kind of TIFF that Pillow does not read, or damaged"),
    (b"\n <?xml?><svg/>", "SVG, a drawing; render it to PNG first"),
    (b"%PDF-1.7", "PDF, a document; render it to PNG first"),
    (b"\xff\x0a" + bytes(9), "JPEG XL, which no extra of this package reads; `djxl` makes a PNG"),
  ],
)
def test_what_is_no_image(tmp_path, data, words):
  path = tmp_path / "file.image"
  path.write_bytes(data)
  for file, name in ((path, "file.image"), (data, f"image of {len(data)} bytes")):
    with pytest.raises(
      files.ImageError, match=rf"{name}: not a readable image \({words}"
    ) as caught:
      files.read_image(file)
    assert "object at 0x" not in str(caught.value)


def test_heic_names_what_reads_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "pillow_heif", None)
  data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
  with pytest.raises(files.ImageError, match="HEIC, which `pip install pillow-heif` reads"):
    files.read_image(data)


@pytest.mark.parametrize(
  "kind", ["str", "Path", "bytes", "bytearray", "memoryview", "BytesIO", "file"]
)
def test_what_can_be_read(tmp_path, kind):
  path, data = tmp_path / "image.png", encode(RGB)
  path.write_bytes(data)
  with path.open("rb") as opened:
    file = {
      "str": str(path), "Path": path, "bytes": data, "bytearray": bytearray(data),
      "memoryview": memoryview(data), "BytesIO": io.BytesIO(data), "file": opened,
    }[kind]  # fmt: skip
    np.testing.assert_array_equal(files.read_rgb(file), RGB)


def test_an_opened_file_is_named(tmp_path):
  (tmp_path / "broken.png").write_bytes(b"text")
  with (
    (tmp_path / "broken.png").open("rb") as opened,
    pytest.raises(files.ImageError, match=r"broken\.png: not a readable image"),
  ):
    files.read_image(opened)


@pytest.mark.parametrize("file", [RGB, Image.fromarray(RGB), io.StringIO("text"), 3, None])
def test_what_is_no_file(file):
  words = (
    f"expected a path, the bytes of an image file or a file opened .* got {type(file).__name__}"
  )
  with pytest.raises(UsageError, match=words):
    files.read_rgb(file)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(640, 480), (33, 17)])
def test_jpeg_without_its_end(progressive, size):
  image = Image.fromarray(RGB).resize(size, Image.Resampling.BICUBIC)
  data = encode(image, "JPEG", progressive=progressive)
  whole = files.read_image(data)
  for cut in (1, 2):
    read = files.read_image(data[:-cut])
    np.testing.assert_array_equal(read.pixels, whole.pixels)
    assert read.notes == ("end of the file missing",)
  scan = data.rindex(b"\xff\xda")
  for size in (*range(len(data) - 40, len(data) - 3), scan + 14, scan, scan - 9, len(data) // 2):
    try:
      read = files.read_image(data[:size])
    except files.ImageError:
      continue
    np.testing.assert_array_equal(read.pixels, whole.pixels)  # nothing but padding was missing


def test_pillows_limits_stay(monkeypatch):
  chunk = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000)))
  before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
  limits = []
  monkeypatch.setattr(Image.Image, "load", _noting(limits, Image.Image.load))
  np.testing.assert_array_equal(files.read_rgb(png(RGB, 8, *[chunk] * 40)), RGB)
  assert set(limits) == {before}


def _noting(limits, method):
  def noting(image, *args):
    limits.append((PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY))
    return method(image, *args)

  return noting


def test_a_bomb_in_a_profile_is_left_out():
  chunk = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(20 << 20)))
  read = files.read_image(png(RGB, 8, chunk))
  assert read.icc_profile is None
  assert read.notes == ("left out: unreadable ICC profile",)


def test_a_bomb_of_digits_takes_little_memory():
  digits = b"exif 1 " + b"00" * (7 << 20) + b"x"
  chunk = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits))
  data = png(RGB, 8, chunk)
  tracemalloc.start()
  read = files.read_image(data)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert read.notes == ("left out: unreadable EXIF",)
  assert peak < 80 << 20


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_chunks_of_a_file_share_what_may_be_inflated(damage):
  xmp = zlib.compress(bytes(9 << 20))
  chunks = [
    png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
    for packed in (xmp[: len(xmp) - len(damage)] + damage, xmp)
  ]
  read = files.read_image(png(RGB, 8, *chunks))
  assert read.notes == ("left out: unreadable XMP",)
  assert (read.xmp is None) == bool(damage)


_GIF = encode(Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.new("L", (9, 6))])
_TIFF = encode(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(RGB)])


@pytest.mark.parametrize(
  ("place", "work"),
  [
    ("reading.load", lambda: files.read_image(png(RGB))),
    ("reading._open", lambda: files.upright_size(png(RGB))),
    ("reading.contents.of", lambda: files.read_image(encode(RGB, "AVIF", exif=Image.Exif()))),
    ("reading.contents.first_frame", lambda: files.read_image(_GIF)),
    ("tiff._load", lambda: files.read_image(_TIFF)),
    ("contents.metadata.exif_of_tiff", lambda: files.read_image(_TIFF)),
    ("writing._encode", lambda: files.encode_image("a.png", RGB)),
    ("writing.read_image", lambda: files.encode_image("a.png", RGB, icc_profile=SRGB)),
  ],
)
def test_want_of_memory_is_no_fault_of_a_file(place, work, monkeypatch):
  monkeypatch.setattr(f"cae_jax.images.{place}", mock.Mock(side_effect=[MemoryError, None]))
  with pytest.raises(MemoryError):
    work()


def test_missing_file_is_not_an_image_error(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"absent\.png"):
    files.read_image(tmp_path / "absent.png")


def test_decompression_bomb():
  header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
  data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")
  with pytest.raises(files.ImageError, match="decompression bomb"):
    files.read_image(data)


@settings(max_examples=150, deadline=None)
@given(
  image_format=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]),
  cut=st.floats(0, 1),
  place=st.floats(0, 1, exclude_max=True),
  value=st.integers(0, 255),
)
def test_damage_is_an_image_error_or_an_image(image_format, cut, place, value):
  data = bytearray(encode(RGB, image_format))
  data[int(place * len(data))] = value
  try:
    pixels = files.read_rgb(bytes(data[: int(cut * len(data)) + 1]))
  except files.ImageError:
    return
  assert pixels.dtype == np.uint8
  assert pixels.shape[2:] == (3,)


def test_to_rgb_of_grey_and_rgb():
  np.testing.assert_array_equal(files.to_rgb(GREY), np.stack([GREY] * 3, axis=-1))
  np.testing.assert_array_equal(files.to_rgb(GREY[..., None]), files.to_rgb(GREY))
  assert files.to_rgb(RGB) is RGB


def test_grey_with_alpha_stays_that(tmp_path):
  pixels = RGBA[..., 2:]
  files.write_image(tmp_path / "image.png", pixels)
  read = files.read_image(tmp_path / "image.png")
  np.testing.assert_array_equal(read.pixels, pixels)
  assert read.notes == ()


def test_to_rgb_blends_alpha_over_white():
  three = np.concatenate([np.repeat(RGBA[..., :1], 3, axis=-1), RGBA[..., 3:]], axis=-1)
  np.testing.assert_array_equal(files.to_rgb(RGBA[..., ::3]), files.to_rgb(three))
  alpha = RGBA[..., 3:] / 255
  expected = np.rint(RGBA[..., :3] * alpha + 255 * (1 - alpha))
  np.testing.assert_array_equal(files.to_rgb(RGBA), expected)


@pytest.mark.parametrize(
  "pixels",
  [np.zeros((2, 2, 5), np.uint8), np.zeros((2, 2)), np.zeros((0, 2), np.uint8), [1]],
)
def test_what_are_no_pixels(tmp_path, pixels):
  with pytest.raises(files.ImageError, match=r"expected uint8 pixels \[H, W\]"):
    files.to_rgb(pixels)
  with pytest.raises(files.ImageError, match=r"expected uint8 or uint16 pixels \[H, W\]"):
    files.write_image(tmp_path / "image.png", pixels)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["image.jpg", "image.xyz", "image"])
def test_format_that_cannot_hold_the_pixels(tmp_path, name):
  with pytest.raises(files.ImageError, match=rf"{name}: cannot write RGBA pixels to .* \.png"):
    files.write_image(tmp_path / name, RGBA)
  assert not list(tmp_path.iterdir())


def test_missing_folder_is_the_systems_error(tmp_path):
  with pytest.raises(FileNotFoundError, match="absent"):
    files.write_image(tmp_path / "absent" / "image.png", RGB)
