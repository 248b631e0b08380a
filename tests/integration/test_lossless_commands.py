"""A folder of odd image files through `cae compress --lossless` and back: every bit, offline."""

import dataclasses
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cae_jax import api, compile_cache
from cae_jax.codec.info import info
from cae_jax.coding.bitstream import pack, unpack
from cae_jax.commands import compressing, loading
from cae_jax.images import metadata
from cae_jax.images.files import read_image, write_image
from cae_jax.weights import save_weights, shipped
from tests import image_files as make
from tests.command_line import one_error, run
from tests.golden import FOLDER as GOLDEN
from tests.lossless import LossyStandIn, tiny_weights

png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")

SIZE = 21, 30


def _values(bits, channels=1, seed=0):
  """A ramp with noise over all of a range, its ends included."""
  rng = np.random.default_rng(seed)
  y, x = np.indices(SIZE)
  peak = (1 << bits) - 1
  ramp = (x + 2 * y)[..., None] / 70 * peak * np.linspace(1, 0.5, channels)
  found = np.clip(ramp + rng.normal(0, peak / 20, (*SIZE, channels)), 0, peak)
  found[0, 0], found[-1, -1] = 0, peak
  found = found.astype(np.uint8 if bits <= 8 else np.uint16)
  return found[..., 0] if channels == 1 else found


def _hiding(bits, channels):
  """With opacity: half of it is none, and hides colours."""
  found = _values(bits, channels)
  found[5:15, 4:22, -1] = 0
  return found


def _palette(bits, transparency=b""):
  """A PNG file of numbers, 2^bits colours, and the image that these are."""
  numbers = _values(bits)
  colours = np.random.default_rng(1).integers(0, 256, (1 << bits, 3), np.uint8)
  chunks = [make.png_chunk(b"PLTE", colours.tobytes())]
  if transparency:
    chunks.append(make.png_chunk(b"tRNS", transparency))
    alpha = np.frombuffer(transparency.ljust(1 << bits, b"\xff"), np.uint8)[:, None]
    colours = np.hstack([colours, alpha])
  return make.png(numbers, bits, *chunks, colour_type=3), colours[numbers]


def _pnm(values):
  height, width = values.shape[:2]
  kind = 6 if values.ndim == 3 else 5
  return f"P{kind} {width} {height} 65535\n".encode() + values.astype(">u2").tobytes()


