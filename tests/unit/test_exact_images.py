"""Every bit of images of up to 16 bits, in and out of files of independent programs."""

import functools
import io
import itertools
import pathlib
import sys
import tracemalloc
import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from cae_jax.errors import MissingExtraError
from cae_jax.images import dicom, files, srgb
from tests import image_files as make

RNG = np.random.default_rng(0)
CHANNELS = (1, 2, 3, 4)
SHAPE = (37, 45)
ARTIST = make.exif_block(Artist="someone")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">words</x:xmpmeta>'


def noise(channels, bits=16, shape=SHAPE):
  """Values of all depths, the least and the largest among them."""
  values = RNG.integers(0, 1 << bits, (*shape, channels)).astype(
    np.uint8 if bits <= 8 else np.uint16
  )
  values[0, 0], values[-1, -1] = 0, (1 << bits) - 1
  return values[..., 0] if channels == 1 else values


def assert_reads(data, expected, bits=None, notes=()):
  read = files.read_image(data, exact=True)
  np.testing.assert_array_equal(read.pixels, expected)
  assert read.pixels.dtype == expected.dtype
  assert read.bits == (8 * expected.itemsize if bits is None else bits)
  assert read.notes == notes
  return read


# PNG


def pypng(values, bits, **options):
  png = pytest.importorskip("png")
  channels = 1 if values.ndim == 2 else values.shape[2]
  kind = {} if "palette" in options else {"greyscale": channels < 3, "alpha": channels in (2, 4)}
  writer = png.Writer(values.shape[1], values.shape[0], bitdepth=bits, **kind, **options)
  file = io.BytesIO()
  writer.write(file, values.reshape(len(values), -1).tolist())
  return file.getvalue()


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", CHANNELS)
def test_png(channels, bits, interlace):
  values = noise(channels, bits)
  assert_reads(pypng(values, bits, interlace=interlace), values)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(bits, interlace):
  values = noise(1, bits)
  notes = ("black and white expanded to grey",) if bits == 1 else ()
  expected = values * np.uint8(255 // ((1 << bits) - 1))
  assert_reads(pypng(values, bits, interlace=interlace), expected, notes=notes)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("channels", [3, 4])
def test_png_with_a_palette(channels, bits):
  values, palette = noise(1, bits), noise(channels, 8, (1 << bits, 1))[:, 0]
  if channels == 4:
    palette = palette[palette[:, 3].argsort()]  # opaque colours last, as pypng wants it
  data = pypng(values, bits, palette=[tuple(map(int, colour)) for colour in palette])
  assert_reads(data, palette[values], notes=("palette expanded",))


@pytest.mark.parametrize("channels", CHANNELS)
def test_written_png_is_what_others_read(tmp_path, channels):
  png = pytest.importorskip("png")
  smooth = np.cumsum(noise(channels, 8), axis=0, dtype=np.uint16)
  rows = np.vstack([noise(channels, 16, (70, 45)), np.repeat(smooth, 2, 1)[:, :45]])
  assert files.write_image(tmp_path / "a.png", rows) == ()
  width, height, values, header = png.Reader(bytes=(tmp_path / "a.png").read_bytes()).read()
  assert (height, width, header["bitdepth"]) == (*rows.shape[:2], 16)
  np.testing.assert_array_equal(np.vstack(list(values)), rows.reshape(len(rows), -1))
  assert_reads(tmp_path / "a.png", rows)


def test_written_png_is_packed(tmp_path):
  """By filters, without which it would not be."""
  y, x = np.mgrid[:100, :100]
  values = np.stack([300 * x, 200 * y, 150 * (x + y)], -1).astype(np.uint16)
  files.write_image(tmp_path / "a.png", values)
  assert (tmp_path / "a.png").stat().st_size < values.nbytes // 20


# TIFF


def tiff(values, bits, **options):
  tifffile = pytest.importorskip("tifffile")
  channels = 1 if values.ndim == 2 else values.shape[2]
  options = {"photometric": "minisblack" if channels < 3 else "rgb", **options}
  if channels in (2, 4):
    options.setdefault("extrasamples", ["unassalpha"])
  if bits not in (8, 16):
    options["bitspersample"] = bits
  file = io.BytesIO()
  byteorder = options.pop("byteorder", "<")
  with tifffile.TiffWriter(file, byteorder=byteorder, bigtiff=options.pop("big", False)) as writer:
    writer.write(
      values, metadata=None, software=False, planarconfig=options.pop("planes", "contig"), **options
    )
  return file.getvalue()


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 32)}, {"rowsperstrip": 7}], ids=str)
@pytest.mark.parametrize(
  "packing",
  [{}, {"compression": "lzw"}, {"compression": "deflate", "predictor": 2}, {"compression": "zstd"}],
  ids=str,
)
@pytest.mark.parametrize("channels", CHANNELS)
def test_tiff(channels, packing, layout):
  pytest.importorskip("imagecodecs")
  for bits, byteorder in itertools.product((8, 16), "<>"):
    values = noise(channels, bits)
    assert_reads(tiff(values, bits, byteorder=byteorder, **packing, **layout), values)


