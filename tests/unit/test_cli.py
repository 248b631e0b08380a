import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from cae_jax import api, backend, compile_cache
from cae_jax.backend import BackendError
from cae_jax.cli.options import spelled
from cae_jax.cli.parser import make_parser
from cae_jax.coding import bitstream
from cae_jax.coding.bitstream import Kind, pack, unpack
from cae_jax.commands import compressing, decompressing, loading, results
from cae_jax.images.files import read_image, write_image
from cae_jax.images.metrics import psnr_db
from cae_jax.images.pixels import turn
from cae_jax.weights import save_weights, shipped
from tests.command_line import one_error, run
from tests.models import context_codec, context_weights, photo
from tests.no_weights import NO_WEIGHTS, no_weights

IMAGE = photo(90, 120, seed=2)


@pytest.fixture(autouse=True)
def _tiny_codec(monkeypatch, tmp_path):
  """The tiny codec stands for the shipped one, and the user's cache is left alone."""
  monkeypatch.setenv(compile_cache.ENVIRONMENT, "")
  monkeypatch.setattr("cae_jax.codec.load", lambda weights: context_codec())
  folder = tmp_path / "weights"
  folder.mkdir()
  save_weights(folder / "tiny.safetensors", context_weights())
  monkeypatch.setattr(shipped, "FOLDER", folder)
  monkeypatch.setattr(shipped, "DEFAULT", "tiny")
  monkeypatch.setattr(shipped, "EYE", "tiny")
  api._codec.cache_clear()
  yield
  api._codec.cache_clear()


@pytest.fixture
def picture(tmp_path):
  path = tmp_path / "picture.png"
  write_image(path, IMAGE)
  return path


def test_there_and_back(picture, tmp_path, capsys):
  cae, png = tmp_path / "a.cae", tmp_path / "b.png"
  assert run("compress", picture, cae, "--quality=80") == 0
  said = capsys.readouterr()
  assert said.err == ""
  bpp, psnr = re.search(
    r": \d+ bytes, ([\d.]+) bpp, ([\d.]+) dB, quality 80.0\n", said.out
  ).groups()
  assert float(bpp) == pytest.approx(8 * cae.stat().st_size / (90 * 120), abs=1e-4)
  assert run("decompress", cae, png) == 0
  assert "120 x 90 RGB" in capsys.readouterr().out
  decoded = read_image(png).pixels
  np.testing.assert_array_equal(decoded, context_codec().decompress(cae.read_bytes()))
  assert float(psnr) == pytest.approx(psnr_db(IMAGE, decoded), abs=0.01)


@pytest.mark.parametrize("goal", ["--bytes=500", "--bpp=0.37"])
def test_sizes(picture, tmp_path, goal):
  assert run("compress", picture, tmp_path / "a.cae", goal) == 0
  assert 0.99 * 499 <= (tmp_path / "a.cae").stat().st_size <= 500


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_what_is_no_weights_file_is_told_before_the_work(picture, tmp_path, capsys, command, name):
  weights = no_weights(tmp_path, name)
  out = tmp_path / ("a.cae" if command == "compress" else "a.png")
  assert run(command, picture, out, f"--weights={weights}") == 2
  assert one_error(capsys).startswith(f"error: {weights}: n")


