"""The timing of codecs, from the command line."""

import json

import pytest

from cae_jax.evaluation import timing
from tests.integration.conftest import run_module


@pytest.fixture(scope="module")
def output(reference, tiny_training, tmp_path_factory):
  folder = tmp_path_factory.mktemp("timing")
  done = run_module(
    "timing",
    f"--workdir={reference}",
    "--dataset=photos",
    f"--source_dir={tiny_training.source_dir}",
    "--codecs=jpeg,bpg",
    "--bpg_dir=/nowhere",
    "--repeats=2",
    "--cold_repeats=1",
    f"--output={folder}",
  )
  assert done.returncode == 0, done.stderr
  assert "BPG: not run" in done.stdout
  return folder


def test_every_codec_is_timed_warm_and_cold(output):
  content = json.loads((output / "timing.json").read_text())
  nothing, ours, jpeg = content["timings"]
  assert (nothing["codec"], ours["codec"], jpeg["codec"]) == ("nothing", "paper", "jpeg")
  assert "CPU cores" in content["hardware"]
  for measured in (ours, jpeg):
    assert len(measured["encode_s"]) == len(measured["decode_s"]) == 2
    assert measured["cold_encode_s"][0] > measured["encode_s"][1]
    assert 10 < measured["decode_mib"] < 10_000
  assert nothing["cold_decode_s"][0] > 0
  assert nothing["encode_s"] == []
  assert ours["encoder_kmac"] > 0.1
  assert jpeg["encoder_kmac"] is None
  assert jpeg["rate_bpp"] > 0


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