@pytest.mark.parametrize(
  "options",
  [{"planes": "separate"}, {"planes": "separate", "tile": (16, 16)}, {"big": True}],
  ids=str,
)
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_tiff_of_planes(channels, options):
  values = noise(channels)
  stored = np.moveaxis(values, -1, 0) if "planes" in options else values
  photometric = "minisblack" if channels < 3 else "rgb"
  extra = ["unassalpha"] if channels in (2, 4) else None
  assert_reads(tiff(stored, 16, photometric=photometric, extrasamples=extra, **options), values)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_of_packed_bits(channels, bits):
  pytest.importorskip("imagecodecs")
  values = noise(channels, bits)
  assert_reads(make.tiff(values, bits), values, bits)
  assert_reads(tiff(values, bits), values, bits)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_tiff_with_0_for_white(bits):
  pytest.importorskip("imagecodecs")
  values = noise(1, bits)
  top = values.dtype.type((1 << bits) - 1)
  assert_reads(make.tiff(top - values, bits, photometric=0), values, bits)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_orientation_is_exact(kind, orientation):
  values = noise(3)
  block = make.exif_block(Orientation=orientation)
  expected = {
    1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1],
    5: values.swapaxes(0, 1), 6: np.rot90(values, -1),
    7: values[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(values),
  }[orientation]  # fmt: skip
  if kind == "PNG":
    data = make.png(values, 16, make.png_chunk(b"eXIf", block.removeprefix(b"Exif\0\0")))
  else:
    data = make.tiff(values, 16, [(274, 3, [orientation])])
  assert_reads(
    data,
    expected,
    notes=(f"EXIF orientation {orientation} applied",) if orientation > 1 else (),
  )


@pytest.mark.parametrize("bits", [8, 9, 12, 15, 16])
def test_premultiplied_alpha_that_is_opaque(bits):
  pytest.importorskip("imagecodecs")
  values = noise(4, bits)
  values[..., 3] = (1 << bits) - 1
  assert_reads(make.tiff(values, bits, [(338, 3, [1])]), values, bits)
  values[3, 3, 3] -= 1
  with pytest.raises(files.ImageError, match=r"read exactly \(premultiplied alpha; divide it out"):
    files.read_image(make.tiff(values, bits, [(338, 3, [1])]), exact=True)


@pytest.mark.parametrize(
  "packing", [{}, {"compression": "lzw", "rowsperstrip": 5}, {"tile": (16, 16)}], ids=str
)
def test_tiff_that_breaks_off(packing):
  pytest.importorskip("imagecodecs")
  file = tiff(noise(3), 16, **packing)
  for cut in (1, 10, 1000):
    with pytest.raises(files.ImageError, match="strips or tiles of samples are missing"):
      files.read_image(file[:-cut], exact=True)
  with pytest.raises(files.ImageError, match="strips or tiles of samples are missing"):
    files.read_image(make.tiff(noise(1), 16, [(278, 3, [20])], deflate=True), exact=True)


