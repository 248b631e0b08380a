"""Standard input and output in the place of files."""

import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cae_jax.images.files import read_image, write_image
from cae_jax.weights import save_weights
from tests.command_line import run
from tests.lossless import tiny_weights

IMAGE = np.random.default_rng(0).integers(0, 250, (9, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """With an image, its file, and the weights of a codec that needs no JAX."""
  folder = tmp_path_factory.mktemp("streams")
  save_weights(folder / "tiny.safetensors", tiny_weights())
  write_image(folder / "a.png", IMAGE)
  options = "--lossless", f"--weights={folder / 'tiny.safetensors'}"
  assert run("compress", folder / "a.png", folder / "a.cae", *options) == 0
  return folder


@pytest.fixture
def weights(folder):
  return f"--weights={folder / 'tiny.safetensors'}"


def _feed(monkeypatch, data):
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_bytes_alone_go_through(folder, weights, monkeypatch, capsysbinary):
  _feed(monkeypatch, (folder / "a.png").read_bytes())
  assert run("compress", "-", "-", "--lossless", weights) == 0
  made = capsysbinary.readouterr()
  assert made.out == (folder / "a.cae").read_bytes()
  assert re.match(rb"standard input -> standard output: \d+ bytes, .* bpp, lossless\n$", made.err)
  _feed(monkeypatch, made.out)
  assert run("decompress", "-", "-", weights) == 0
  np.testing.assert_array_equal(read_image(capsysbinary.readouterr().out).pixels, IMAGE)


@pytest.mark.parametrize(
  ("name", "start"), [(None, b"\x89PNG"), ("ppm", b"P6"), ("bmp", b"BM"), ("tif", b"II*\0")]
)
def test_the_format_of_standard_output(folder, weights, name, start, capsysbinary):
  named = [] if name is None else [f"--format={name}"]
  assert run("decompress", folder / "a.cae", "-", weights, *named) == 0
  out = capsysbinary.readouterr().out
  assert out.startswith(start)
  np.testing.assert_array_equal(read_image(out).pixels, IMAGE)


def test_one_end_may_be_a_file(folder, weights, tmp_path, monkeypatch, capsysbinary):
  _feed(monkeypatch, (folder / "a.cae").read_bytes())
  assert run("decompress", "-", tmp_path / "a.ppm", weights) == 0
  assert (tmp_path / "a.ppm").read_bytes().startswith(b"P6")
  monkeypatch.chdir(tmp_path)
  write_image(tmp_path / "in.png", IMAGE)
  (tmp_path / "in.png").rename("-")
  assert run("compress", "./-", "dash.cae", "--lossless", weights) == 0
  assert (tmp_path / "dash.cae").read_bytes() == (folder / "a.cae").read_bytes()


def test_info(folder, monkeypatch, capsys):
  _feed(monkeypatch, (folder / "a.cae").read_bytes())
  assert run("info", folder / "a.cae", "-", "--json") == 0
  file, stream = map(json.loads, capsys.readouterr().out.splitlines())
  assert stream.pop("input") == "-"
  del file["input"]
  assert stream == file


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["info", "-", "-"], "standard input can be read once; expected one - at most"),
    (["compress", "-", "--output_dir=out"], "standard input has no name for its file in out"),
    (["compress", "-", "-", "--json"], "--json and - both need standard output"),
    (["compress", "-", "a.png"], "a.png does not end in .cae"),
    (["decompress", "-", "a.png", "--format=jpg"], "--format is for --output_dir and -; the name"),
    (["decompress", "-", "-", "--format=xyz"], "--format: invalid choice: 'xyz'"),
    (["decompress", "-", "-"], "standard input: not a CAE file"),
    (["compress", "-", "-"], "standard input: not a readable image"),
  ],
)
def test_errors_write_nothing(arguments, message, monkeypatch, capsys):
  _feed(monkeypatch, b"neither of them")
  assert run(*arguments) == 2
  said = capsys.readouterr()
  assert said.out == ""
  assert said.err.count("\n") == 1
  assert message in said.err


@pytest.mark.parametrize("name", ["stdin", "stdout"])
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_terminals_and_closed_streams_are_refused(command, name, monkeypatch, capsys):
  _feed(monkeypatch, b"x")
  said = {"stdin": "standard input", "stdout": "standard output"}[name]
  terminal = SimpleNamespace(isatty=lambda: True, flush=lambda: None)
  for stream, message in ((terminal, "is a terminal; expected a pipe or a file"), (None, "closed")):
    with monkeypatch.context() as patch:
      patch.setattr(sys, name, stream)
      assert run(command, "-", "-") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {said} is ")
    assert message in line


def _decompress_into(output, folder, weights):
  command = [sys.executable, "-m", "cae_jax.cli", "decompress", folder / "a.cae", "-", weights]
  return subprocess.run(
    [*map(str, command)], stdout=output, stderr=subprocess.PIPE, text=True, timeout=600
  )


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_a_pipe_that_nobody_reads_ends_it_quietly(folder, weights):
  read, write = os.pipe()
  os.close(read)
  done = _decompress_into(write, folder, weights)
  os.close(write)
  assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no such device")
def test_a_full_disk_is_an_error(folder, weights):
  with open("/dev/full", "wb") as full:
    done = _decompress_into(full, folder, weights)
  assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")