def _png(bits, channels=1):
  make_values = _hiding if channels in (2, 4) else _values
  values = make_values(bits, channels)
  expected = values * np.uint8(255 // ((1 << bits) - 1)) if bits < 8 else values
  return make.png(values, bits), expected


def _encoded(values, image_format, **options):
  return make.encode(values, image_format, **options), values


def _tiff(values, bits):
  tags = [(338, 3, [2])] if values.ndim == 3 and values.shape[2] in (2, 4) else []
  return make.tiff(values, bits, tags, deflate=True), values


# Name of a file -> its bytes, and the samples that its standard says it has.
FILES = {
  **{f"grey{bits}.png": _png(bits) for bits in (1, 2, 4, 8, 16)},
  **{f"alpha{bits}.png": _png(bits, 2) for bits in (8, 16)},
  **{f"rgb{bits}.png": _png(bits, 3) for bits in (8, 16)},
  **{f"rgba{bits}.png": _png(bits, 4) for bits in (8, 16)},
  **{f"palette{bits}.png": _palette(bits) for bits in (1, 2, 4, 8)},
  **{f"clear{bits}.png": _palette(bits, b"\0\x80") for bits in (1, 2, 4, 8)},
  **{f"grey{bits}.tif": _tiff(_values(bits), bits) for bits in (8, 16)},
  **{f"rgb{bits}.tif": _tiff(_values(bits, 3), bits) for bits in (8, 16)},
  **{f"rgba{bits}.tif": _tiff(_hiding(bits, 4), bits) for bits in (8, 16)},
  "rgb12.tif": _tiff(_values(12, 3), 16),
  "rgb.webp": _encoded(_values(8, 3), "WEBP", lossless=True),
  "rgba.webp": _encoded(_hiding(8, 4), "WEBP", lossless=True, exact=True),
  "grey.pgm": (_pnm(_values(16)), _values(16)),
  "rgb.ppm": (_pnm(_values(16, 3)), _values(16, 3)),
  "pixel.png": _encoded(np.uint8([[[7, 8, 9]]]), "PNG"),
  "pixel16.png": (make.png(np.uint16([[513]]), 16), np.uint16([[513]])),
  "row.png": _encoded(_values(8, 3)[:1], "PNG"),
  "column.png": _encoded(_values(8)[:, :1].copy(), "PNG"),
  "black.bmp": _encoded(np.zeros((40, 50, 3), np.uint8), "BMP"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory):
  """The tiny weights, as those that ship; the user's cache is left alone."""
  folder = tmp_path_factory.mktemp("weights")
  path = folder / "lossless.safetensors"
  save_weights(path, dataclasses.replace(tiny_weights(biases=True), name=shipped.LOSSLESS))
  api._codec.cache_clear()
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(compile_cache.ENVIRONMENT, "")
    patch.setattr(shipped, "FOLDER", folder)
    yield path
  api._codec.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Of all odd files, and what became of them."""
  folder = tmp_path_factory.mktemp("files")
  for name, (data, _) in FILES.items():
    (folder / name).write_bytes(data)
  return folder


@pytest.fixture
def photograph(tmp_path):
  path = tmp_path / "in.png"
  write_image(path, _values(8, 3))
  return path


def _independently(path):
  """Samples of a PNG, TIFF or PNM file, as other programs read it; of 8 bits Pillow."""
  if path.suffix == ".tif":
    return tifffile.imread(path)
  if path.suffix == ".png":
    width, height, rows, said = png.Reader(bytes=path.read_bytes()).read()
    kind = np.uint16 if said["bitdepth"] == 16 else np.uint8
    channels = () if said["planes"] == 1 else (said["planes"],)
    return np.vstack([np.array(row, kind) for row in rows]).reshape(height, width, *channels)
  *_, size, _, samples = path.read_bytes().split(b"\n", 3)
  width, height = map(int, size.split())
  return np.frombuffer(samples, ">u2").reshape(height, width, -1).squeeze()


@pytest.mark.parametrize("name", FILES)
def test_every_sample_of_odd_files_comes_back(folder, name, capsys):
  source, expected = folder / name, FILES[name][1]
  cae = folder / f"{name}.cae"
  assert run("compress", source, cae, "--lossless", "--keep_hidden_colour") == 0
  said = capsys.readouterr()
  assert said.err == ""
  assert "bpp, lossless" in said.out
  assert "dropped" not in said.out
  pnm = ".pgm" if expected.ndim == 2 else ".ppm"
  for suffix in (".png", ".tif", *([pnm] if name.endswith(pnm) else [])):
    out = folder / f"{name}.out{suffix}"
    assert run("decompress", cae, out) == 0
    assert capsys.readouterr().err == ""
    for found in (read_image(out, exact=True).pixels, _independently(out)):
      assert found.dtype.itemsize == expected.dtype.itemsize
      np.testing.assert_array_equal(found, expected)
  assert cae.stat().st_size <= expected.nbytes + 80  # its overhead, and the name of the weights


def test_many_files_at_once(tmp_path, folder, capsys):
  names = ["grey1.png", "rgb16.tif", "rgba.webp", "pixel.png"]
  files = [folder / name for name in names]
  assert run("compress", *files, "--lossless", "--output-dir", tmp_path / "cae") == 0
  made = [tmp_path / "cae" / f"{file.stem}.cae" for file in files]
  assert run("decompress", *made, "--output_dir", tmp_path / "png") == 0
  assert run("info", *made) == 0
  said = capsys.readouterr()
  assert all(line.startswith("4 files, ") for line in said.err.splitlines())
  assert said.out.count("bpp, lossless") == said.out.count("), lossless\n") == len(names)
  for file in files:
    alpha = file.name.startswith("rgba")
    expected, found = FILES[file.name][1], _independently(tmp_path / "png" / f"{file.stem}.png")
    seen = expected[..., -1] > 0 if alpha else ...
    np.testing.assert_array_equal(found[seen], expected[seen])


def test_hidden_colours_are_said_to_be_dropped(folder, tmp_path, capsys):
  source, cae = folder / "rgba8.png", tmp_path / "a.cae"
  assert run("compress", source, cae, "--lossless") == 0
  word = "colours under full transparency dropped; --keep_hidden_colour keeps them"
  assert word in capsys.readouterr().out
  assert run("decompress", cae, tmp_path / "a.png") == 0
  found, expected = _independently(tmp_path / "a.png"), FILES["rgba8.png"][1]
  seen = expected[..., 3] > 0
  np.testing.assert_array_equal(found[seen], expected[seen])
  np.testing.assert_array_equal(found[..., 3], expected[..., 3])
  assert (found[~seen] != expected[~seen]).any()


@pytest.mark.parametrize("name", ["rgb8.png", "rgba8.png", "grey16.png", "rgb16.tif"])
@pytest.mark.parametrize("error", [1, 3])
def test_near_lossless_keeps_its_bound(folder, tmp_path, name, error, capsys):
  cae, out = tmp_path / "a.cae", tmp_path / "a.png"
  near = f"--near-lossless={error}"
  assert run("compress", folder / name, cae, near, "--keep_hidden_colour") == 0
  words = f"near-lossless, errors of at most {error}"
  assert re.search(rf" dB, {words}\n", capsys.readouterr().out)
  assert run("info", cae) == 0
  assert f", {words}\n" in capsys.readouterr().out
  assert run("decompress", cae, out) == 0
  expected = FILES[name][1].astype(int)
  difference = np.abs(_independently(out) - expected)
  assert difference.max() == error
  if expected.shape[2:] == (4,):
    assert not difference[..., 3].any()


def test_an_infinite_psnr_is_lossless(folder, tmp_path, capsys):
  for number, goal in enumerate(("--psnr=inf", "--lossless", "--near_lossless=0")):
    assert run("compress", folder / "rgb16.png", tmp_path / f"{number}.cae", goal) == 0
    assert ", lossless\n" in capsys.readouterr().out
  files = {(tmp_path / f"{number}.cae").read_bytes() for number in range(3)}
  assert len(files) == 1


@pytest.fixture
def _lossy(monkeypatch):
  """A stand-in is the lossy codec: of at most 40 dB, and 100 bytes."""
  load = loading.load_codec
  monkeypatch.setattr(shipped, "tuned", lambda tune: "lossy")
  monkeypatch.setattr(
    loading, "load_codec", lambda name: LossyStandIn() if name == "lossy" else load(name)
  )
  # Its bytes are no file.
  monkeypatch.setattr(
    compressing, "info", lambda _: info((GOLDEN / "context-rgb.cae").read_bytes())
  )


@pytest.mark.usefixtures("_lossy")
def test_an_effort_that_goes_unused_is_told(folder, tmp_path, capsys):
  cae = tmp_path / "a.cae"
  assert run("compress", folder / "rgb8.png", cae, "--psnr=47", "--effort=1") == 0
  assert "effort not used" in capsys.readouterr().out
  assert run("compress", folder / "rgb8.png", cae, "--psnr=47", "--force") == 0
  assert "effort not used" not in capsys.readouterr().out
  finer = ["--quality=110", "--tune=psnr", "--force"]
  assert run("compress", folder / "rgb8.png", cae, *finer, "--effort=1") == 0
  assert "effort not used: beyond quality 100" in capsys.readouterr().out


@pytest.mark.usefixtures("_lossy")
@pytest.mark.parametrize("name", ["rgb8.png", "rgb16.png", "grey16.tif"])
@pytest.mark.parametrize(
  ("goal", "holds"),
  [
    ("--psnr=47", lambda file, psnr: 47 <= psnr < 60),
    ("--bytes=1000", lambda file, psnr: len(file) <= 1000),
    ("--bpp=12", lambda file, psnr: 8 * len(file) <= 12 * 21 * 30),
    ("--bpp=60", lambda file, psnr: psnr == math.inf),
    ("--psnr=5000", lambda file, psnr: psnr == math.inf),
  ],
)
def test_targets_beyond_the_lossy_codec_are_met_in_the_depth_of_the_file(
  folder, tmp_path, name, goal, holds, capsys
):
  cae, out = tmp_path / "a.cae", tmp_path / "a.png"
  assert run("compress", folder / name, cae, goal) == 0
  said = capsys.readouterr().out
  assert "reduced" not in said
  assert run("decompress", cae, out) == 0
  found, expected = _independently(out), FILES[name][1]
  assert found.dtype == expected.dtype
  mse = np.square(found - expected.astype(float)).mean()
  psnr = 10 * math.log10(np.iinfo(found.dtype).max ** 2 / mse) if mse else math.inf
  assert holds(cae.read_bytes(), psnr)
  assert ("lossless\n" in said) == (psnr == math.inf)


@pytest.mark.usefixtures("_lossy")
def test_what_the_lossy_codec_meets_has_8_bits_as_ever(folder, tmp_path, capsys):
  assert run("compress", folder / "rgb16.png", tmp_path / "a.cae", "--psnr=35") == 0
  assert "lossy; 16-bit reduced to 8" in capsys.readouterr().out


@pytest.mark.usefixtures("_lossy")
def test_a_drawing_of_16_bits_at_a_quality_has_8(tmp_path, capsys):
  write_image(tmp_path / "in.png", np.full((21, 30), 300, np.uint16))
  assert run("compress", tmp_path / "in.png", tmp_path / "a.cae", "--quality=99") == 0
  assert "lossless; 16-bit reduced to 8" in capsys.readouterr().out


@pytest.mark.usefixtures("_lossy")
def test_what_cannot_be_read_exactly_is_met_as_it_was_read(tmp_path, capsys):
  Image.fromarray(_values(8, 3)).convert("CMYK").save(tmp_path / "in.tif")
  assert run("compress", tmp_path / "in.tif", tmp_path / "a.cae", "--psnr=60") == 0
  assert "CMYK converted to sRGB" in capsys.readouterr().out


def test_metadata_are_kept(tmp_path):
  icc, exif = make.profile(), make.exif_block(Artist="someone")
  for values in (_values(8, 3), _values(16, 3)):
    source, cae = tmp_path / "in.png", tmp_path / "a.cae"
    write_image(source, values, icc_profile=icc, exif=exif)
    assert run("compress", source, cae, "--lossless", "--force") == 0
    for suffix in (".png", ".tif"):
      assert run("decompress", cae, tmp_path / f"out{suffix}", "--force") == 0
      found = read_image(tmp_path / f"out{suffix}", exact=True)
      assert found.icc_profile == icc
      assert metadata.read_exif(found.exif).tags == metadata.read_exif(exif).tags
      np.testing.assert_array_equal(found.pixels, values)
    assert run("compress", source, cae, "--lossless", "--force", "--strip") == 0
    assert unpack(cae.read_bytes()).metadata == {}


def test_weights_by_path(photograph, weights, tmp_path, capsys):
  cae, of = tmp_path / "a.cae", f"--weights={weights}"
  assert run("compress", photograph, cae, of, "--lossless") == 0
  assert run("decompress", cae, tmp_path / "a.png", of) == 0
  np.testing.assert_array_equal(_independently(tmp_path / "a.png"), _values(8, 3))
  capsys.readouterr()
  assert run("compress", photograph, tmp_path / "b.cae", of, "--quality=50") == 2
  assert "are lossless; give --lossless or --near_lossless=T" in one_error(capsys)
  assert not (tmp_path / "b.cae").exists()


def _float_tiff(path):
  tifffile.imwrite(path, np.zeros((5, 6), np.float32))


def _long_tiff(path):
  tifffile.imwrite(path, np.arange(30, dtype=np.uint32).reshape(5, 6) << 20)


def _five_channels(path):
  tifffile.imwrite(path, np.ones((5, 6, 5), np.uint8), photometric="minisblack")


@pytest.mark.parametrize("write", [_float_tiff, _long_tiff, _five_channels])
def test_images_that_it_cannot_hold_are_one_line(write, tmp_path, capsys):
  write(tmp_path / "in.tif")
  assert run("compress", tmp_path / "in.tif", tmp_path / "a.cae", "--lossless") == 2
  error = one_error(capsys)
  assert "in.tif" in error
  assert "convert" in error or "first" in error
  assert not (tmp_path / "a.cae").exists()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--lossless", "--near_lossless=1"], "not allowed with argument"),
    (["--lossless", "--psnr=40"], "not allowed with argument"),
    (["--near_lossless=-1"], "near_lossless -1: expected a whole number of grey levels"),
    (["--near_lossless=1.5"], "invalid int value: '1.5'"),
    (["--lossless", "--effort=1"], "lossless has one effort only; leave effort out"),
    (["--psnr=inf", "--effort=1"], "lossless has one effort only; leave effort out"),
    (["--near_lossless=2", "--effort=1"], "near_lossless has one effort only; leave effort out"),
  ],
)
def test_options_that_make_no_sense_are_one_line(photograph, tmp_path, options, message, capsys):
  assert run("compress", photograph, tmp_path / "a.cae", *options) == 2
  assert message in one_error(capsys)
  assert not (tmp_path / "a.cae").exists()


def test_formats_that_lack_16_bits_are_one_line(folder, tmp_path, capsys):
  assert run("compress", folder / "rgb16.png", tmp_path / "a.cae", "--lossless") == 0
  capsys.readouterr()
  for suffix in (".jpg", ".webp", ".bmp"):
    assert run("decompress", tmp_path / "a.cae", tmp_path / f"out{suffix}") == 2
    assert f"cannot write 16 bits a sample to {suffix}; .png" in one_error(capsys)


def test_damaged_files_are_one_line(photograph, tmp_path, capsys):
  cae = tmp_path / "a.cae"
  assert run("compress", photograph, cae, "--lossless") == 0
  container = unpack(cae.read_bytes())
  section = bytearray(container.sections[0])
  section[len(section) // 2] ^= 16
  cae.write_bytes(pack(container.header, [bytes(section)]))
  capsys.readouterr()
  assert run("decompress", cae, tmp_path / "out.png") == 2
  assert str(cae) in one_error(capsys)
  assert not (tmp_path / "out.png").exists()


def test_another_process_decodes_and_needs_no_jax(folder, weights, tmp_path):
  """Nor anything that training needs."""
  script = (
    "import pathlib, sys; from cae_jax import cli; from cae_jax.weights import shipped\n"
    f"shipped.FOLDER = pathlib.Path({str(weights.parent)!r})\n"
    "status = cli.main(sys.argv[1:])\n"
    "assert not {'jax', 'flax', 'scipy', 'tensorflow'} & set(sys.modules)\n"
    "sys.exit(status)"
  )
  cae, out = tmp_path / "a.cae", tmp_path / "out.png"
  for arguments in (["compress", folder / "rgb8.png", cae, "--lossless"], ["decompress", cae, out]):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
  np.testing.assert_array_equal(_independently(out), FILES["rgb8.png"][1])
