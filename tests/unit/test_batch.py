"""Many files: folders, processes, what is there already, and the line at the end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cae_jax import batch
from cae_jax.commands import compressing, describing
from cae_jax.errors import UsageError
from cae_jax.images.files import read_image, write_image
from cae_jax.weights import save_weights, shipped
from tests.command_line import one_error, run
from tests.lossless import tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """Of a codec that needs no JAX, as the option for it."""
  path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
  save_weights(path, tiny_weights())
  return f"--weights={path}"


def _image(seed):
  return np.random.default_rng(seed).integers(0, 250, (9, 12, 3), np.uint8)


@pytest.fixture
def photos(tmp_path):
  """A folder with sub-folders, and what is no image."""
  for seed, name in enumerate(("b.png", "a.ppm", "x/a.png", "x/y/c.tif", ".hidden/d.png")):
    path = tmp_path / "photos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, _image(seed))
  for name in ("notes.txt", "x/._a.png", "x/more.cae"):
    (tmp_path / "photos" / name).write_bytes(b"no image")
  return tmp_path / "photos"


def _files(folder):
  return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def test_a_folder_there_and_back(photos, tmp_path, weights, capsys):
  out, back = tmp_path / "out", tmp_path / "back"
  assert run("compress", photos, f"--output-dir={out}", "--recursive", "--lossless", weights) == 0
  assert _files(out).keys() == {"b.cae", "a.cae", "x/a.cae", "x/y/c.cae"}
  options = "--recursive", "--format=ppm", weights
  assert run("decompress", out, f"--output_dir={back}", *options) == 0
  assert _files(back).keys() == {"b.ppm", "a.ppm", "x/a.ppm", "x/y/c.ppm"}
  np.testing.assert_array_equal(read_image(back / "x/y/c.ppm").pixels, _image(3))
  passed, first, second = capsys.readouterr().err.splitlines()
  assert passed == "2 files of other kinds passed over (.cae, .txt)"
  before = sum(_files(photos)[name].stat().st_size for name in ("b.png", "a.ppm", "x/a.png"))
  before += (photos / "x/y/c.tif").stat().st_size
  cae = sum(path.stat().st_size for path in _files(out).values())
  saved, bpp = 100 * (1 - cae / before), 8 * cae / (4 * 9 * 12)
  start = f"4 files, {before} -> {cae} bytes, {saved:.1f} % saved, {bpp:.4f} bpp, "
  assert re.fullmatch(re.escape(start) + r"\d+\.\d s", first)
  ppm = sum(path.stat().st_size for path in _files(back).values())
  assert second.startswith(f"4 files, {cae} -> {ppm} bytes, {bpp:.4f} bpp, ")


@pytest.mark.parametrize("name", ["a.jpg", "a.pbm"])
def test_files_that_grow_are_told(name, tmp_path, weights, capsys):
  noise, out = np.random.default_rng(0).bytes(512), tmp_path / "out"
  if name == "a.jpg":
    grey = np.frombuffer(noise, np.uint8).reshape(16, 32)
    Image.fromarray(grey).save(tmp_path / name, quality=5)
  else:
    (tmp_path / name).write_bytes(b"P4 64 64 " + noise)
  assert run("compress", tmp_path / name, f"--output_dir={out}", "--lossless", weights) == 0
  said = capsys.readouterr()
  before, after = (tmp_path / name).stat().st_size, (out / "a.cae").stat().st_size
  note = f"; larger than the input of {before} bytes"
  is_jpeg = name == "a.jpg"
  assert said.out.endswith(f"{note}{', a JPEG file, which is lossy already' * is_jpeg}\n")
  assert f" -> {after} bytes, {100 * (after / before - 1):.1f} % more, " in said.err


def test_without_recursive_a_folder_is_what_lies_in_it(photos, tmp_path, weights):
  # Files that are named count whatever they are called; they and folders may be mixed.
  other = (photos / "x" / "a.png").rename(tmp_path / "other")
  options = f"--output_dir={tmp_path / 'out'}", "--lossless", weights
  assert run("compress", photos, other, *options) == 0
  assert _files(tmp_path / "out").keys() == {"b.cae", "a.cae", "other.cae"}


def test_folders_that_make_no_sense(photos, tmp_path, weights, capsys):
  out = f"--output_dir={tmp_path / 'out'}"
  assert run("compress", photos / ".hidden" / "d.png", "a.cae", "--recursive") == 2
  assert "--recursive is for folders; give --output_dir" in one_error(capsys)
  assert run("compress", photos / "b.png", "--keep_suffix") == 2
  assert "--keep_suffix is for names in a folder; give --output_dir, or" in one_error(capsys)
  (photos / "empty").mkdir()
  assert run("compress", photos / "empty", out) == 2
  assert "empty: no such files in this folder; --recursive looks into" in one_error(capsys)
  write_image(photos / "x" / "c.png", _image(0))
  assert run("compress", photos / "x", photos / "x" / "y", out, "--recursive") == 2
  assert "x/c.png and" in (line := one_error(capsys))
  assert f"c.tif would both become {tmp_path}/out/c.cae; rename one, or give --keep_suffix" in line
  assert not (tmp_path / "out").exists()


def test_suffixes_are_kept_where_that_is_asked_for(photos, tmp_path, weights):
  write_image(photos / "b.tif", _image(1))
  out, back = tmp_path / "out", tmp_path / "back"
  options = weights, "--lossless", "--recursive", "--keep_suffix"
  assert run("compress", photos, f"--output_dir={out}", *options) == 0
  assert {"b.png.cae", "b.tif.cae"} <= _files(out).keys()
  assert run("decompress", out, f"--output_dir={back}", "--recursive", weights) == 0
  assert {"b.png", "b.tif.png"} <= _files(back).keys()
  assert run("decompress", out / "b.png.cae", weights) == 0
  assert (out / "b.png").exists()


@pytest.mark.parametrize(
  ("source", "suffix", "keep", "name"),
  [
    ("a.png", ".cae", False, "a.cae"),
    ("a.png", ".cae", True, "a.png.cae"),
    ("a.cae.png", ".cae", False, "a.cae.cae"),
    ("a.cae", ".png", False, "a.png"),
    ("a.PNG.cae", ".png", False, "a.PNG"),
    ("a.jpg.cae", ".png", False, "a.jpg.png"),
    ("a", ".cae", True, "a.cae"),
  ],
)
def test_names_of_what_is_made(source, suffix, keep, name):
  assert batch._renamed(Path(source), suffix, keep) == name


def test_pipes_in_folders_are_not_waited_for(photos, tmp_path, weights):
  os.mkfifo(photos / "x" / "pipe.png")
  out = tmp_path / "out"
  assert run("compress", photos / "x", f"--output_dir={out}", "--lossless", weights) == 0
  assert _files(out).keys() == {"a.cae"}


def test_existing_files_are_skipped(photos, tmp_path, weights, capsys):
  out = tmp_path / "out"
  options = f"--output_dir={out}", "--recursive", "--lossless", "--skip-existing", weights
  assert run("compress", photos, *options) == 0
  (out / "x" / "a.cae").unlink()
  (out / "a.cae").write_bytes(b"mine")
  capsys.readouterr()
  assert run("compress", photos, *options) == 0
  said = capsys.readouterr()
  assert said.err.splitlines()[-1].startswith("4 files, 3 skipped, ")
  assert said.out.count(": skipped, ") == 3
  assert (out / "a.cae").read_bytes() == b"mine"
  assert (out / "x" / "a.cae").exists()
  assert run("compress", photos, *options, "--force") == 2
  assert "--force: not allowed with argument --skip_existing" in one_error(capsys)


def test_a_file_that_another_program_makes_meanwhile_is_skipped(tmp_path, weights, monkeypatch):
  write_image(tmp_path / "a.png", _image(0))
  read_image_ = compressing.read_image

  def slow(*arguments, **options):
    (tmp_path / "a.cae").write_bytes(b"theirs")
    return read_image_(*arguments, **options)

  monkeypatch.setattr(compressing, "read_image", slow)
  options = "--skip_existing", "--lossless", weights
  assert run("compress", tmp_path / "a.png", tmp_path / "a.cae", *options) == 0
  assert (tmp_path / "a.cae").read_bytes() == b"theirs"


def test_processes_make_the_same_files(photos, tmp_path, weights, capsys):
  (photos / "x" / "bad.png").write_bytes(b"no image")
  made = {}
  for jobs in (1, 2):
    out = tmp_path / f"out{jobs}"
    options = f"--output_dir={out}", "--recursive", "--lossless", "--json", weights
    assert run("compress", photos, *options, f"--jobs={jobs}") == 2
    said = capsys.readouterr()
    objects = [json.loads(line) for line in said.out.splitlines()]
    made[jobs] = (
      {name: path.read_bytes() for name, path in _files(out).items()},
      {o["input"]: {k: v for k, v in o.items() if k != "output"} for o in objects},
    )
    _, error, summary = said.err.splitlines()
    assert error.startswith(f"error: {photos}/x/bad.png: not a readable image")
    assert summary.startswith("5 files, 1 failed, ")
  assert made[1] == made[2]
  assert len(made[1][0]) == 4


@pytest.mark.parametrize("option", ["--jobs", "--max_pixels"])
@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_jobs_and_pixels_are_counted_from_one(option, number, capsys):
  assert run("decompress", "a.cae", "a.png", f"{option}={number}") == 2
  assert f"{option}: expected a number from 1 on, got '{number}'" in one_error(capsys)


def test_weights_that_a_file_was_not_made_with_are_told(tmp_path, weights, capsys):
  write_image(tmp_path / "a.png", _image(0))
  assert run("compress", tmp_path / "a.png", "--lossless") == 0
  made, back = tmp_path / "a.cae", tmp_path / "b.png"
  assert run("decompress", made, back, weights) == 0
  name = shipped.LOSSLESS
  assert f"; weights not used: the file was made with {name}\n" in capsys.readouterr().out
  assert run("decompress", made, back, f"--weights={name}", "--force") == 0
  assert "not used" not in capsys.readouterr().out


# In the background of a shell SIGINT is ignored, and children inherit that.
_HEARS_CTRL_C = """
import signal, sys
from cae_jax.cli import main
if __name__ == "__main__":
  signal.signal(signal.SIGINT, signal.default_int_handler)
  sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_leaves_no_half_file(tmp_path, weights, jobs):
  """As of Ctrl-C in a terminal, which all processes of the command get."""
  photos, out = tmp_path / "photos", tmp_path / "out"
  photos.mkdir()
  image = np.random.default_rng(0).integers(0, 255, (250, 250, 3), np.uint8)
  for number in range(40):
    write_image(photos / f"{number}.png", image)
  command = [sys.executable, "-c", _HEARS_CTRL_C, "compress", photos, f"--output_dir={out}"]
  options = ["--lossless", weights, f"--jobs={jobs}"]
  program = subprocess.Popen(
    [*map(str, command), *options],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  program.stdout.readline()  # the first file is done
  os.killpg(program.pid, signal.SIGINT)
  _, errors = program.communicate(timeout=600)
  assert program.returncode == 130
  summary, interrupted = errors.splitlines()
  assert re.match(r"\d+ files?, ", summary)
  assert interrupted == "error: interrupted"
  made = list(out.iterdir())
  assert 1 <= len(made) < 40
  for path in made:
    assert path.suffix == ".cae"
    assert not path.name.startswith(".")
    describing.describe_file(path)
  assert _is_gone(program.pid)


def _is_gone(group):
  """Whether no process of a group is left, after some seconds at most."""
  for _ in range(100):
    try:
      os.killpg(group, 0)
    except ProcessLookupError:
      return True
    time.sleep(0.1)
  return False


def test_a_file_that_cannot_be_written_is_named(tmp_path, weights, capfd):
  """A limit on the size of files stands for a full disk."""
  write_image(tmp_path / "a.png", _image(0))
  code = (
    "import resource, signal, sys; from cae_jax import cli; "
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)); sys.exit(cli.main())"
  )
  command = [sys.executable, "-c", code, "compress", "a.png", "b.cae", "--lossless", weights]
  assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 2
  assert capfd.readouterr().err == "error: a.png: b.cae: File too large\n"
  assert os.listdir(tmp_path) == ["a.png"]