@pytest.mark.parametrize(
  ("tags", "words"),
  [
    ([(277, 3, [300])], "extra channels; leave them out first"),
    ([(32997, 4, [300])], "in 300 layers; expected a flat picture"),
    ([(256, 4, [90000]), (257, 4, [90000])], "90000 x 90000 pixels, more than Pillow's limit"),
    ([(322, 4, [16]), (323, 4, [1 << 30])], "16 x 1073741824 pixels, more than Pillow's limit"),
    ([(322, 4, [16]), (323, 4, [16]), (32998, 4, [1 << 26])], "1073741824 x 16 pixels, more"),
  ],
)
def test_tiff_that_says_it_is_huge(tags, words):
  """As files can be of which all strips or tiles are the same few bytes."""
  pytest.importorskip("tifffile")
  with pytest.raises(files.ImageError, match=words):
    files.read_image(make.tiff(noise(1), 16, tags), exact=True)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("kind", "is_page"), [(1, False), (4, False), (2, True)])  # bits of 254
def test_smaller_versions_and_masks_are_no_pages(bits, kind, is_page):
  tifffile = pytest.importorskip("tifffile")
  values, file = noise(1, bits), io.BytesIO()
  with tifffile.TiffWriter(file) as writer:
    writer.write(values, metadata=None)
    other = values[::2, ::2] > 9 if kind == 4 else values[::2, ::2]
    writer.write(other, subfiletype=kind, metadata=None)
  if is_page:
    with pytest.raises(files.ImageError, match=r"exactly \(2 frames; save each as an image file"):
      files.read_image(file.getvalue(), exact=True)
  else:
    read = files.read_image(file.getvalue(), exact=True)
    np.testing.assert_array_equal(read.pixels, values)


@pytest.mark.parametrize("error", [None, ValueError, NotImplementedError])
def test_tiff_names_what_reads_it(monkeypatch, error):
  tifffile, data = pytest.importorskip("tifffile"), make.tiff(noise(3), 16)
  if error is None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
  else:  # what tifffile raises then, of packings and of bits
    raises = mock.Mock(side_effect=error("<LZW> requires the 'imagecodecs' package"))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", raises)
  missing = "imagecodecs" if error else "tifffile"
  words = rf'by {missing}.*, which is not installed: pip install "cae_jax\[tiff\]"$'
  with pytest.raises(MissingExtraError, match=words):
    files.read_image(data, exact=True)
  assert files.read_image(data).notes == ("16-bit reduced to 8",)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
  ("bits", "sample_format", "words"),
  [(8, 2, "signed"), (16, 2, "signed"), (32, 1, "signed or 32-bit"), (32, 3, "floating-point")],
)
def test_tiff_of_other_numbers(bits, sample_format, words, exact):
  data = make.tiff(noise(1, 8), bits, [(339, 3, [sample_format])])
  with pytest.raises(files.ImageError, match=rf"{words}.*; convert the file to 8 or 16 bits first"):
    files.read_image(data, exact=exact)


@pytest.mark.parametrize("channels", CHANNELS)
def test_written_tiff_is_what_others_read(tmp_path, channels):
  tifffile = pytest.importorskip("tifffile")
  values = noise(channels)
  assert files.write_image(tmp_path / "a.tif", values) == ()
  with tifffile.TiffFile(tmp_path / "a.tif") as file:
    page = file.pages.first
    np.testing.assert_array_equal(page.asarray(), values)
    assert [int(extra) for extra in page.extrasamples] == ([2] if channels in (2, 4) else [])
    assert int(page.photometric) == (1 if channels < 3 else 2)
  assert_reads(tmp_path / "a.tif", values)


