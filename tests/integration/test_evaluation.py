import dataclasses
import json
from pathlib import Path

import pytest

from cae_jax.evaluation.records import read_records
from tests.integration.conftest import run_module


def _flags(reference: Path, tiny_training, output: Path) -> list[str]:
  return [
    f"--workdir={reference}",
    "--dataset=photos",
    f"--source_dir={tiny_training.source_dir}",
    "--codecs=jpeg,bpg",
    "--bpg_dir=/nowhere",
    f"--output={output}",
  ]


@pytest.fixture(scope="module")
def output(reference, tiny_training, tmp_path_factory):
  folder = tmp_path_factory.mktemp("evaluation")
  done = run_module("evaluate", *_flags(reference, tiny_training, folder))
  assert done.returncode == 0, done.stderr
  return folder


def test_it_leaves_what_it_promises(output):
  for name in ("records.jsonl", "summary.json", "table.md"):
    assert (output / name).stat().st_size
  names = {"reconstructions", "psnr_per_image", "rate_distortion", "methods"}
  assert {path.stem for path in (output / "figures").glob("*.png")} == names


def test_every_row_is_a_real_file_or_says_why_not(output):
  records = read_records(output / "records.jsonl")
  assert {r.codec for r in records} == {"paper", "paper-float", "jpeg", "bpg"}
  for record in records:
    if record.codec == "bpg":
      assert "not run" in record.status
    elif record.ok:
      assert record.rate_bpp == 8 * record.size_bytes / (record.width * record.height)
  matched = [r for r in records if r.matched_to == "paper" and r.codec == "jpeg"]
  assert len(matched) == 1
  assert "not run" in (output / "table.md").read_text()


def test_coded_psnr_is_near_that_of_float_latents(output):
  summary = json.loads((output / "summary.json").read_text())
  coded, uncoded = (summary[name][0]["mean_psnr_db"] for name in ("paper", "paper-float"))
  assert coded == pytest.approx(uncoded, abs=0.3)


def test_bd_rates_are_there_or_say_what_they_need(output):
  assert json.loads((output / "summary.json").read_text())["bd_rates"] == []
  assert "they need 4 rate points or more of a codec of ours" in (output / "table.md").read_text()


def test_the_same_command_goes_on(reference, tiny_training, output):
  before = (output / "records.jsonl").read_text()
  lines = before.splitlines(keepends=True)
  (output / "records.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
  done = run_module("evaluate", *_flags(reference, tiny_training, output))
  assert done.returncode == 0, done.stderr
  key = lambda r: (r.codec, r.setting, r.image, r.size_bytes, r.matched_to)
  after = {key(r) for r in read_records(output / "records.jsonl")}
  kept = [json.loads(line) for line in lines]
  assert len(after) == len(kept)


def test_several_processes_measure_the_same(reference, tiny_training, output, tmp_path):
  done = run_module("evaluate", *_flags(reference, tiny_training, tmp_path), "--jobs=2")
  assert done.returncode == 0, done.stderr

  def without_times(folder):
    records = read_records(folder / "records.jsonl")
    return {dataclasses.replace(r, encode_s=None, decode_s=None) for r in records}

  assert without_times(tmp_path) == without_times(output)
  assert all(r.encode_s is None for r in read_records(tmp_path / "records.jsonl"))


def test_images_trained_on_are_left_out(reference, tiny_training, tmp_path):
  flags = _flags(reference, tiny_training, tmp_path)
  done = run_module("evaluate", *flags, "--split=train")
  assert done.returncode == 2
  assert "trained on all of photos train" in done.stderr


def test_missing_run(tmp_path):
  done = run_module("evaluate", f"--workdir={tmp_path}", f"--output={tmp_path}")
  assert done.returncode == 2
  assert "finish the run" in done.stderr
