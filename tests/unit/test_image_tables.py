"""Every cell of the tables of docs/images.md is tried."""

import dataclasses
import io
import pathlib
import re
import struct
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms

from cae_jax.data.listing import is_image
from cae_jax.images import files, writing
from tests import image_files as make

TEXT = pathlib.Path(__file__).parents[2].joinpath("docs", "images.md").read_text(encoding="utf-8")
RNG = np.random.default_rng(0)
# Smooth, so that lossy formats stay near; without 0 and 255, for JPEG 2000 of 16 bits.
RAMP = np.add.outer(np.arange(24) * 3, np.arange(32) * 2).astype(np.uint8)
GREY = RAMP + 40
RGB = np.stack([RAMP + 40, 200 - RAMP, RAMP // 2 + 90], axis=-1)
ALPHA = (RAMP[..., None] // 2 * 2) + 60
RGBA = np.concatenate([RGB, ALPHA], axis=-1)
GREY_ALPHA = RGBA[..., [0, 3]]
ARTIST = make.exif_block(Artist="someone")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">words</x:xmpmeta>'
SRGB = make.profile()
LOSSY = {"JPEG": 3, "WebP": 8, "AVIF": 8, "HEIC": 8, "GIF": 0}
PILLOW = {"JPEG 2000": "JPEG2000", "WebP": "WEBP"}


@dataclasses.dataclass
class Sample:
  """A file, and what it should be read as; `exact` is what exact reading makes of it instead."""

  data: bytes
  pixels: np.ndarray | None = None
  kept: dict[str, bytes | None] = dataclasses.field(default_factory=dict)
  tolerance: int = 0
  exact: np.ndarray | None = None


SAMPLES = {}


def sample(what, *formats):
  """Registers a function (format) -> Sample."""

  def register(function):
    for name in formats:
      SAMPLES[what, name] = function
    return function

  return register


def rows(heading):
  """The cells of the table after a heading."""
  lines = TEXT.split(f"## {heading}\n")[1].split("\n|---")[1].split("\n\n")[0].splitlines()[1:]
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


READING = {
  (what, name): (note, exactly)
  for what, formats, _, note, exactly in rows("Reading")
  for name in formats.split(", ")
}
WRITING = {tuple(suffixes.split()): cells for suffixes, *cells in rows("Writing")}


# Older ones write grey AVIF in colours and do not read YCbCr that is not compressed.
NEW_PILLOW = int(PIL.__version__.split(".")[0]) >= 13


def save(name, image, **kwargs):
  """A file of a format by its name in the table."""
  if name == "HEIC":
    return heic(image, **kwargs)
  options = {"JPEG": {"quality": 95, "subsampling": 0}, "WebP": {"quality": 95}}
  options["AVIF"] = {"quality": 95}
  return make.encode(image, PILLOW.get(name, name), **options.get(name, {}), **kwargs)


def heic(image, **kwargs):
  pillow_heif = pytest.importorskip("pillow_heif")
  image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  image = image.resize((64, 64)) if image.size != (64, 64) else image  # without cropping
  image.info.update(kwargs)
  buffer = io.BytesIO()
  pillow_heif.from_pillow(image).save(buffer, quality=95)
  return buffer.getvalue()


def saved(name, pixels, expected=None, kept=None, **kwargs):
  """A sample of what Pillow saves."""
  data = save(name, pixels, **kwargs)
  expected = pixels if expected is None else expected
  expected = None if name == "HEIC" else np.asarray(expected)
  return Sample(data, expected, kept or {}, LOSSY.get(name, 0))


# What samples are.


@sample("grey", "PNG", "JPEG", "TIFF", "AVIF", "JPEG 2000", "BMP", "PPM", "TGA")
def _(name):
  if name == "AVIF" and not NEW_PILLOW:
    pytest.skip("Pillow 13 writes grey AVIF")
  return saved(name, GREY)


@sample(
  "colours", "PNG", "JPEG", "TIFF", "WebP", "AVIF", "HEIC", "JPEG 2000", "BMP", "PPM", "TGA", "ICO"
)
def _(name):
  if name == "ICO":
    return saved(name, RGB, sizes=[(32, 24)])
  return saved(name, RGB)


@sample("alpha channel", "PNG", "TIFF", "WebP", "AVIF", "HEIC", "JPEG 2000", "TGA", "ICO")
def _(name):
  return saved(name, RGBA, **({"sizes": [(32, 24)]} if name == "ICO" else {}))


@sample("grey with alpha", "PNG", "TIFF", "JPEG 2000", "TGA")
def _(name):
  return saved(name, GREY_ALPHA)


@sample("premultiplied alpha", "TIFF")
def _(name):
  multiplied = RGBA.astype(int)
  multiplied[..., :3] = multiplied[..., :3] * multiplied[..., 3:] // 255
  return Sample(make.tiff(multiplied, 8, [(338, 3, [1])]), RGBA, tolerance=4)


def transparent_grey(bits):
  def function(name):
    top = (1 << bits) - 1
    values = RNG.integers(0, top + 1, (9, 16))
    key = int(values[0, 0])
    chunk = make.png_chunk(b"tRNS", (key | (1 << bits if bits < 16 else 0)).to_bytes(2, "big"))
    expected = np.stack([np.rint(values * 255 / top), (values != key) * 255.0], -1)
    exact = np.stack([values, (values != key) * 65535], -1).astype(np.uint16)
    return Sample(make.png(values, bits, chunk), expected.astype(np.uint8), exact=exact)

  return function


for _bits in (2, 4, 8, 16):
  sample(f"transparent grey of {_bits} bits", "PNG")(transparent_grey(_bits))
sample("transparent grey of 1 bit", "PNG")(transparent_grey(1))


@sample("transparent colour", "PNG")
def _(name):
  chunk = make.png_chunk(b"tRNS", RGB[0, 0].astype(">u2").tobytes())
  alpha = (RGB[0, 0] != RGB).any(-1, keepdims=True) * 255
  return Sample(make.png(RGB, 8, chunk), np.concatenate([RGB, alpha], -1).astype(np.uint8))


@sample("transparent colour of 16 bits", "PNG")
def _(name):
  values = RGB.astype(np.uint16) * 256
  values[0, 1] = values[0, 0] + 1  # the same in 8 bits
  chunk = make.png_chunk(b"tRNS", values[0, 0].astype(">u2").tobytes())
  alpha = (values != values[0, 0]).any(-1, keepdims=True) * 255
  expected = np.concatenate([np.rint(values / 257), alpha], -1).astype(np.uint8)
  exact = np.concatenate([values, (alpha * 257).astype(np.uint16)], -1)
  return Sample(make.png(values, 16, chunk), expected, exact=exact)


@sample("palette", "PNG", "TIFF", "GIF", "BMP", "TGA")
def _(name):
  image = Image.fromarray(RGB).quantize(16)
  return saved(name, image, image.convert("RGB"))


@sample("palette with transparency", "PNG", "GIF")
def _(name):
  image = Image.fromarray(RGB).quantize(16)
  expected = np.array(image.convert("RGBA"))
  expected[np.asarray(image) == 3, 3] = 0
  if name == "GIF":
    return saved(name, image, expected, transparency=3, optimize=False)
  return saved(name, image, expected, transparency=3)


@sample("black and white", "PNG", "TIFF", "BMP", "PPM")
def _(name):
  image = Image.fromarray(GREY).convert("1")
  return saved(name, image, image.convert("L"))


@sample("2 or 4 bits a sample", "PNG", "TIFF")
def _(name):
  values = RNG.integers(0, 4, (6, 12))
  data = make.png(values, 2) if name == "PNG" else make.tiff(values, 2)
  return Sample(data, (values * 85).astype(np.uint8))


def deep(bits):
  """Values whose rounding to 8 bits gives RGB."""
  return np.rint(RGB / 255 * ((1 << bits) - 1)).astype(np.uint16)


@sample("12 bits a sample", "TIFF", "AVIF", "JPEG 2000")
def _(name):
  if name == "TIFF":
    values = deep(12)[..., 0]
    return Sample(make.tiff(values, 12), RGB[..., 0], tolerance=1, exact=values)
  imagecodecs = pytest.importorskip("imagecodecs")
  if name == "AVIF":
    return Sample(imagecodecs.avif_encode(deep(12), level=95, bitspersample=12), RGB, tolerance=4)
  return Sample(imagecodecs.jpeg2k_encode(deep(12), level=0, bitspersample=12), RGB, tolerance=1)


@sample("10 bits a sample", "AVIF", "HEIC", "PPM")
def _(name):
  if name == "PPM":
    head = b"P6 # a comment\n32 24\n1023\n"
    return Sample(head + deep(10).astype(">u2").tobytes(), RGB, exact=deep(10))
  if name == "HEIC":
    pillow_heif = pytest.importorskip("pillow_heif")
    values = (np.stack([RNG.integers(0, 255, 64 * 64)] * 3, -1) * 257).astype(np.uint16)
    buffer = io.BytesIO()
    pillow_heif.encode("RGB;16", (64, 64), values.tobytes(), buffer)
    return Sample(buffer.getvalue())
  imagecodecs = pytest.importorskip("imagecodecs")
  return Sample(imagecodecs.avif_encode(deep(10), level=95, bitspersample=10), RGB, tolerance=4)


@sample("16 bits a sample, grey", "PNG", "TIFF", "JPEG 2000", "PPM")
def _(name):
  values = (GREY.astype(np.uint16) * 257) + 100
  if name == "PNG":
    return Sample(make.png(values, 16), GREY, exact=values)
  if name == "PPM":
    data = b"P5 32 24 65535\n" + values.astype(">u2").tobytes()
    return Sample(data, GREY, exact=values)
  return Sample(save(name, values), GREY, exact=values)


@sample("16 bits a sample, colours", "PNG", "TIFF", "JPEG 2000", "PPM", "ICO")
def _(name):
  values = deep(16) + 100
  if name == "ICO":
    png = make.png(values, 16)
    entry = bytes([32, 24, 0, 0, 1, 0, 48, 0]) + struct.pack("<II", len(png), 22)
    return Sample(b"\0\0\1\0\1\0" + entry + png, RGB, tolerance=1)
  if name == "PPM":
    return Sample(b"P6 32 24 65535\n" + values.astype(">u2").tobytes(), RGB, exact=values)
  if name == "JPEG 2000":
    imagecodecs = pytest.importorskip("imagecodecs")
    return Sample(imagecodecs.jpeg2k_encode(deep(16), level=0), RGB, tolerance=1)
  data = make.png(values, 16) if name == "PNG" else make.tiff(values, 16)
  return Sample(data, RGB, exact=values)


@sample("10 bits a sample, colours", "TIFF")
def _(name):
  return Sample(make.tiff(deep(10), 10), exact=deep(10))


def deep_alpha(name, pixels):
  values = pixels.astype(np.uint16) * 257 + 100
  data = make.png(values, 16) if name == "PNG" else make.tiff(values, 16, [(338, 3, [2])])
  return Sample(data, pixels, exact=values)


@sample("16 bits a sample, with alpha", "PNG", "TIFF")
def _(name):
  return deep_alpha(name, RGBA)


@sample("16 bits a sample, grey with alpha", "PNG", "TIFF")
def _(name):
  return deep_alpha(name, GREY_ALPHA)


@sample("16 bits a sample, colours, some black or white", "JPEG 2000")
def _(name):
  imagecodecs = pytest.importorskip("imagecodecs")
  values = deep(16)
  values[3, 4] = 65535
  return Sample(imagecodecs.jpeg2k_encode(values, level=0))


@sample("values up to less than 255", "PPM")
def _(name):
  values = RNG.integers(0, 101, (24, 32))
  data = b"P5 32 24 100\n" + values.astype(np.uint8).tobytes()
  return Sample(data, np.rint(values * 2.55).astype(np.uint8), tolerance=1)


@sample("0 for white", "TIFF")
def _(name):
  return Sample(make.tiff(255 - GREY, 8, photometric=0), GREY)


@sample("0 for white, 16 bits a sample", "TIFF")
def _(name):
  values = GREY.astype(np.uint16) * 257
  return Sample(make.tiff(65535 - values, 16, photometric=0), GREY, exact=values)


def planes(pixels):
  """A TIFF file with one strip for each channel."""
  height, _, channels = pixels.shape
  size = pixels.nbytes // channels
  starts = [8 + size * channel for channel in range(channels)]
  tags = [(284, 3, [2]), (278, 3, [height]), (273, 4, starts), (279, 4, [size] * channels)]
  tags += [(338, 3, [2])] if channels == 2 else []
  stored = np.moveaxis(pixels, -1, 0).reshape(pixels.shape)
  return make.tiff(stored, 8 * pixels.itemsize, tags)


@sample("planes of samples, of 16 bits", "TIFF")
def _(name):
  return Sample(planes(deep(16)), exact=deep(16))


@sample("planes of samples, of grey and alpha", "TIFF")
def _(name):
  return Sample(planes(GREY_ALPHA))


@sample("palette of 16-bit colours", "TIFF")
def _(name):
  colours = RNG.integers(0, 65536, 3 * 256)
  return Sample(make.tiff(GREY, 8, [(320, 3, colours.tolist())], photometric=3))


@sample("floating-point samples", "TIFF", "PPM")
def _(name):
  return Sample(save(name, GREY.astype(np.float32)))


@sample("signed or 32-bit samples", "TIFF")
def _(name):
  return Sample(save(name, GREY.astype(np.int32)))


@sample("more channels than colours and alpha", "TIFF")
def _(name):
  return Sample(make.tiff(RGBA, 8, [(338, 3, [0])]), RGB)


# What samples mean.


@sample("CMYK", "JPEG", "TIFF")
def _(name):
  image = Image.fromarray(RGB).convert("CMYK")
  return Sample(save(name, image), RGB, tolerance=4)


@sample("CMYK of 16 bits", "TIFF")
def _(name):
  inks = np.asarray(Image.fromarray(RGB).convert("CMYK")).astype(np.uint16) * 257
  return Sample(make.tiff(inks, 16, photometric=5), RGB, tolerance=4)


@sample("CMYK with its profile", "JPEG", "TIFF")
def _(name):
  return Sample(save(name, Image.fromarray(RGB).convert("CMYK"), icc_profile=cmyk_profile()))


def cmyk_profile():
  """The smallest profile of CMYK that Little CMS takes: 2 x 2 x 2 x 2 colours of Lab."""
  table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
  table += b"".join((65536 * (i % 4 == 0)).to_bytes(4, "big") for i in range(9))
  inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(16, 4)
  lightness = np.rint(255 * (1 - inks.mean(-1))).astype(int)
  table += bytes(range(256)) * 4
  table += b"".join(bytes([light, 128, 128]) for light in lightness) + bytes(range(256)) * 3
  table += bytes(-len(table) % 4)
  white = b"XYZ " + bytes(4) + bytes.fromhex("0000f6d6000100000000d32d")
  tags = [(b"A2B0", table), (b"wtpt", white)]
  at, directory, data = 132 + 12 * len(tags), b"", b""
  for name, value in tags:
    directory += name + (at + len(data)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
    data += value
  header = bytearray(make.profile()[:128])
  header[:4] = (at + len(data)).to_bytes(4, "big")
  header[8:12], header[12:16], header[16:20], header[20:24] = (
    b"\2\x40\0\0",
    b"prtr",
    b"CMYK",
    b"Lab ",
  )
  return bytes(header) + len(tags).to_bytes(4, "big") + directory + data


@sample("CIELab", "TIFF")
def _(name):
  to = lambda space: ImageCms.createProfile(space)
  image = ImageCms.profileToProfile(Image.fromarray(RGB), to("sRGB"), to("LAB"), outputMode="LAB")
  return Sample(save(name, image), RGB, tolerance=16)  # Lab of 8 bits is coarse


@sample("YCbCr", "TIFF", "JPEG 2000")
def _(name):
  if name == "JPEG 2000":
    return Sample(make.jp2(RGB, b"\1\0\0" + (18).to_bytes(4, "big")))
  if not NEW_PILLOW:
    pytest.skip("Pillow 13 reads it")
  values = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
  return Sample(make.tiff(values, 8, [(530, 3, [1, 1])], photometric=6), RGB, tolerance=3)


@sample("a colour space that Pillow takes for RGB", "JPEG 2000")
def _(name):
  return Sample(make.jp2(RGB, b"\1\0\0" + (14).to_bytes(4, "big")))


@sample("ICC profile", "PNG", "JPEG", "TIFF", "WebP", "AVIF", "HEIC", "JPEG 2000", "BMP")
def _(name):
  if name == "JPEG 2000":
    return Sample(make.jp2(RGB, b"\2\0\0" + SRGB), RGB, {"icc": SRGB})
  if name == "BMP":
    return Sample(make.bmp_5(RGB, b"DEBM", SRGB), RGB, {"icc": SRGB})
  return saved(name, RGB, kept={"icc": SRGB}, icc_profile=SRGB)


@sample("ICC profile of more than 1 MiB", "PNG", "JPEG")
def _(name):
  large = SRGB + bytes(1_200_000)
  return saved(name, RGB, kept={"icc": large}, icc_profile=large)


@sample("ICC profile for another kind of pixels", "PNG", "JPEG", "TIFF", "AVIF")
def _(name):
  if name == "AVIF" and not NEW_PILLOW:
    pytest.skip("Pillow 13 writes grey AVIF")
  return saved(name, GREY, icc_profile=SRGB)


@sample("broken ICC profile", "PNG", "JPEG", "TIFF", "WebP", "AVIF")
def _(name):
  return saved(name, RGB, icc_profile=b"no profile")


@sample("ICC profile in an extension", "GIF")
def _(name):
  return extended_gif(b"ICCRGBG1012")


@sample("XMP in an extension", "GIF")
def _(name):
  return extended_gif(b"XMP DataXMP")


def extended_gif(label):
  data = save("GIF", Image.fromarray(GREY).convert("P"))
  start = 13 + 3 * (2 << (data[10] & 7))  # behind the palette
  return Sample(data[:start] + b"\x21\xff\x0b" + label + b"\x03abc\0" + data[start:])


@sample("link to an ICC profile", "BMP")
def _(name):
  return Sample(make.bmp_5(RGB, b"KNIL", b"a name"), RGB)


def gamma_chunk(gamma):
  return make.png_chunk(b"gAMA", round(gamma * 100_000).to_bytes(4, "big"))


def chromaticities_chunk(*values):
  return make.png_chunk(b"cHRM", b"".join(round(v * 1e5).to_bytes(4, "big") for v in values))


@sample("gAMA or cHRM of sRGB", "PNG")
def _(name):
  chunks = (
    gamma_chunk(0.45455),
    chromaticities_chunk(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
  )
  return Sample(make.png(RGB, 8, *chunks), RGB)


def srgb_of(light):
  curve = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
  return np.rint(255 * curve).astype(np.uint8)


@sample("linear samples by gAMA", "PNG")
def _(name):
  return Sample(make.png(RGB, 8, gamma_chunk(1)), srgb_of(RGB / 255), exact=RGB)


@sample("another gAMA", "PNG")
def _(name):
  expected = np.dstack([srgb_of((RGB / 255) ** 1.8), ALPHA])
  return Sample(make.png(RGBA, 8, gamma_chunk(1 / 1.8)), expected, exact=RGBA)


@sample("primaries by cHRM", "PNG")
def _(name):
  chunk = chromaticities_chunk(0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
  grey = np.repeat(GREY[..., None], 3, -1)
  return Sample(make.png(grey, 8, chunk), grey, tolerance=1, exact=grey)


@sample("colours as TIFF tags", "TIFF")
def _(name):
  return Sample(make.tiff(RGB, 8, [(301, 3, list(range(256)))]), RGB)


@sample("mark of linear colours", "QOI")
def _(name):
  qoi = b"qoif" + (32).to_bytes(4, "big") + (24).to_bytes(4, "big") + b"\3\1"
  qoi += b"".join(b"\xfe" + bytes(pixel) for pixel in RGB.reshape(-1, 3)) + bytes(7) + b"\1"
  return Sample(qoi, RGB)


def code_points(name, primaries, transfer, pixels=RGB):
  if name == "PNG":
    return make.png(pixels, 8, make.png_chunk(b"cICP", bytes([primaries, transfer, 0, 1])))
  return make.with_code_points(save(name, pixels), primaries, transfer)


@sample("code points (cICP, nclx) of sRGB", "PNG", "AVIF", "HEIC")
def _(name):
  return Sample(code_points(name, 1, 13))


@sample("code points of other primaries", "PNG", "AVIF", "HEIC")
def _(name):
  red = np.full((64, 64, 3), (234, 51, 35), np.uint8)  # sRGB's red in Display P3
  data = code_points(name, 12, 13, red)
  exact = red if name == "PNG" else None
  return Sample(data, np.full_like(red, (255, 0, 0)), tolerance=12, exact=exact)


@sample("code points of linear samples", "PNG", "AVIF")
def _(name):
  flat = np.full((24, 32, 3), (60, 128, 200), np.uint8)
  exact = flat if name == "PNG" else None
  return Sample(code_points(name, 1, 8, flat), srgb_of(flat / 255), tolerance=3, exact=exact)


@sample("code points that are not known", "PNG", "AVIF")
def _(name):
  return Sample(code_points(name, 1, 17))


@sample("code points of narrow range", "PNG")
def _(name):
  return Sample(make.png(RGB, 8, make.png_chunk(b"cICP", bytes([1, 13, 0, 0]))))


@sample("HDR (PQ)", "PNG", "AVIF", "HEIC")
def _(name):
  data = code_points(name, 9, 16)
  return Sample(data, exact=RGB if name == "PNG" else None)


@sample("HDR (HLG)", "PNG", "AVIF")
def _(name):
  data = code_points(name, 9, 18)
  return Sample(data, exact=RGB if name == "PNG" else None)


# Metadata.

WITH_EXIF = ("PNG", "JPEG", "TIFF", "WebP", "AVIF", "HEIC", "JPEG 2000")
_EXIF_UUID = b"JpgTiffExif->JP2"


def with_exif(name, block, pixels=RGB):
  if name == "JPEG 2000":
    return make.jp2(pixels, None, make.box(b"uuid", _EXIF_UUID + block))
  return save(name, pixels, exif=block)


@sample("EXIF", *WITH_EXIF)
def _(name):
  return Sample(with_exif(name, ARTIST), kept={"exif": None})


@sample("EXIF as ImageMagick hides it in text", "PNG")
def _(name):
  text = f"\nexif\n{len(ARTIST):8}\n{ARTIST.hex()}\n".encode()
  chunk = make.png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
  return Sample(make.png(RGB, 8, chunk), RGB, {"exif": ARTIST})


@sample("broken EXIF", "PNG", "JPEG", "WebP", "AVIF", "HEIC", "JPEG 2000")
def _(name):
  block = make.exif_block(Make="x" * 4)  # as long as what comes in its place
  broken = b"MM\0*\0\0\xff\xff".ljust(len(block) - 6, b"?")
  if name == "PNG":
    return Sample(with_exif(name, broken))
  return Sample(with_exif(name, block).replace(block[6:], broken))


@sample("orientation", "PNG", "JPEG", "TIFF", "WebP", "AVIF")
def _(name):
  data = with_exif(name, make.exif_block(Orientation=6))
  return Sample(data, np.rot90(RGB, -1), tolerance=LOSSY.get(name, 0))


@sample("broken XMP", "PNG")
def _(name):
  return Sample(make.png(RGB, 8, make.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0?")), RGB)


def with_xmp(name, xmp):
  if name == "PNG":
    return make.png(RGB, 8, make.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
  if name == "TIFF":
    return make.tiff(RGB, 8, [(700, 1, list(xmp))])
  if name == "JPEG 2000":
    uuid = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    return make.jp2(RGB, None, make.box(b"uuid", uuid + xmp))
  return save(name, RGB, xmp=xmp)


@sample("XMP", *WITH_EXIF)
def _(name):
  return Sample(with_xmp(name, XMP), kept={"xmp": XMP})


@sample("orientation in XMP only", "PNG", "JPEG", "TIFF", "WebP")
def _(name):
  data = with_xmp(name, b'<a tiff:Orientation="3"/>')
  kept = {"xmp": b'<a tiff:Orientation="1"/>'}
  return Sample(data, RGB[::-1, ::-1], kept, tolerance=LOSSY.get(name, 0))


@sample("orientation in XMP only, beside the format's own", "AVIF")
def _(name):
  data = with_xmp(name, b'<a tiff:Orientation="3"/>')
  kept = {"xmp": b'<a tiff:Orientation="1"/>'}
  return Sample(data, RGB, kept, tolerance=LOSSY.get(name, 0))


@sample("the rest of a long XMP", "JPEG")
def _(name):
  segment = make.jpeg_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0and so on")
  return Sample(make.with_segment(save(name, RGB), segment))


@sample("text", "PNG")
def _(name):
  # A name that Pillow would take for the profile.
  return Sample(make.png(RGB, 8, make.png_chunk(b"tEXt", b"icc_profile\0words")), RGB)


@sample("text of more than 1 MiB", "PNG")
def _(name):
  chunk = make.png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"a" * 1_100_000))
  return Sample(make.png(RGB, 8, chunk), RGB)


@sample("damaged text", "PNG")
def _(name):
  chunk = make.png_chunk(b"zTXt", b"a\0\0words")[:-1] + b"?"
  return Sample(make.png(RGB, 8, chunk), RGB)


@sample("comment", "JPEG", "GIF", "TGA")
def _(name):
  if name == "GIF":
    return Sample(save(name, Image.fromarray(GREY).convert("P"), comment=b"words"))
  return Sample(
    save(name, RGB, **{"TGA": {"id_section": b"words"}}.get(name, {"comment": b"words"}))
  )


@sample("other tags", "TIFF")
def _(name):
  return Sample(make.tiff(RGB, 8, [(33550, 3, [1, 1, 1]), (34735, 3, [1])]), RGB)


@sample("other chunks", "PNG")
def _(name):
  return Sample(make.png(RGB, 8, make.png_chunk(b"tIME", bytes(7))), RGB)


@sample("other segments", "JPEG")
def _(name):
  return Sample(make.with_segment(save(name, RGB), make.jpeg_segment(0xEB, b"JP..")))


@sample("other boxes of metadata", "JPEG 2000")
def _(name):
  return Sample(make.jp2(RGB, None, make.box(b"xml ", b"<gml/>")), RGB)


@sample("Photoshop's data (IPTC)", "JPEG")
def _(name):
  segment = make.jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\0\0\0\0")
  return Sample(make.with_segment(save(name, RGB), segment))


@sample("extension area", "TGA")
def _(name):
  data = save(name, RGB)[:-26]
  footer = len(data).to_bytes(4, "little") + bytes(4) + b"TRUEVISION-XFILE.\0"
  return Sample(data + bytes(495) + footer, RGB)


@sample("resolution", "PNG", "JPEG", "BMP", "JPEG 2000")
def _(name):
  if name == "JPEG 2000":
    resolution = make.box(b"resc", bytes.fromhex("2e230001 2e230001 0000"))
    data = make.jp2(RGB)
    at = data.index(b"jp2h") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    added = make.box(b"res ", resolution)
    head = (size + len(added)).to_bytes(4, "big")
    return Sample(data[:at] + head + data[at + 4 : at + size] + added + data[at + size :], RGB)
  return Sample(save(name, RGB, dpi=(300, 300)))


@sample("shape of pixels other than square", "PNG")
def _(name):
  return Sample(make.png(RGB, 8, make.png_chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))), RGB)


@sample("animation", "PNG", "GIF", "WebP", "AVIF")
def _(name):
  frames = [Image.fromarray(x).convert("P" if name == "GIF" else "RGB") for x in (GREY, 255 - GREY)]
  data = save(name, frames[0], save_all=True, append_images=frames[1:])
  return Sample(data, np.repeat(GREY[..., None], 3, -1), tolerance=LOSSY.get(name, 0))


@sample("several pages or pictures", "TIFF", "JPEG", "HEIC")
def _(name):
  if name == "HEIC":
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    both = pillow_heif.from_pillow(Image.new("RGB", (64, 64)))
    both.add_from_pillow(Image.new("RGB", (64, 64)))
    both.save(buffer)
    return Sample(buffer.getvalue())
  both = [Image.fromarray(x) for x in (RGB, 255 - RGB)]
  data = make.encode(
    both[0], "MPO" if name == "JPEG" else name, save_all=True, append_images=both[1:]
  )
  return Sample(data, RGB, tolerance=9 if name == "JPEG" else 0)


@sample("several pictures in a row", "PPM")
def _(name):
  return Sample(2 * (b"P5 32 24 65535\n" + (GREY.astype(">u2") * 257).tobytes() + b"\n"), GREY)


@sample("several sizes", "ICO")
def _(name):
  return Sample(save(name, Image.new("RGB", (64, 64)), sizes=[(64, 64), (32, 32), (16, 16)]))


@sample("cropping (clap)", "AVIF")
def _(name):
  data = save(name, RGB, icc_profile=SRGB)
  start = data.index(b"colrprof") - 4
  end = start + int.from_bytes(data[start : start + 4], "big")
  crop = make.box(b"clap", b"".join(n.to_bytes(4, "big") for n in (16, 1, 12, 1, 0, 1, 0, 1)))
  rest = make.box(b"free", bytes(end - start - len(crop) - 8))
  data = data[:start] + crop + rest + data[end:]
  return Sample(data.replace(b"\1\2\x83\4", b"\1\2\x83\x84"))  # used by the image, and essential


# What is no image, or only half of one.


@sample("a raw photograph", "TIFF")
def _(name):
  return Sample(make.tiff(RGB, 8, [(254, 4, [1])]))


@sample("all but its last marker", "JPEG")
def _(name):
  return Sample(save(name, RGB)[:-2], RGB, tolerance=3)


@sample("less than that", "PNG", "JPEG", "TIFF", "WebP", "AVIF", "GIF", "BMP", "PPM")
def _(name):
  noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
  data = save(name, noise)
  return Sample(data[: len(data) // 2])


@sample("more than about 179 megapixels", "PNG")
def _(name):
  data = make.png(GREY)
  header = make.png_chunk(b"IHDR", b"\0\0\x75\x30" * 2 + data[24:29])
  return Sample(data[:8] + header + data[33:])


@sample("a drawing", "EPS", "SVG")
def _(name):
  if name == "EPS":
    return Sample(save(name, RGB))
  return Sample(b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>")


@sample("JPEG XL", "JPEG XL")
def _(name):
  return Sample(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20))


@sample("grey of 8 bits", "DICOM")
def _(name):
  return Sample(make.dicom(GREY), exact=GREY)


@sample("grey of 9 to 16 bits", "DICOM")
def _(name):
  values = deep(12)[..., 0]
  return Sample(make.dicom(values, bits=12), exact=values)


@sample("colours, compressed or not", "DICOM")
def _(name):
  return Sample(make.dicom(RGB, compressed=True), exact=RGB)


@sample("signed samples", "DICOM")
def _(name):
  values = deep(16)[..., 0]
  return Sample(make.dicom((values.astype(int) - 32768).astype(np.int16)), exact=values)


@sample("0 for white", "DICOM")
def _(name):
  return Sample(make.dicom(GREY, PhotometricInterpretation="MONOCHROME1"), exact=GREY)


@sample("fewer than 8 bits a sample", "DICOM")
def _(name):
  return Sample(make.dicom(GREY >> 2, bits=6), exact=GREY >> 2)


@sample("overlays in unused bits", "DICOM")
def _(name):
  values = deep(12)[..., 0]
  return Sample(make.dicom(values | 0x8000, bits=12), exact=values)


@sample("several frames", "DICOM")
def _(name):
  return Sample(make.dicom(np.stack([GREY, GREY])))


@sample("YCbCr", "DICOM")
def _(name):
  return Sample(make.dicom(RGB, PhotometricInterpretation="YBR_FULL"))


@sample("a palette", "DICOM")
def _(name):
  return Sample(make.dicom(GREY, PhotometricInterpretation="PALETTE COLOR"))


@sample("32-bit samples", "DICOM")
def _(name):
  return Sample(make.dicom(GREY.astype(np.uint32)))


@sample("no picture", "DICOM")
def _(name):
  return Sample(make.dicom(None))


@sample("anything", "DDS", "SGI", "PCX")
def _(name):
  return saved(name, RGB)


def test_every_cell_has_its_sample():
  assert sorted(READING) == sorted(SAMPLES)


each_cell = pytest.mark.parametrize(
  ("what", "name"), sorted(READING), ids=[f"{name}: {what}" for what, name in sorted(READING)]
)


@each_cell
def test_reading(what, name):
  made = SAMPLES[what, name](name)
  check_reading(made, READING[what, name][0], made.pixels)


@each_cell
def test_reading_exactly(what, name):
  (note, exactly), made = READING[what, name], SAMPLES[what, name](name)
  if not exactly:
    check_reading(made, note, made.pixels, exact=True)
  else:
    note = "" if exactly.startswith("kept") else exactly
    check_reading(dataclasses.replace(made, tolerance=0), note, made.exact, exact=True)


def check_reading(made, note, pixels, exact=False):
  words = re.sub(r"\bN\b", r"[\\w.]+", re.escape(note.removeprefix("error:").strip()))
  if note.startswith("error:"):
    with pytest.raises(files.ImageError, match=words or "not a readable image"):
      files.read_image(made.data, exact=exact)
    return
  read = files.read_image(made.data, exact=exact)
  others = [said for said in read.notes if not (note and re.fullmatch(words, said))]
  assert len(read.notes) - len(others) == bool(note), read.notes
  allowed = "expanded|the DICOM header" if exact else "reduced to 8|expanded"
  assert all(re.search(allowed, said) for said in others), others
  if pixels is not None:
    assert (read.pixels.dtype, read.pixels.shape) == (pixels.dtype, pixels.shape)
    assert np.abs(read.pixels.astype(int) - pixels.astype(int)).max() <= made.tolerance
  blocks = {name: block for name, block in read.metadata.items() if "described" not in note}
  assert blocks.keys() == made.kept.keys()
  for block, expected in made.kept.items():
    assert expected is None or read.metadata[block] == expected
  if read.exif is not None:
    kept = Image.Exif()
    kept.load(read.exif)
    assert dict(kept) == {315: "someone"}


def test_what_is_read_or_written_is_taken_from_folders():
  read = {name for what, name in READING if what not in ("a drawing", "JPEG XL")}
  others = {"JPEG 2000": ".jp2", "DICOM": ".dcm"}
  suffixes = {others.get(name, f".{name.lower()}") for name in read} | {*writing.FORMATS}
  assert {suffix for suffix in suffixes if not is_image(f"a{suffix}")} == set()
  assert not is_image("a.eps")


KINDS = {"grey": GREY, "grey, alpha": GREY_ALPHA, "RGB": RGB, "RGB, alpha": RGBA}


def test_every_format_has_its_line():
  assert sorted(suffix for line in WRITING for suffix in line) == sorted(writing.FORMATS)


@pytest.mark.parametrize("suffix", sorted(writing.FORMATS))
@pytest.mark.parametrize("kind", KINDS)
def test_writing_pixels(tmp_path, suffix, kind):
  cells = next(cells for line, cells in WRITING.items() if suffix in line)
  cell, pixels, path = cells[list(KINDS).index(kind)], KINDS[kind], tmp_path / f"image{suffix}"
  if cell == "no":
    with pytest.raises(files.ImageError, match=r"cannot write .* ends in \.png always works"):
      files.write_image(path, pixels)
    assert not list(tmp_path.iterdir())
    return
  notes = files.write_image(path, pixels)
  changed, lossy = "as RGB" in cell, "lossy" in cell
  assert len([note for note in notes if "written as RGB" in note]) == changed
  assert len([note for note in notes if "may lose some more quality" in note]) == lossy
  assert len(notes) == changed + lossy
  read = files.read_image(path).pixels
  if changed or suffix in (".gif", ".avif"):  # palettes; grey AVIF is new in Pillow 13
    read, pixels = files.to_rgb(read), files.to_rgb(pixels)
  assert read.shape == pixels.shape
  assert np.abs(read.astype(int) - pixels.astype(int)).max() <= (20 if lossy else 0)


@pytest.mark.parametrize("suffix", sorted(writing.FORMATS))
@pytest.mark.parametrize("kind", KINDS)
def test_writing_16_bits(tmp_path, suffix, kind):
  cells = next(cells for line, cells in WRITING.items() if suffix in line)
  pixels, path = KINDS[kind].astype(np.uint16) * 257 + 3, tmp_path / f"image{suffix}"
  refused = cells[list(KINDS).index(kind)] == "no"
  if refused or cells[-2] == "no":
    words = "cannot write" if refused else rf"16 bits a sample to {suffix}; .*\.png.* hold them"
    with pytest.raises(files.ImageError, match=words):
      files.write_image(path, pixels)
    assert not list(tmp_path.iterdir())
    return
  assert files.write_image(path, pixels) == ()
  read = files.read_image(path, exact=True)
  np.testing.assert_array_equal(read.pixels, pixels, strict=True)


@pytest.mark.parametrize("suffix", sorted(writing.FORMATS))
@pytest.mark.parametrize("block", ["ICC profile", "EXIF", "XMP"])
def test_writing_metadata(tmp_path, suffix, block):
  cells = next(cells for line, cells in WRITING.items() if suffix in line)
  cell = cells[len(KINDS) + ["ICC profile", "EXIF", "XMP"].index(block)]
  given = {"ICC profile": {"icc_profile": SRGB}, "EXIF": {"exif": ARTIST}, "XMP": {"xmp": XMP}}[
    block
  ]
  pixels = GREY if suffix == ".pgm" else RGB
  path = tmp_path / f"image{suffix}"
  notes = files.write_image(path, pixels, **given)
  read = files.read_image(path)
  if cell == "kept":
    assert not [note for note in notes if "left out" in note]
    assert list(read.metadata.values()) == list(given.values())
  else:
    assert not read.metadata
    assert f"{block} left out, {suffix} holds none" in notes


@pytest.mark.parametrize("suffix", sorted(writing.FORMATS))
def test_writing_large_images(tmp_path, suffix):
  cells = next(cells for line, cells in WRITING.items() if suffix in line)
  path = tmp_path / f"image{suffix}"
  limit = int(cells[-1] or 0)
  side = limit or 70_000
  files.write_image(path, np.zeros((1, side), np.uint8))
  assert files.read_image(path).pixels.shape[:2] == (1, side)
  if limit:
    with pytest.raises(
      files.ImageError, match=rf"at most {limit} pixels a side, got 1 x {limit + 1}"
    ):
      files.write_image(path, np.zeros((limit + 1, 1), np.uint8))