# Others


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_metadata_goes_with_16_bits(tmp_path, suffix, channels):
  profile = make.profile() if channels > 2 else make.profile_for("GRAY")
  values, path = noise(channels), tmp_path / f"a{suffix}"
  assert files.write_image(path, values, icc_profile=profile, exif=ARTIST, xmp=XMP) == ()
  read = assert_reads(path, values)
  assert (read.icc_profile, read.xmp) == (profile, XMP)
  kept = Image.Exif()
  kept.load(read.exif)
  assert dict(kept) == {ExifTags.Base.Artist: "someone"}
  notes = files.write_image(path, values, icc_profile=b"none", exif=b"none", xmp=XMP)
  assert notes == ("unreadable ICC profile, left out", "unreadable EXIF left out")
  assert assert_reads(path, values).xmp == XMP


@pytest.mark.parametrize(
  "header", [b"P5 5 4 %d\n", b"P6 # of\n5\t4\n# this\n%d ", b"P2\n5 4\n%d\n"]
)
@pytest.mark.parametrize("largest", [256, 1000, 4095, 65535])
def test_ppm(header, largest):
  channels = 3 if header.startswith(b"P6") else 1
  values = np.minimum(noise(channels, 16, (4, 5)), np.uint16(largest))
  body = values.astype(">u2").tobytes()
  if header.startswith(b"P2"):
    body = " ".join(map(str, values.ravel())).encode() + b" # end\n"
  assert_reads(header % largest + body, values, largest.bit_length())


@pytest.mark.parametrize(
  ("data", "words"),
  [
    (b"P5 2 2 1000\n\0\0\0\0\0\0\0", "3 samples of 4"),
    (b"P5 1 1 1000\n\xff\xff", "a value of 65535, where the file says up to 1000"),
    (b"P2 1 1 1000\nred", "invalid literal|could not convert"),
    (b"P5 1 1 70000\n\xff\xff", "values up to 70000; convert the file to 16 bits first"),
    (b"P5 90000 90000 1000\n\xff\xff", "90000 x 90000 pixels, more than Pillow's limit"),
  ],
)
def test_damaged_ppm(data, words):
  with pytest.raises(files.ImageError, match=words):
    files.read_image(data, exact=True)


def test_ppm_of_a_long_header_takes_little_memory():
  data = b"P5" + b" " * (1 << 18) + b"1 1 1000\n\0\0"
  tracemalloc.start()
  assert_reads(data, np.zeros((1, 1), np.uint16), 10)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 10 * len(data)


def test_webp_without_loss():
  values = noise(4, 8)
  assert_reads(make.encode(values, "WEBP", lossless=True, exact=True), values)


@pytest.mark.parametrize("bits", [12, 16])
def test_grey_jpeg_2000(bits):
  """Pillow gives 16 bits of either; those of 12 it has scaled."""
  imagecodecs, values = pytest.importorskip("imagecodecs"), noise(1, bits)
  data = imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits)
  if bits == 16:
    assert_reads(data, values)
  else:
    with pytest.raises(files.ImageError, match="12-bit JPEG2000, of which 8 are read; make a PNG"):
      files.read_image(data, exact=True)


@pytest.mark.parametrize("suffix", [".ppm", ".pgm", ".pnm"])
def test_ppm_of_16_bits_is_written(tmp_path, suffix):
  values = noise(1 if suffix == ".pgm" else 3)
  assert files.write_image(tmp_path / f"a{suffix}", values) == ()
  assert_reads(tmp_path / f"a{suffix}", values)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".jp2", ".qoi"])
