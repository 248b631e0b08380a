"""Metadata, however broken, ends neither reading nor writing."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from cae_jax.coding.bitstream import pack, unpack
from cae_jax.commands import decompressing, loading
from cae_jax.images import files, jpeg, metadata, writing
from tests import image_files as make
from tests.models import context_codec, photo

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
WITH_METADATA = sorted(
  {f.name: suffix for suffix, f in writing.FORMATS.items() if f.blocks}.values()
)
SRGB = make.profile()


def camera_exif():
  """As cameras write it: directories in directories."""
  exif = Image.Exif()
  exif[ExifTags.Base.Artist] = "someone"
  exif[ExifTags.Base.XResolution] = 300.0
  exif[ExifTags.IFD.Exif] = {
    36864: b"0220", 33434: (1, 100), 37500: b"maker's note", 40965: {1: "R03"}
  }  # fmt: skip
  exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (48.0, 12.0, 30.5)}
  return exif.tobytes()


@st.composite
def damaged(draw, block):
  """A block with some bytes changed, taken out, put in, or cut off."""
  data = bytearray(block)
  for _ in range(draw(st.integers(1, 4))):
    place = draw(st.integers(0, max(0, len(data) - 1)))
    taken, put = draw(st.sampled_from([1, 1, 1, 0, 7, 1000])), draw(st.binary(max_size=4))
    data[place : place + taken] = put
  return bytes(data)


@pytest.mark.parametrize("suffix", WITH_METADATA)
@settings(max_examples=25)
@given(
  exif=damaged(camera_exif()), profile=damaged(SRGB), xmp=damaged(b'<a tiff:Orientation="1"/>')
)
def test_damaged_metadata_is_written_or_left_out(tmp_path_factory, suffix, exif, profile, xmp):
  path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
  blocks = {"icc_profile": profile, "exif": exif, "xmp": xmp}
  notes = files.write_image(path, RGB, **blocks)
  read = files.read_image(path)
  assert sorted(read.pixels.shape) == sorted(RGB.shape)  # an orientation may turn it
  if writing.FORMATS[suffix].is_exact:
    np.testing.assert_array_equal(np.sort(read.pixels, axis=None), np.sort(RGB, axis=None))
  for name, label in (("icc_profile", "ICC profile"), ("exif", "EXIF"), ("xmp", "XMP")):
    said = any(label in note and "left out" in note for note in notes)
    assert (getattr(read, name) is None) == said


@pytest.mark.parametrize("suffix", [".png", ".tif", ".avif"])
def test_a_batch_does_not_end_at_broken_metadata(tmp_path, monkeypatch, suffix):
  codec = context_codec()
  monkeypatch.setattr(loading, "load_codec", lambda weights: codec)
  made = unpack(codec.compress(photo(30, 40)))
  blocks = {"exif": b"Exif\0\0no TIFF file", "icc": b"no profile", "xmp": b"\xff"}
  source, target = tmp_path / "a.cae", tmp_path / f"a{suffix}"
  source.write_bytes(pack(made.header, made.sections, blocks))
  line = decompressing.decompress_file(source, target, weights="tiny").words
  assert "unreadable EXIF left out" in line
  assert "unreadable ICC profile, left out" in line
  assert files.read_image(target).pixels.shape == (30, 40, 3)


def international(text, *, flag=b"\0", separators=b"\0\0"):
  return make.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + flag + b"\0" + separators + text)


def hidden_exif(text, kind=b"tEXt"):
  return make.png_chunk(kind, b"Raw profile type exif\0" + text)


UNREADABLE = {
  "XMP that does not inflate": (international(b"garbage", flag=b"\1"), "XMP"),
  "XMP that is cut off": (international(zlib.compress(b"<x/>" * 99)[:-9], flag=b"\1"), "XMP"),
  "XMP of 17 MiB": (international(zlib.compress(bytes(17 << 20)), flag=b"\1"), "XMP"),
  "XMP without a language": (international(b"<x/>", separators=b""), "XMP"),
  "XMP without anything": (make.png_chunk(b"iTXt", b"XML:com.adobe.xmp"), "XMP"),
  "EXIF that does not inflate": (hidden_exif(b"\0garbage", b"zTXt"), "EXIF"),
  "EXIF that is not hexadecimal": (hidden_exif(b"\nexif\n 9\nzzzz"), "EXIF"),
  "profile": (make.png_chunk(b"iCCP", b"a\0\0garbage"), "ICC profile"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_chunks_of_png_are_told(name):
  chunk, label = UNREADABLE[name]
  read = files.read_image(make.png(RGB, 8, chunk, chunk))
  assert read.metadata == {}
  assert read.notes == (f"left out: unreadable {label}",)


def test_an_unreadable_chunk_of_png_leaves_what_was_read_before():
  xmp, text = b"<x/>", b"\nexif\n 8\n" + make.exif_block(Artist="a").hex().encode()
  profile = make.png_chunk(b"iCCP", b"a\0\0" + zlib.compress(SRGB))
  whole = [hidden_exif(text), profile, international(xmp)]
  damaged = [chunk for chunk, _ in UNREADABLE.values()]
  read = files.read_image(make.png(RGB, 8, *whole, *damaged))
  assert (read.xmp, read.icc_profile) == (xmp, SRGB)
  assert b"a" in read.exif
  assert read.notes == ("left out: unreadable XMP, text, unreadable ICC profile",)


def test_empty_xmp_is_none():
  assert files.read_image(make.png(RGB, 8, international(b""))).xmp is None


def test_of_much_that_is_left_out_the_first_is_named():
  chunks = [make.png_chunk(bytes([97 + i // 26, 97 + i % 26, 88, 120]), b"") for i in range(300)]
  (note,) = files.read_image(make.png(RGB, 8, *chunks, *chunks)).notes
  assert note.startswith("left out: chunk aaXx, chunk abXx, ")
  assert note.endswith(", chunk ahXx and 292 more")


def test_names_of_chunks_are_printable():
  (note,) = files.read_image(make.png(RGB, 8, make.png_chunk(b"a\x1bcX", b""))).notes
  assert note == r"left out: chunk a\x1bcX"


def test_boxes_of_a_kind_are_named_once():
  boxes = make.box(b"xml ", b"<gml/>") * 3
  assert files.read_image(make.jp2(RGB, None, boxes)).notes == ("left out: boxes of metadata",)


def test_many_segments_of_exif_are_read_in_one_go():
  part, count = b"II" * 1000, 20_000  # adding each to those before would take minutes
  data = jpeg.START + make.jpeg_segment(0xE1, b"Exif\0\0" + part) * count
  hidden, block = jpeg.split(data)
  assert (len(hidden), block) == (len(data), part * count)


def test_what_does_not_fit_a_format_is_said(tmp_path):
  long = make.exif_block(Artist="x" * 70_000)
  notes = files.write_image(tmp_path / "a.jpg", RGB, exif=long)
  assert "EXIF left out, too long for .jpg" in notes
  notes = files.write_image(tmp_path / "a.png", RGB[..., 0], icc_profile=SRGB)
  assert notes == ("ICC profile for RGB, which does not fit grey pixels, left out",)
  assert files.write_image(tmp_path / "b.png", RGB, exif=long) == ()


def test_tiff_takes_what_speaks_of_the_picture(tmp_path):
  exif = Image.Exif()
  exif.load(camera_exif())
  exif[ExifTags.Base.PhotometricInterpretation] = 0  # white is 0, in the file that this came from
  exif[ExifTags.Base.ImageWidth] = 1
  assert files.write_image(tmp_path / "a.tif", RGB, exif=exif.tobytes()) == ()
  read = files.read_image(tmp_path / "a.tif")
  np.testing.assert_array_equal(read.pixels, RGB)
  kept = Image.Exif()
  kept.load(read.exif)
  assert kept[ExifTags.Base.Artist] == "someone"
  assert kept.get_ifd(ExifTags.IFD.Interop) == {1: "R03"}
  assert kept.get_ifd(ExifTags.IFD.Exif)[37500] == b"maker's note"
  assert kept.get_ifd(ExifTags.IFD.GPSInfo)[2] == (48.0, 12.0, 30.5)
  assert ExifTags.Base.ImageWidth not in kept


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_only_the_orientation_is_taken_out_of_exif(order, prefix):
  exif = Image.Exif()
  exif.endian = order
  exif.load(camera_exif())
  exif.endian = order
  exif[ExifTags.Base.Orientation] = 8
  read = metadata.read_exif(prefix + exif.tobytes().removeprefix(b"Exif\0\0"))
  assert read.orientation == 8
  kept = Image.Exif()
  kept.load(read.block)
  assert ExifTags.Base.Orientation not in kept
  assert set(kept) == read.tags == set(exif) - {ExifTags.Base.Orientation}
  assert kept.get_ifd(ExifTags.IFD.Exif)[37500] == b"maker's note"
  assert metadata.read_exif(read.block) == metadata.Exif(read.block, read.tags, None)


@given(damaged(camera_exif()))
def test_damaged_exif_is_read_or_not(block):
  read = metadata.read_exif(block)
  assert read is None or len(read.block) <= len(block) + len(b"Exif\0\0")


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_ignored(value):
  data = make.encode(RGB, exif=make.exif_block(Orientation=value))
  read = files.read_image(data)
  np.testing.assert_array_equal(read.pixels, RGB)
  assert read.notes == ()


@pytest.mark.parametrize("bits", [8, 16])
def test_the_orientation_of_a_tiff_file_may_be_in_its_xmp(bits):
  data = make.tiff(RGB, bits, [(700, 1, list(b'<a tiff:Orientation="6"/>'))])
  read = files.read_image(data, exact=True)
  np.testing.assert_array_equal(read.pixels, np.rot90(RGB, -1))
  assert read.notes == ("EXIF orientation 6 applied",)
  assert b'tiff:Orientation="1"' in read.xmp
  assert files.upright_size(data) == (7, 5)


@pytest.mark.parametrize("dpi", [72, 96, 300])
@pytest.mark.parametrize("in_exif", [False, True])
def test_a_resolution_is_said_to_be_lost_only_if_it_is(dpi, in_exif):
  exif = camera_exif() if in_exif else b""
  notes = files.read_image(make.encode(RGB, "PNG", dpi=(dpi, dpi), exif=exif)).notes
  assert notes == (("left out: resolution",) if dpi == 300 and not in_exif else ())
