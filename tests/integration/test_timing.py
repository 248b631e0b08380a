"""The timing of codecs, from the command line."""

import contextlib
import io
import json
import time
import types

import pytest

from cae_jax.evaluation import timing
from experiments import cli
from experiments import timing as program


def _cold_here(what, name, work, arguments):
  """As `timing._cold`, without a process of its own."""
  answers = []
  connection = types.SimpleNamespace(send=answers.append)
  start = time.monotonic()
  timing._child(connection, what, name, work, arguments)
  [(end, mib)] = answers
  return end - start, mib


@pytest.fixture(scope="module")
def output(finished_run, tiny_training, tmp_path_factory):
  folder = tmp_path_factory.mktemp("timing")
  flags = [
    f"--workdir={finished_run}",
    "--dataset=photos",
    f"--source_dir={tiny_training.source_dir}",
    "--codecs=jpeg,bpg",
    "--bpg_dir=/nowhere",
    "--repeats=2",
    "--cold_repeats=1",
    f"--output={folder}",
  ]
  said, cold = io.StringIO(), timing._cold

  def cold_ours(what, name, *work):
    return (cold if name == "paper" else _cold_here)(what, name, *work)

  with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
    patch.setattr(timing, "_cold", cold_ours)  # two processes are enough to wait for
    assert cli.run(program.main, program.define_flags, flags) == 0
  assert "BPG: not run" in said.getvalue()
  return folder


def test_every_codec_is_timed_warm_and_cold(output):
  content = json.loads((output / "timing.json").read_text())
  nothing, ours, jpeg = content["timings"]
  assert (nothing["codec"], ours["codec"], jpeg["codec"]) == ("nothing", "paper", "jpeg")
  assert "CPU cores" in content["hardware"]
  for measured in (ours, jpeg):
    assert len(measured["encode_s"]) == len(measured["decode_s"]) == 2
    assert len(measured["cold_encode_s"]) == len(measured["cold_decode_s"]) == 1
    assert 10 < measured["decode_mib"] < 10_000
  assert ours["cold_encode_s"][0] > ours["encode_s"][1]
  assert nothing["cold_decode_s"][0] > 0
  assert nothing["encode_s"] == []
  assert ours["encoder_kmac"] > 0.1
  assert jpeg["encoder_kmac"] is None
  assert jpeg["rate_bpp"] > 0


def test_an_image_that_is_not_there(tiny_training, tmp_path, capsys):
  flags = [f"--source_dir={tiny_training.source_dir}", "--dataset=photos", f"--output={tmp_path}"]
  assert cli.run(program.main, program.define_flags, [*flags, "--image=1"]) == 2
  assert capsys.readouterr().err == "error: --image=1: there are 1 images, from 0 on\n"


def test_the_report_can_read_it(output):
  found = timing.read(output / "timing.json")
  assert "CPU cores" in found.words
  assert [row[0] for row in found.rows] == ["Python and libraries alone", "paper", "JPEG"]
  assert {len(row) for row in found.rows} == {len(found.head)}
  (output / "other.json").write_text('{"timings": [1]}')
  with pytest.raises(ValueError, match=r"other\.json: expected a timing\.json"):
    timing.read(output / "other.json")


def test_the_table_has_a_row_for_each(output):
  lines = (output / "timing.md").read_text().splitlines()
  rows = [line for line in lines if line.startswith("| ")]
  assert [row.split(" | ")[0] for row in rows[2:]] == [
    "| Python and libraries alone",
    "| paper",
    "| JPEG",
  ]