def test_a_folder_that_may_not_be_written_is_told_before_the_work(
  tmp_path, monkeypatch, weights, capsys
):
  write_image(tmp_path / "a.png", _image(0))
  monkeypatch.setattr("cae_jax.atomic.os.access", lambda folder, mode: False)
  monkeypatch.setattr(compressing, "read_bytes", lambda place: pytest.fail("nothing is read"))
  assert run("compress", tmp_path / "a.png", tmp_path / "b.cae", "--lossless", weights) == 2
  assert one_error(capsys).endswith("b.cae: Permission denied")


def test_a_folder_that_cannot_be_read_fails_alone(weights, tmp_path, monkeypatch, capsys):
  (tmp_path / "in" / "locked").mkdir(parents=True)
  write_image(tmp_path / "in" / "a.png", _image(0))
  scan = os.scandir

  def refuse(path):
    if os.fspath(path).endswith("locked"):
      raise PermissionError(13, "Permission denied", os.fspath(path))
    return scan(path)

  monkeypatch.setattr(os, "scandir", refuse)
  status = run(
    "compress",
    tmp_path / "in",
    weights,
    "--lossless",
    "--recursive",
    f"--output_dir={tmp_path / 'out'}",
  )
  assert status == 2
  assert "in/locked" in capsys.readouterr().err
  assert (tmp_path / "out" / "a.cae").exists()


def test_names_are_told_apart_as_the_disk_does(monkeypatch):
  jobs = [(Path("a/Photo.png"), Path("o/Photo.cae")), (Path("a/photo.jpg"), Path("o/photo.cae"))]
  monkeypatch.setattr(sys, "platform", "linux")
  batch._check_apart(jobs)
  monkeypatch.setattr(sys, "platform", "darwin")
  with pytest.raises(UsageError, match=r"would both become o/photo\.cae"):
    batch._check_apart(jobs)