def test_formats_of_8_bits_name_those_of_16(tmp_path, suffix):
  for channels, words in ((1, r"\.pgm, \.png, \.pnm, \.ppm, \.tif, \.tiff"), (3, r"\.png, \.pnm")):
    with pytest.raises(
      files.ImageError, match=rf"16 bits a sample to {suffix}; {words}.* hold them"
    ):
      files.write_image(tmp_path / f"a{suffix}", noise(channels))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
  "colours", [srgb.from_cicp(12, 13), srgb.from_cicp(9, 8), srgb.from_cicp(1, 4)]
)
def test_colours_become_a_profile_that_says_the_same(channels, colours):
  """Little CMS, told by the profile, sees what `to_srgb` computes."""
  inside = noise(channels, 8) // 3 + np.uint8(90)
  chunk = make.png_chunk(
    b"cICP",
    bytes(
      [
        *{"Display P3": (12, 13), "BT.2020, linear": (9, 8), "gamma 2.2": (1, 4)}[colours.name],
        0,
        1,
      ]
    ),
  )
  read = assert_reads(
    make.png(inside, 8, chunk), inside, notes=(f"{colours.name} described by an ICC profile",)
  )
  source = ImageCms.ImageCmsProfile(io.BytesIO(read.icc_profile))
  white = np.array([0.3127, 0.329, 0.3583]) / 0.329  # D65, which becomes D50
  to_d50 = np.array(source.profile.chromatic_adaptation[0])
  np.testing.assert_allclose(to_d50 @ white, [0.9642, 1, 0.8249], atol=1e-3)
  seen = ImageCms.profileToProfile(
    Image.fromarray(inside), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
  )
  expected = files.to_rgb(srgb.to_srgb(inside, colours))
  assert np.abs(np.asarray(seen).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("channels", [1, 3])
def test_hdr_keeps_its_values_and_code_points(channels, transfer, name):
  values = noise(channels)
  chunk = make.png_chunk(b"cICP", bytes([9, transfer, 0, 1]))
  for others in ([], [make.png_chunk(b"iCCP", b"a\0\0" + zlib.compress(make.profile()))]):
    note = f"HDR ({name}, code points 9/{transfer}) described by an ICC profile"
    read = assert_reads(make.png(values, 16, chunk, *others), values, notes=(note,))
    assert b"cicp" + bytes([0, 0, 0, 0, 9, transfer, 0, 1]) in read.icc_profile
    ImageCms.ImageCmsProfile(io.BytesIO(read.icc_profile))


# DICOM


def pydicom_file(name):
  """A file that the package ships."""
  return pathlib.Path(pytest.importorskip("pydicom").data.get_testdata_file(name, download=False))


@pytest.mark.parametrize(
  "name",
  [
    "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_padded.dcm",
    "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
  ],
)  # fmt: skip
def test_dicom_in_every_packing(name):
  plain = pytest.importorskip("pydicom").dcmread(pydicom_file("MR_small.dcm")).PixelData
  expected = (np.frombuffer(plain, "<i2").reshape(64, 64).astype(int) + 32768).astype(np.uint16)
  if "jpeg_ls" in name:
    pytest.importorskip("gdcm")
  assert_reads(
    pydicom_file(name), expected, notes=("signed: 32768 added", "left out: the DICOM header")
  )


@pytest.mark.parametrize(
  ("name", "shape", "bits"),
  [
    ("SC_rgb_rle_16bit.dcm", (100, 100, 3), 16),
    ("SC_rgb_jpeg_gdcm.dcm", (100, 100, 3), 8),
    ("examples_overlay.dcm", (300, 484), 12),
    ("image_dfl.dcm", (512, 512), 8),
    ("JPEGLSNearLossless_16.dcm", (50, 10), 16),
    ("GDCMJ2K_TextGBR.dcm", (400, 400, 3), 8),
  ],
)
def test_dicom_of_all_depths(name, shape, bits):
  pytest.importorskip("gdcm")
  read = files.read_image(pydicom_file(name), exact=True)
  assert (read.pixels.shape, read.bits) == (shape, bits)
  assert read.pixels.max() < 1 << bits


@pytest.mark.parametrize("bits", [7, 8, 10, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_dicom_keeps_its_values(bits, signed):
  values = noise(1, bits)
  allocated = 8 if bits <= 8 else 16
  stored = (values.astype(int) - (1 << bits - 1)).astype(f"i{allocated // 8}") if signed else values
  notes = (
    *([f"signed: {1 << bits - 1} added"] if signed else []),
    *(["7-bit values, as stored"] if bits < 8 else []),
    "left out: the DICOM header",
  )
  assert_reads(make.dicom(stored, bits), values, max(bits, 8), notes)


@pytest.mark.parametrize("signed", [False, True])
def test_dicom_with_overlays_in_unused_bits(signed):
  values = noise(1, 12)
  stored = (values.astype(int) - 2048 * signed) ^ 0x7000
  notes = (
    *(["signed: 2048 added"] if signed else []),
    "left out: the DICOM header, what lies in unused bits",
  )
  stored = stored.astype(np.int16 if signed else np.uint16)
  assert_reads(make.dicom(stored, 12), values, 12, notes)


def test_dicom_that_is_deflated(monkeypatch):
  pydicom, values = pytest.importorskip("pydicom"), noise(1)
  dataset, file = pydicom.dcmread(io.BytesIO(make.dicom(values))), io.BytesIO()
  dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
  dataset.save_as(file)
  assert_reads(file.getvalue(), values, notes=("left out: the DICOM header",))
  monkeypatch.setattr(dicom, "_MAX_INFLATED_BYTES", values.nbytes)
  with pytest.raises(files.ImageError, match=rf"more than {values.nbytes} bytes; inflate the file"):
    files.read_image(file.getvalue(), exact=True)


def test_dicom_keeps_its_profile():
  read = files.read_image(make.dicom(noise(3, 8), ICCProfile=make.profile()), exact=True)
  assert read.icc_profile == make.profile()


@pytest.mark.parametrize("missing", ["pydicom", "gdcm"])
def test_dicom_names_what_reads_it(monkeypatch, missing):
  data, pydicom = make.dicom(noise(1)), pytest.importorskip("pydicom")
  if missing == "pydicom":
    monkeypatch.setitem(sys.modules, "pydicom", None)
  else:
    data = pydicom_file("MR_small_jpeg_ls_lossless.dcm").read_bytes()
    decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEGLSLossless)
    monkeypatch.setattr(decoder, "_available", {})
  words = r'not installed: pip install "cae_jax\[medical\]"'
  with pytest.raises(MissingExtraError, match=words):
    files.read_image(data, exact=True)


@pytest.mark.parametrize("data", [bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(50)])
def test_dicom_of_nothing(data):
  with pytest.raises(files.ImageError):
    files.read_image(data, exact=True)


# Damage


@settings(max_examples=200, deadline=None)
@given(
  kind=st.sampled_from(["png", "tiff", "lzw", "tiles", "ppm", "dicom"]),
  cut=st.floats(0.3, 1),
  places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_damage_is_an_image_error_or_an_image(kind, cut, places):
  pytest.importorskip("imagecodecs")
  data = bytearray(_whole(kind))
  for place, value in places:
    data[int(place * len(data))] = value
  try:
    read = files.read_image(bytes(data[: int(cut * len(data)) + 1]), exact=True)
  except files.ImageError:
    return
  assert read.pixels.dtype in (np.uint8, np.uint16)
  assert read.pixels.ndim in (2, 3)


@functools.cache
def _whole(kind):
  values = noise(3, 16, (9, 17))
  return {
    "png": lambda: make.png(values, 16),
    "tiff": lambda: make.tiff(values, 16),
    "lzw": lambda: tiff(values, 16, compression="lzw", rowsperstrip=4),
    "tiles": lambda: tiff(values, 16, tile=(16, 16), compression="deflate"),
    "ppm": lambda: b"P6 17 9 65535\n" + values.astype(">u2").tobytes(),
    "dicom": lambda: make.dicom(values),
  }[kind]()
