"""Which codecs the report shows pictures of, and at which sizes."""

import dataclasses
import functools
import pathlib
import types

import numpy as np
import pytest

from cae_jax.errors import UsageError
from cae_jax.evaluation import measuring, pictures
from cae_jax.evaluation.codecs.base import FileCodec
from cae_jax.evaluation.records import OK, Record, write_records
from cae_jax.evaluation.report import gallery
from experiments import evaluation_flags, program_flags, report

_X = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)


def _codec(name):
  """Its files have as many bytes as the setting says, and hold nothing: pictures are black."""
  sizes = tuple(range(10, 60))
  black = lambda data: np.zeros_like(_X)
  return FileCodec(name, "1", (30,), sizes, lambda x, setting: bytes(int(setting)), black)


def _own(path):
  """Weights that are named as their file is."""
  path = pathlib.Path(path)
  return dataclasses.replace(_codec(path.name), version=str(path))


@pytest.fixture
def shown(monkeypatch):
  """Asks for pictures; returns names and bytes of what is shown of one image."""
  source = types.SimpleNamespace(decode=lambda index: _X)
  monkeypatch.setattr(evaluation_flags, "images", lambda args: source)
  monkeypatch.setattr(evaluation_flags, "weights", lambda args: args.weights)
  monkeypatch.setattr(report, "image_names", lambda source: ["a"])
  monkeypatch.setattr(report, "chosen", lambda source, indexes: source)
  monkeypatch.setattr(report, "pairs", lambda source: [("a", _X)])
  monkeypatch.setattr(report.own_codec, "load", _own)
  monkeypatch.setattr(report.own_codec, "coded", lambda codec: codec)
  monkeypatch.setattr(report.own_codec, "shown_setting", lambda codec: "30")
  monkeypatch.setattr(report.baselines, "baselines", lambda names, *_: [_codec("jpeg")])

  def ask(**flags):
    plain = {"workdir": None, "weights": None, "source_dir": "x", "gallery": 4, "bpg_dir": None}
    plain |= {"avif_speed": 4}
    plain |= {"gallery_codecs": "jpeg", "gallery_weights": "", "gallery_bpp": None, "crop": 16}
    args = types.SimpleNamespace(**(plain | flags))
    images = report._gallery(args, [Record("jpeg", 1, "a")])
    return {item["label"]: item["bytes"] for image in images for item in image["shown"][1:]}

  return ask


def test_all_are_as_large_as_our_file(shown):
  assert shown(weights="context") == {"context": 30, "JPEG": 30}


def test_several_of_ours(shown):
  sizes = shown(weights="context", gallery_weights="eye,b.safetensors")
  assert sizes == {"context": 30, "eye": 30, "b.safetensors": 30, "JPEG": 30}


def test_weights_of_one_name_are_told_apart_by_their_files(shown):
  sizes = shown(weights="a/eye", gallery_weights="b/eye,context")
  assert sizes == {"eye (a/eye)": 30, "eye (b/eye)": 30, "context": 30, "JPEG": 30}
  with pytest.raises(UsageError, match=r"--gallery_weights: expected other weights than those of"):
    shown(weights="eye", gallery_weights="eye")


def test_whether_the_size_is_met_is_told_to_the_page():
  black = np.zeros_like(_X)
  small = Record("jpeg", 1, "a", rate_bpp=0.5, psnr_db=30.0, size_bytes=9, status="size not met")
  shown = [pictures.Picture(dataclasses.replace(small, status=OK), black)]
  shown.append(pictures.Picture(small, black))
  assert [item.get("met") for item in gallery.image("a", _X, shown)["shown"]] == [None, True, False]


def test_at_a_rate_that_was_asked_for(shown):
  bytes_at = lambda bpp: int(bpp * 20 * 30 / 8)
  assert shown(weights="context", gallery_bpp=0.3) == {"context": bytes_at(0.3), "JPEG": 22}
  assert shown() == {"JPEG": bytes_at(0.5)}
  assert shown(gallery_weights="eye") == {"eye": bytes_at(0.5), "JPEG": bytes_at(0.5)}


def test_no_pictures_without_originals(shown):
  assert shown(source_dir=None) == {}


@pytest.mark.parametrize("rows", [[], [Record("jpeg", 10, "a", version="1", target_bytes=5)]])
def test_a_size_that_was_not_met_is_said(rows):
  rows = [dataclasses.replace(row, status=measuring.TOO_LARGE) for row in rows]
  picture = pictures.at_size(_codec("jpeg"), "a", _X, 5, rows, search=True)
  assert (picture.record.size_bytes, picture.record.status) == (10, measuring.TOO_LARGE)


def test_the_folder_of_the_report_is_made(tmp_path, capsys):
  row = Record("jpeg", 1, "a", rate_bpp=0.5, psnr_db=30.0, mse=65.0, version="1")
  older = dataclasses.replace(row, version="0")
  write_records(tmp_path / "records.jsonl", [older, row])
  output = tmp_path / "new" / "r.html"
  flags = [f"--records={tmp_path / 'records.jsonl'}", f"--output={output}"]
  report.main(program_flags.parse(report.define_flags, flags))
  assert output.stat().st_size > 1e5
  assert capsys.readouterr().out.startswith("1 records of JPEG are not shown: of other weights")


def test_the_data_set_of_records_is_not_guessed():
  flags = functools.partial(program_flags.parse, report.define_flags)
  kodak, mine = [Record("jpeg", 1, "kodim03")], [Record("jpeg", 1, "a.png")]
  needed = ["--records=r", "--output=o"]
  assert report._dataset(flags(needed), kodak) == "kodak"
  assert report._dataset(flags(needed), mine) == ""
  assert report._dataset(flags([*needed, "--dataset=photos"]), mine) == "photos"