def test_an_interruption_while_modules_are_imported_is_told_in_a_line():
  code = """
import sys
class Interrupted:
  def find_spec(self, name, *_):
    if name in ("numpy", "PIL"):
      raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from cae_jax.cli import main
sys.exit(main(["info", "a.cae"]))
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
  assert (done.returncode, done.stderr) == (130, b"error: interrupted\n")


def test_psnr(picture, tmp_path, capsys):
  assert run("compress", picture, tmp_path / "a.cae", "--psnr=24") == 0
  assert re.search(r" 24\.0[0-2] dB", capsys.readouterr().out)


def _with_metadata(path):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  exif[ExifTags.Base.Make] = "Maker"
  icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  Image.fromarray(IMAGE).save(path, exif=exif.tobytes(), icc_profile=icc)
  return icc


def test_profile_and_exif_are_kept_and_orientation_applied(tmp_path, capsys):
  source, cae = tmp_path / "in.png", tmp_path / "a.cae"
  icc = _with_metadata(source)
  assert run("compress", source, cae) == 0
  assert "EXIF orientation 6 applied" in capsys.readouterr().out
  for suffix in (".png", ".jpg"):
    out = tmp_path / f"out{suffix}"
    assert run("decompress", cae, out) == 0
    read = read_image(out)
    assert read.pixels.shape == (120, 90, 3)
    assert read.icc_profile == icc
    with Image.open(out) as image:
      assert dict(image.getexif()) == {ExifTags.Base.Make: "Maker"}
  assert "out.jpg: 90 x 120 RGB; .jpg may lose some more quality" in capsys.readouterr().out


def test_strip(tmp_path):
  _with_metadata(tmp_path / "in.png")
  assert run("compress", tmp_path / "in.png", tmp_path / "a.cae", "--strip") == 0
  assert unpack((tmp_path / "a.cae").read_bytes()).metadata == {}


@pytest.mark.parametrize(
  ("mode", "kind", "note"),
  [
    ("L", Kind.GREY, None),
    ("LA", Kind.GREY_ALPHA, None),
    ("RGBA", Kind.RGBA, None),
    ("P", Kind.RGB, "palette expanded"),
    ("1", Kind.GREY, "black and white expanded to grey"),
    ("CMYK", Kind.RGB, "CMYK converted to sRGB"),
    ("I;16", Kind.GREY, "16-bit reduced to 8"),
  ],
)
def test_kinds_of_files(tmp_path, capsys, mode, kind, note):
  if mode == "I;16":
    image = Image.fromarray(IMAGE[..., 0].astype(np.uint16) * 257)
  else:
    image = Image.fromarray(IMAGE).convert(mode)
  source, cae, out = (tmp_path / name for name in ("in.tif", "a.cae", "out.png"))
  image.save(source)
  assert run("compress", source, cae, "--quality=20") == 0  # a lossless file is larger
  said = capsys.readouterr().out
  assert said.count(";") == (note is not None)
  assert note is None or f"; {note}\n" in said
  assert unpack(cae.read_bytes()).header.kind == kind
  assert run("decompress", cae, out) == 0
  pixels = read_image(out).pixels
  assert pixels.shape == (90, 120, kind)[: 2 if kind == Kind.GREY else 3]


def test_many_files_and_a_bad_one(tmp_path, capsys):
  for name in ("a", "b", "c"):
    write_image(tmp_path / f"{name}.png", photo(30, 40, seed=ord(name)))
  (tmp_path / "b.png").write_bytes(b"no image")
  out = tmp_path / "new" / "folder"
  sources = [tmp_path / f"{name}.png" for name in "abc"]
  assert run("compress", *sources, f"--output_dir={out}") == 2
  said = capsys.readouterr()
  assert sorted(path.name for path in out.iterdir()) == ["a.cae", "c.cae"]
  assert said.out.count(" bpp, ") == 2
  bad, summary = said.err.splitlines()
  assert bad.startswith(f"error: {tmp_path}/b.png: not a readable image")
  assert summary.startswith("3 files, 1 failed, ")
  assert run("decompress", *sorted(out.iterdir()), "--output_dir", tmp_path / "back") == 0
  assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["a.png", "c.png"]
  assert read_image(tmp_path / "back" / "c.png").pixels.shape == (30, 40, 3)


def test_two_names_are_in_and_out_unless_there_is_a_folder(tmp_path, capsys):
  for name in ("a.png", "b.png"):
    write_image(tmp_path / name, photo(30, 40))
  before = (tmp_path / "b.png").read_bytes()
  assert run("compress", tmp_path / "a.png", tmp_path / "b.png", "--force") == 2
  assert "b.png does not end in .cae; expected IN OUT.cae, or --output_dir" in one_error(capsys)
  assert (tmp_path / "b.png").read_bytes() == before
  assert run("compress", tmp_path / "a.png", tmp_path / "b.png", f"--output_dir={tmp_path}") == 0
  assert (tmp_path / "b.cae").exists()
  capsys.readouterr()
  assert run("decompress", tmp_path / "a.cae", tmp_path / "b.cae", "--force") == 2
  assert "b.cae is no name of an image file; expected IN.cae OUT.png" in one_error(capsys)


@pytest.mark.parametrize(
  ("names", "got"),
  [(["-"], "standard input"), (["."], r"\."), (["a.png", "b.png", "c.cae"], "3 names")],
)
def test_other_numbers_of_names_need_a_folder(names, got, capsys):
  assert run("compress", *names) == 2
  assert re.search(
    f"expected IN and OUT, got {got}; for folders and many files give", one_error(capsys)
  )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".ppm"])
@pytest.mark.parametrize("tags", [{}, {ExifTags.Base.Make: "Maker"}])
def test_what_pillow_did_not_turn_is_turned(tags, suffix, tmp_path, capsys):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  exif.update(tags)
  data = context_codec().compress(IMAGE, quality=60, metadata={"exif": exif.tobytes()})
  cae, out = tmp_path / "a.cae", tmp_path / f"a{suffix}"
  cae.write_bytes(data)
  assert run("decompress", cae, out) == 0
  said = capsys.readouterr().out
  assert f"a{suffix}: 90 x 120 RGB; EXIF orientation 6 applied" in said
  assert "unreadable" not in said
  read = read_image(out)
  assert read.pixels.shape == (120, 90, 3)
  if suffix == ".png":
    np.testing.assert_array_equal(read.pixels, np.rot90(context_codec().decompress(data), -1))
    with Image.open(out) as image:
      assert dict(image.getexif()) == tags


def test_one_name_is_that_of_both_files(tmp_path, capsys):
  write_image(tmp_path / "a.png", photo(30, 40))
  before = (tmp_path / "a.png").read_bytes()
  assert run("compress", tmp_path / "a.png", "--quality=20") == 0
  assert read_image(tmp_path / "a.png").pixels.shape == (30, 40, 3)
  assert run("decompress", tmp_path / "a.cae") == 2
  assert "a.png exists; --force overwrites it" in one_error(capsys)
  assert (tmp_path / "a.png").read_bytes() == before
  (tmp_path / "a.png").unlink()
  assert run("decompress", tmp_path / "a.cae") == 0
  assert read_image(tmp_path / "a.png").pixels.shape == (30, 40, 3)


def test_files_of_other_kinds_are_counted(tmp_path, capsys):
  (tmp_path / "in").mkdir()
  write_image(tmp_path / "in" / "a.png", photo(30, 40))
  for name in ("notes.txt", "list.csv", ".hidden"):
    (tmp_path / "in" / name).touch()
  assert run("compress", tmp_path / "in", f"--output_dir={tmp_path / 'out'}") == 0
  assert capsys.readouterr().err.splitlines()[0] == (
    "2 files of other kinds passed over (.csv, .txt)"
  )


def test_a_file_is_not_written_over_itself(picture, tmp_path, capsys):
  disguised = tmp_path / "a.cae"
  disguised.write_bytes(picture.read_bytes())
  assert run("compress", disguised, disguised, "--force") == 2
  assert "a.cae is the file to be read, too, compressed already, if it" in one_error(capsys)
  assert disguised.read_bytes() == picture.read_bytes()
  assert run("decompress", picture, "--force") == 2
  assert "picture.png is the file to be read, too, and no .cae file" in one_error(capsys)
  (tmp_path / "b.cae").mkdir()
  assert run("compress", picture, tmp_path / "b.cae", "--force") == 2
  assert "b.cae is a folder; expected the name of a file" in one_error(capsys)
  assert run("compress", picture, tmp_path / ".cae") == 2
  assert ".cae is a suffix alone; expected IN OUT.cae" in one_error(capsys)


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_weights_that_are_not_there_are_told_once(command, picture, tmp_path, capsys):
  (tmp_path / "a.cae").write_bytes(b"")
  out = tmp_path / "out"
  files = (picture, tmp_path / "a.cae")
  assert run(command, *files, f"--output_dir={out}", "--weights=no.safetensors") == 2
  assert "no.safetensors" in one_error(capsys)
  assert not out.exists()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--effort=1"], "effort 1 lowers squared errors"),
    (["--effort=1", "--lossless"], "lossless has one effort only"),
    (["--near_lossless=2", "--tune=eye"], "near_lossless leaves nothing to be tuned"),
    (["--lossless", "--weights=tiny"], "the weights tiny are lossy; leave them out"),
    (["--bpp=0"], "bpp 0: expected a positive number"),
  ],
)
def test_options_that_clash_are_told_once(options, message, picture, tmp_path, capsys):
  out = tmp_path / "out"
  shutil.copy(picture, tmp_path / "b.png")
  assert run("compress", picture, tmp_path / "b.png", f"--output_dir={out}", *options) == 2
  assert message in one_error(capsys)
  assert not out.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_names_in_another_encoding_are_as_good_as_any(tmp_path, monkeypatch):
  names = [os.fsdecode(name) for name in (b"1", b"caf\xe9  \n2", "é3".encode())]
  for name in names:
    write_image(tmp_path / f"{name}.png", photo(16, 16))
  printed = io.BytesIO()
  monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "ascii", errors="strict"))
  files = lambda folder, suffix: [folder / f"{name}{suffix}" for name in names]
  cae, back = tmp_path / "cae", tmp_path / "back"
  assert run("compress", *files(tmp_path, ".png"), f"--output_dir={cae}") == 0
  assert run("decompress", *files(cae, ".cae"), f"--output_dir={back}") == 0
  assert run("info", *files(cae, ".cae")) == 0
  assert sorted(back.iterdir()) == sorted(files(back, ".png"))
  said = printed.getvalue().decode()
  assert rf"{tmp_path}/caf\xe9  \n2.png -> {cae}/caf\xe9  \n2.cae: " in said
  assert rf"{cae}/caf\xe9  \n2.cae: 16 x 16 RGB" in said
  assert rf"{back}/\xe93.png: " in said


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_errors_show_names_in_another_encoding(tmp_path, capsys):
  path = tmp_path / os.fsdecode(b"caf\xe9.png")
  path.write_bytes(b"no image")
  assert run("compress", path, f"--output_dir={tmp_path}") == 2
  error = capsys.readouterr().err
  assert error.startswith(rf"error: {tmp_path}/caf\xe9.png: not a readable image")


def test_a_bug_does_not_stop_a_batch(tmp_path, capsys, monkeypatch):
  compress_file = compressing.compress_file

  def compress(source, *arguments, **options):
    if source.stem == "b":
      raise ZeroDivisionError("of all things")
    return compress_file(source, *arguments, **options)

  monkeypatch.setattr(compressing, "compress_file", compress)
  for name in "abd":
    write_image(tmp_path / f"{name}.png", photo(16, 16))
  sources = [tmp_path / f"{name}.png" for name in "abcd"]
  assert run("compress", *sources, f"--output_dir={tmp_path}") == 1
  assert sorted(path.name for path in tmp_path.glob("*.cae")) == ["a.cae", "d.cae"]
  first, *_, bug, absent, _ = capsys.readouterr().err.splitlines()
  assert first.startswith("Traceback")
  assert bug.startswith(f"error: {tmp_path}/b.png: internal error (ZeroDivisionError: of all")
  assert absent.startswith(f"error: {tmp_path}/c.png: No such file")


def test_what_libraries_warn_of_is_not_shown(picture, tmp_path, capsys, monkeypatch):
  def compress(*_, **__):
    warnings.warn_explicit("odd", UserWarning, "a.py", 1, module="PIL.TiffImagePlugin")
    return results.Result("done", {})

  monkeypatch.setattr(compressing, "compress_file", compress)
  assert run("compress", picture, tmp_path / "a.cae") == 0
  assert capsys.readouterr() == ("done\n", "")


def test_without_a_device_a_batch_ends_at_once(tmp_path, capsys, monkeypatch):
  def load(weights):
    raise BackendError("JAX_PLATFORMS=cuda: none")

  monkeypatch.setattr("cae_jax.codec.load", load)
  for name in "ab":
    write_image(tmp_path / f"{name}.png", photo(16, 16))
  assert run("compress", *tmp_path.glob("*.png"), f"--output_dir={tmp_path}") == 2
  assert one_error(capsys) == "error: JAX_PLATFORMS=cuda: none"


def test_home_is_expanded_and_urls_are_refused(picture, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("HOME", str(tmp_path))
  weights = shutil.copy(shipped.FOLDER / "tiny.safetensors", tmp_path / "mine.safetensors")
  asked = []
  monkeypatch.setattr("cae_jax.codec.load", lambda path: asked.append(path) or context_codec())
  options = "--output_dir=~/out", "--weights=~/mine.safetensors"
  assert run("compress", "~/picture.png", *options) == 0
  assert asked == [str(weights)]
  assert (tmp_path / "out" / "picture.cae").exists()
  capsys.readouterr()
  for arguments in (
    ["compress", picture, "--output_dir=gs://bucket/x"],
    ["compress", "s3://bucket/a.png", "a.cae"],
    ["info", "https://example.org/a.cae"],
    ["compress", picture, "a.cae", "--weights=gs://bucket/x"],
  ):
    assert run(*arguments) == 2
    assert re.search(r": \w+://.*: expected a path, not a URL; fetch", one_error(capsys))


def _options():
  """Every option of every command, as one that holds values or none."""
  [commands] = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
  for name, parser in commands.choices.items():
    positional = [action for action in parser._actions if not action.option_strings]
    words = [(action.choices or ["x"])[0] for action in positional]
    for action in parser._actions:
      if action.option_strings and action.dest != "help":
        yield pytest.param(name, words, action, id=f"{name} --{action.dest}")


@pytest.mark.parametrize(("command", "words", "action"), list(_options()))
def test_every_option_may_have_hyphens(command, words, action):
  [option] = action.option_strings
  hyphened = "--" + option[2:].replace("_", "-")
  value = (action.choices or ["1"])[0]
  read = lambda *given: make_parser().parse_args(spelled([command, *words, *given]))
  if action.nargs == 0:
    assert read(hyphened) == read(option)
  else:
    assert read(hyphened, value) == read(f"{hyphened}={value}") == read(option, value)


def test_what_is_no_option_keeps_its_hyphens():
  given = ["a-b", "--max-pixels=1-2", "--output-dir", "c-d", "-", "--", "--a-b", "--", "-", "d-e"]
  known = ["a-b", "--max_pixels=1-2", "--output_dir", "c-d", "-", "./--a-b", "./--", "-", "d-e"]
  assert spelled(given) == known


def test_names_of_files_may_begin_with_a_dash(picture, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  picture.rename("-a.png")
  assert run("compress", "--quality=20", "--", "-a.png", "--b.cae") == 0
  assert capsys.readouterr().out.startswith("-a.png -> --b.cae: ")
  assert run("info", "--", "--b.cae") == 0
  capsys.readouterr()
  assert run("compress", "-a.png") == 2
  assert "unrecognized arguments: -a.png (if it is a file: ./-a.png)" in one_error(capsys)


def test_one_file_into_a_folder(picture, tmp_path):
  assert run("compress", picture, f"--output-dir={tmp_path}") == 0
  assert (tmp_path / "picture.cae").exists()


def test_names_that_would_meet(tmp_path, capsys):
  files = [tmp_path / "a.png", tmp_path / "a.jpg"]
  assert run("compress", *files, f"--output_dir={tmp_path / 'out'}") == 2
  assert "a.png and" in (line := one_error(capsys))
  assert "would both become" in line
  assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_without_force(picture, tmp_path, capsys):
  cae = tmp_path / "a.cae"
  cae.write_bytes(b"mine")
  assert run("compress", picture, cae) == 2
  assert "a.cae exists; --force overwrites it" in one_error(capsys)
  assert cae.read_bytes() == b"mine"
  assert run("compress", picture, cae, "--force") == 0
  assert unpack(cae.read_bytes()).header.height == 90


def test_a_file_that_appears_meanwhile_is_not_overwritten(picture, tmp_path, capsys, monkeypatch):
  cae, encode = tmp_path / "a.cae", context_codec().encode

  class Slow:
    def encode(self, *arguments, **options):
      cae.write_bytes(b"theirs")
      return encode(*arguments, **options)

  monkeypatch.setattr("cae_jax.codec.load", lambda weights: Slow())
  assert run("compress", picture, cae) == 2
  assert "a.cae exists; --force overwrites it" in one_error(capsys)
  assert cae.read_bytes() == b"theirs"
  assert run("compress", picture, cae, "--force") == 0
  assert unpack(cae.read_bytes()).header.height == 90
  assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".cae", ".png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_a_pipe_is_written_without_force(picture, tmp_path):
  assert run("compress", picture, tmp_path / "a.cae") == 0
  os.mkfifo(tmp_path / "out.png")
  read = []
  reader = threading.Thread(target=lambda: read.append((tmp_path / "out.png").read_bytes()))
  reader.start()
  assert run("decompress", tmp_path / "a.cae", tmp_path / "out.png") == 0
  reader.join()
  assert read_image(read[0]).pixels.shape == (90, 120, 3)


def test_nothing_is_left_of_a_failure(picture, tmp_path, capsys):
  before = sorted(tmp_path.rglob("*"))
  assert run("compress", picture, tmp_path / "a.cae", "--bytes=60") == 2
  assert "bpp) cannot be met: this image takes" in one_error(capsys)
  assert run("compress", picture, tmp_path / "absent" / "a.cae") == 2
  assert "absent: no such folder" in one_error(capsys)
  assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "the following arguments are required: COMMAND"),
    (["shrink"], "invalid choice: 'shrink'"),
    (["compress"], "the following arguments are required: FILE"),
    (["compress", "a.png", "b.cae", "--quality=high"], "--quality: invalid float value: 'high'"),
    (["compress", "a.png", "b.cae", "--qual=3"], "unrecognized arguments: --qual=3; cae"),
    (["compress", "--losless"], "unrecognized arguments: --losless; cae"),
    (["compress", "a.png", "b.cae", "--bpp=1", "--psnr=30"], "not allowed with argument"),
    (["compress", "absent.png", "b.cae"], "absent.png: No such file or directory"),
    (["info", "absent.cae"], "absent.cae: No such file or directory"),
  ],
)
def test_usage_errors_are_one_line(arguments, message, capsys):
  assert run(*arguments) == 2
  assert message in one_error(capsys)


@pytest.mark.parametrize("goal", ["--quality=176", "--bpp=0"])
def test_targets_out_of_range(picture, tmp_path, goal, capsys):
  assert run("compress", picture, tmp_path / "a.cae", goal) == 2
  assert "expected" in one_error(capsys)


def test_damaged_and_foreign_files(picture, tmp_path, capsys, monkeypatch):
  cae, out = tmp_path / "a.cae", tmp_path / "out.png"
  assert run("decompress", picture, out) == 2
  assert "picture.png: not a CAE file" in one_error(capsys)
  assert run("compress", picture, cae) == 0
  capsys.readouterr()
  (tmp_path / "short.cae").write_bytes(cae.read_bytes()[:-9])
  assert run("decompress", tmp_path / "short.cae", out) == 2
  assert "short.cae: the file is damaged" in one_error(capsys)
  monkeypatch.setattr(shipped, "FOLDER", tmp_path)
  assert run("decompress", cae, out) == 2
  line = one_error(capsys)
  assert "made with the weights 'tiny'" in line
  assert "give their file with --weights" in line
  assert not out.exists()


@pytest.mark.parametrize(
  ("arguments", "way_out"),
  [
    (["compress", "a.cae"], "for those in it give --output_dir"),
    (["decompress", "a.png"], "for those in it give --output_dir"),
    (["info"], "expected a file: give those in it"),
  ],
)
def test_folders_in_place_of_files(tmp_path, arguments, way_out, capsys):
  command, *out = arguments
  assert run(command, tmp_path, *[tmp_path / name for name in out]) == 2
  assert f"{tmp_path} is a folder; {way_out}" in one_error(capsys)


def test_debug_shows_the_traceback(tmp_path, capsys):
  assert run("info", tmp_path / "absent.cae", "--debug") == 2
  lines = capsys.readouterr().err.splitlines()
  assert lines[0].startswith("Traceback")
  assert lines[-1].startswith("error: ")


def test_info(picture, tmp_path, capsys):
  cae = tmp_path / "a.cae"
  assert run("compress", picture, cae, "--quality=25") == 0
  capsys.readouterr()
  (tmp_path / "b.cae").write_bytes(b"no")
  assert run("info", cae, tmp_path / "b.cae") == 2
  said = capsys.readouterr()
  assert f"{cae}: 120 x 90 RGB" in said.out
  assert "weights tiny (" in said.out
  assert "quality 25.0" in said.out
  assert "metadata: none" in said.out
  assert "b.cae: not a CAE file" in said.err


def test_a_file_is_parsed_once(picture, tmp_path, monkeypatch):
  assert run("compress", picture, tmp_path / "a.cae") == 0
  parsed, reader = [], bitstream._reader
  monkeypatch.setattr(
    bitstream, "_reader", lambda data, salvage: parsed.append(len(data)) or reader(data, salvage)
  )
  assert run("decompress", tmp_path / "a.cae", tmp_path / "a.png") == 0
  assert parsed == [(tmp_path / "a.cae").stat().st_size]


def test_parts_of_a_file(picture, tmp_path, capsys):
  cae, png = tmp_path / "a.cae", tmp_path / "b.png"
  assert run("compress", picture, cae) == 0
  whole = context_codec().decompress(cae.read_bytes())
  capsys.readouterr()
  assert run("decompress", cae, png, "--region=7,20,40,30") == 0
  assert "b.png: 30 x 40 RGB" in capsys.readouterr().out
  np.testing.assert_array_equal(read_image(png).pixels, whole[7:47, 20:50])
  assert run("decompress", cae, png, "--region=7,20,40,30", "--force", "--json") == 0
  told = json.loads(capsys.readouterr().out)
  assert (told["output_width"], told["output_height"]) == (30, 40)
  assert (told["width"], told["height"]) == (120, 90)
  assert run("decompress", cae, png, "--force", "--preview") == 0
  assert "b.png: 15 x 12 RGB" in capsys.readouterr().out
  np.testing.assert_array_equal(read_image(png).pixels, context_codec().preview(cae.read_bytes()))


def test_what_is_left_of_a_file(picture, tmp_path, capsys):
  cae, png = tmp_path / "a.cae", tmp_path / "b.png"
  assert run("compress", picture, cae) == 0
  cae.write_bytes(cae.read_bytes()[:-30])
  capsys.readouterr()
  assert run("decompress", cae, png) == 2
  assert "cut off or added; `cae decompress --salvage` may write what is left" in one_error(capsys)
  assert run("decompress", cae, png, "--salvage") == 0
  assert "b.png: 120 x 90 RGB; 120 x 90 pixels at (0, 0) blurred" in capsys.readouterr().out
  assert run("decompress", cae, png, "--salvage", "--force", "--json") == 0
  damage = {"top": 0, "left": 0, "height": 90, "width": 120, "what": "blurred"}
  assert json.loads(capsys.readouterr().out)["damage"] == [damage]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_damage_is_where_it_is_in_the_picture_as_it_is_written(orientation, tmp_path, capsys):
  exif, cae, png = Image.Exif(), tmp_path / "a.cae", tmp_path / "a.png"
  exif[ExifTags.Base.Orientation] = orientation
  tall = np.full((1060, 40, 3), 200, np.uint8)
  data = context_codec().compress(tall, quality=20, metadata={"exif": exif.tobytes()})
  container = unpack(data)
  last = bytes(len(container.sections[-1]))
  cae.write_bytes(pack(container.header, [*container.sections[:-1], last], container.metadata))
  assert run("decompress", cae, png, "--salvage", "--json") == 0
  [damage] = json.loads(capsys.readouterr().out)["damage"]
  marked = np.zeros((1060, 40))
  marked[1024:] = 1  # the second tile
  rows, columns = np.nonzero(turn(marked, orientation))
  assert damage["what"] == "lost"
  assert (damage["top"], damage["left"]) == (rows.min(), columns.min())
  assert (damage["height"], damage["width"]) == (np.ptp(rows) + 1, np.ptp(columns) + 1)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--region=1,2,3"], "--region=1,2,3: expected TOP,LEFT,HEIGHT,WIDTH in pixels"),
    pytest.param([f"--region={'1' * 5000},0,1,1"], "expected TOP,LEFT,HEIGHT,WIDTH", id="long"),
    (["--region=1,2,3,x"], "--region=1,2,3,x: expected TOP,LEFT,HEIGHT,WIDTH in pixels"),
    (["--region=0,0,91,1"], "not within the image, which has 90 rows and 120 columns"),
    (["--region=0,0,1,1", "--preview"], "not allowed with"),
    (["--preview", "--salvage"], "--preview is of whole files"),
  ],
)
def test_parts_that_there_are_not(picture, tmp_path, capsys, options, message):
  assert run("compress", picture, tmp_path / "a.cae") == 0
  capsys.readouterr()
  assert run("decompress", tmp_path / "a.cae", tmp_path / "b.png", *options) == 2
  assert message in one_error(capsys)


def test_metadata_that_no_file_can_hold_are_left_out_with_a_word(tmp_path, capsys, monkeypatch):
  icc = _with_metadata(tmp_path / "in.png")
  monkeypatch.setattr(compressing, "MAX_METADATA_BYTES", len(icc))
  assert run("compress", tmp_path / "in.png", tmp_path / "a.cae") == 0
  assert re.search(r"; EXIF of \d+ bytes left out, too large\n", capsys.readouterr().out)
  assert unpack((tmp_path / "a.cae").read_bytes()).metadata == {"icc": icc}


def _info_into(output, tmp_path):
  """`cae info`, in a process of its own, with its output connected to a file descriptor."""
  (tmp_path / "a.cae").write_bytes(pack(bitstream.Header("m", bytes(8), Kind.RGB, 1, 1), [b""]))
  command = [sys.executable, "-m", "cae_jax.cli", "info", *[str(tmp_path / "a.cae")] * 400]
  return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_output_that_nobody_reads_ends_it_quietly(tmp_path):
  read, write = os.pipe()
  os.close(read)
  done = _info_into(write, tmp_path)
  os.close(write)
  assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("count", [1, 2])
def test_a_closed_standard_error_is_not_standard_output(count, tmp_path):
  names = [str(tmp_path / f"{i}.cae") for i in range(count)]
  for name in names:
    Path(name).write_bytes(pack(bitstream.Header("m", bytes(8), Kind.RGB, 1, 1), [b""]))
  cae = f"{sys.executable} -m cae_jax.cli"
  command = f"exec {cae} info {shlex.join(names)} nowhere.cae --json 2>&-"
  done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, timeout=60)
  assert done.returncode == 2
  statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
  assert statuses == [*["ok"] * count, "failed"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no such device")
def test_output_that_cannot_be_written_is_an_error(tmp_path):
  with open("/dev/full", "w") as full:
    done = _info_into(full, tmp_path)
  assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")


def test_interruption(picture, tmp_path, monkeypatch, capsys):
  def interrupt(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(compressing, "compress_file", interrupt)
  assert run("compress", picture, tmp_path / "a.cae") == 130
  assert one_error(capsys) == "error: interrupted"


def test_the_cache_of_programs_can_be_moved_and_switched_off(monkeypatch, tmp_path):
  assert compile_cache.folder() is None
  monkeypatch.setenv(compile_cache.ENVIRONMENT, str(tmp_path))
  assert compile_cache.folder().parent == tmp_path
  monkeypatch.setenv(compile_cache.ENVIRONMENT, "~/x")
  assert compile_cache.folder().parent == Path("~/x").expanduser()
  monkeypatch.delenv(compile_cache.ENVIRONMENT)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert "cae_jax" in str(compile_cache.folder())


@pytest.mark.parametrize("imported", [True, False])
def test_the_cache_is_set_up_without_importing_jax(imported, monkeypatch, tmp_path):
  set_up = {}
  monkeypatch.setenv(compile_cache.ENVIRONMENT, str(tmp_path))
  if imported:
    config = SimpleNamespace(jax_compilation_cache_dir=None, update=set_up.__setitem__)
    monkeypatch.setattr(backend, "imported_jax", lambda: SimpleNamespace(config=config))
  else:
    monkeypatch.setattr(backend, "imported_jax", lambda: None)
    monkeypatch.setattr(os, "environ", given := {compile_cache.ENVIRONMENT: str(tmp_path)})
  compile_cache.enable()
  if not imported:
    set_up = {name.lower(): value for name, value in given.items() if name.startswith("JAX_")}
  assert {name: str(value) for name, value in set_up.items()} == {
    "jax_compilation_cache_dir": str(compile_cache.folder()),
    "jax_persistent_cache_min_compile_time_secs": "0",
    "jax_persistent_cache_min_entry_size_bytes": "-1",
  }


def test_a_cache_that_is_set_up_is_not_looked_for_again(monkeypatch):
  monkeypatch.setattr(backend, "imported_jax", lambda: None)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "there")
  monkeypatch.setattr(compile_cache, "folder", lambda: pytest.fail("it was looked for"))
  compile_cache.enable()


def test_weights_by_path(picture, tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(
    "cae_jax.codec.load", lambda weights: asked.append(weights) or context_codec()
  )
  path = shutil.copy(shipped.FOLDER / "tiny.safetensors", tmp_path / "mine.safetensors")
  assert run("compress", picture, tmp_path / "a.cae", f"--weights={path}") == 0
  assert run("decompress", tmp_path / "a.cae", tmp_path / "a.png") == 0
  assert run("decompress", tmp_path / "a.cae", tmp_path / "b.png", f"--weights={path}") == 0
  assert asked == [str(path), str(shipped.FOLDER / "tiny.safetensors")]


def _objects(capsys):
  said = capsys.readouterr()
  refuse = lambda name: pytest.fail(f"{name} is no JSON")
  return [json.loads(line, parse_constant=refuse) for line in said.out.splitlines()], said.err


# What docs/command-line.md says of each file's object.
_CONTENT = {
  "width": 120,
  "height": 90,
  "kind": "rgb",
  "rate_level": 1024,
  "quality": 25.0,
  "tune": "psnr",
  "largest_error": None,
  "has_layer": False,
  "model_id": "tiny",
  "metadata_bytes": {},
}
_ALL = {"input", "status", "size_bytes", "rate_bpp", "model_hash", "section_bytes", *_CONTENT}


def test_json_is_an_object_a_line(picture, tmp_path, capsys):
  cae, png, bad = tmp_path / "a.cae", tmp_path / "b.png", tmp_path / "bad.cae"
  bad.write_bytes(b"no")
  assert run("compress", picture, cae, "--quality=25", "--json") == 0
  assert run("info", cae, bad, "--json") == 2
  assert run("decompress", cae, png, "--json") == 0
  assert run("compress", bad, cae, "--json", "--skip_existing") == 0
  (made, told, failed, decoded, skipped), errors = _objects(capsys)
  size = {"input_bytes": picture.stat().st_size}
  assert made.keys() == _ALL | {"output", "input_bytes", "psnr_db", "notes"}
  assert told.keys() == _ALL
  written = {"output_bytes", "output_width", "output_height"}
  assert decoded.keys() == _ALL | written | {"output", "notes"}
  for found in (made, told, decoded):
    assert found | _CONTENT == found
    assert (found["status"], found["size_bytes"]) == ("ok", cae.stat().st_size)
    assert found["rate_bpp"] == 8 * cae.stat().st_size / (90 * 120)
  assert made | size | {"input": str(picture), "output": str(cae), "notes": []} == made
  assert made["psnr_db"] == pytest.approx(psnr_db(IMAGE, read_image(png).pixels), abs=0.01)
  assert decoded["output_bytes"] == png.stat().st_size
  error = f"{bad}: not a CAE file"
  assert failed.pop("error").startswith(error)
  assert failed == {"input": str(bad), "status": "failed"}
  assert skipped == {"input": str(bad), "output": str(cae), "status": "skipped"}
  assert errors.startswith(f"error: {error}")


def test_the_codec_of_commands_is_that_of_the_api():
  assert loading.load_codec("tiny") is api.codec("tiny")
  assert api.codec(str(shipped.FOLDER / "tiny.safetensors")) is api.codec(None)


@pytest.mark.parametrize(
  ("option", "words"),
  [
    ("--effort=5", "effort 5: expected 0 or 1"),
    ("--quality=500", "quality 500: expected 0 to 175"),
    ("--near_lossless=-1", "near_lossless -1: expected a whole number"),
    ("--weights=nosuch", "has no weights named 'nosuch'"),
  ],
)
def test_a_wrong_option_is_one_error_however_many_files(option, words, picture, tmp_path, capsys):
  assert run("compress", picture, picture, f"--output_dir={tmp_path / 'out'}", option) == 2
  assert words in one_error(capsys)
  assert not (tmp_path / "out").exists()


def test_a_suffix_that_nothing_is_written_with(picture, tmp_path, capsys, monkeypatch):
  cae = tmp_path / "a.cae"
  assert run("compress", picture, cae) == 0
  capsys.readouterr()
  monkeypatch.setattr(decompressing, "decompress_file", lambda *_, **__: pytest.fail("decoded"))
  assert run("decompress", cae, tmp_path / "a.pgn") == 2
  assert "no image file is written with the suffix .pgn; expected .png, " in one_error(capsys)


def test_a_file_that_is_named_twice_is_one(picture, tmp_path, capsys):
  out = f"--output_dir={tmp_path / 'out'}"
  assert run("compress", picture, picture.parent, out) == 0
  assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_of_the_picture_as_it_is_written(orientation, tmp_path):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = orientation
  cae = tmp_path / "a.cae"
  cae.write_bytes(context_codec().compress(IMAGE, quality=60, metadata={"exif": exif.tobytes()}))
  assert run("decompress", cae, tmp_path / "all.png") == 0
  assert run("decompress", cae, tmp_path / "part.png", "--region=5,30,40,20") == 0
  part, whole = (read_image(tmp_path / f"{name}.png").pixels for name in ("part", "all"))
  np.testing.assert_array_equal(part, whole[5:45, 30:50])
  assert run("decompress", cae, tmp_path / "no.png", "--region=119,89,2,2") == 2


def test_files_may_stand_after_options(tmp_path):
  write_image(tmp_path / "a.png", photo(30, 40))
  assert run("compress", tmp_path / "a.png", "--quality=20", tmp_path / "b.cae") == 0
  assert run("decompress", "--force", tmp_path / "b.cae", "--debug", tmp_path / "b.png") == 0
  assert read_image(tmp_path / "b.png").pixels.shape == (30, 40, 3)


def test_a_format_names_the_file_beside(tmp_path):
  write_image(tmp_path / "a.png", photo(30, 40))
  assert run("compress", tmp_path / "a.png", "--quality=20") == 0
  assert run("decompress", tmp_path / "a.cae", "--format=ppm") == 0
  assert read_image(tmp_path / "a.ppm").pixels.shape == (30, 40, 3)


def test_a_profile_left_out_is_told_of(tmp_path, capsys):
  profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  Image.fromarray(photo(30, 40)).save(tmp_path / "a.png", icc_profile=profile)
  assert run("compress", tmp_path / "a.png", tmp_path / "a.cae", "--strip", "--quality=20") == 0
  assert "colour profile left out: colours may look different" in capsys.readouterr().out
