"""Crops of photographs beside those of their files."""

import pytest

from cae_jax.images.files import read_rgb, write_image
from experiments import cli, crops
from tests.golden import FOLDER
from tests.models import photo

WEIGHTS = f"--weights={FOLDER / 'context.safetensors'}"  # called tiny


@pytest.fixture
def photos(tmp_path):
  folder = tmp_path / "photos"
  folder.mkdir()
  for name, seed in (("a", 1), ("b", 2)):
    write_image(folder / f"{name}.png", photo(96, 128, seed))
  return folder


def run(photos, tmp_path, *flags):
  return cli.run(
    crops.main,
    crops.define_flags,
    [
      "--dataset=photos",
      f"--source_dir={photos}",
      f"--data_dir={tmp_path / 'tfds'}",
      f"--output={tmp_path / 'out'}",
      *flags,
    ],
  )


def test_a_row_for_each_crop_and_rate(photos, tmp_path, capsys):
  flags = [
    "--crops=a.png:0:0:64,b.png:32:64:48",
    "--rates=0.3,0.5",
    "--codecs=jpeg",
    WEIGHTS,
  ]
  assert run(photos, tmp_path, *flags) == 0
  lines = capsys.readouterr().out.splitlines()
  heads = [line.rsplit(":", 1)[0] for line in lines if " bpp: " in line]
  rows = ["a.png, 0.3 bpp", "a.png, 0.5 bpp", "b.png, 0.3 bpp", "b.png, 0.5 bpp"]
  assert heads == [f"{row}: {method}" for row in rows for method in ("tiny", "JPEG")]
  assert read_rgb(tmp_path / "out" / "crops.png").shape[0] > 1000


def test_two_crops_of_a_photograph_have_a_row_each(photos, tmp_path, capsys):
  crops = "--crops=a.png:0:0:64,a.png:32:64:48"
  assert run(photos, tmp_path, crops, "--rates=0.5", "--codecs=none", WEIGHTS) == 0
  lines = capsys.readouterr().out.splitlines()
  heads = [line.rsplit(":", 1)[0] for line in lines if " bpp" in line]
  assert heads == ["a.png, 0.5 bpp, at 0, 0: tiny", "a.png, 0.5 bpp, at 32, 64: tiny"]
  assert read_rgb(tmp_path / "out" / "crops.png").shape[0] > 500


def test_weights_of_one_rate_have_a_row_at_the_rate_of_their_file(photos, tmp_path, capsys):
  flags = ["--crops=a.png:0:0:64", "--codecs=none", f"--weights={FOLDER / 'paper.safetensors'}"]
  assert run(photos, tmp_path, *flags) == 0
  [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a.png, ")]
  row, _, words = line.split(": ")
  assert float(row.split()[1]) == pytest.approx(float(words.split()[0]), abs=0.01)
  assert run(photos, tmp_path, *flags, "--rates=0.3") == 2
  assert "have one rate only; leave --rates out" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("--rates=", "--rates: expected one or more, such as 0.15,0.3, got none"),
    (f"--weights={FOLDER / 'lossless.safetensors'}", "are of a lossless model, expected those of"),
  ],
)
def test_what_makes_no_rows(flag, words, photos, tmp_path, capsys):
  assert run(photos, tmp_path, "--crops=a.png:0:0:64", WEIGHTS, flag) == 2
  assert words in capsys.readouterr().err


@pytest.mark.parametrize(
  ("crop", "words"),
  [
    ("a:0:0", "--crops: expected NAME:TOP:LEFT:SIDE, got 'a:0:0'"),
    ("a:0:x:8", "--crops: expected NAME:TOP:LEFT:SIDE, got 'a:0:x:8'"),
    ("c.png:0:0:8", "--crops: there is no image 'c.png', but a.png, b.png"),
    ("a.png:40:0:64", "--crops=a.png:40:0:64: a.png has 96 rows and 128 columns"),
    ("a.png:0:0:0", "--crops=a.png:0:0:0: a.png has 96 rows and 128 columns"),
  ],
)
def test_crops_that_are_not_there(crop, words, photos, tmp_path, capsys):
  assert run(photos, tmp_path, f"--crops={crop}") == 2
  assert words in capsys.readouterr().err
