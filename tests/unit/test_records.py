"""Records as JSON lines, resuming a file, and the means."""

import dataclasses
import gzip
import json
import math

import pytest

from cae_jax.errors import UsageError
from cae_jax.evaluation import records
from cae_jax.evaluation.records import Record

_RECORD = Record(
  codec="jpeg",
  setting=30,
  image="kodim18",
  width=512,
  height=768,
  size_bytes=24576,
  rate_bpp=0.5,
  psnr_db=30.0,
  psnr_y_db=31.0,
  mse=65.025,
  mse_variance=65.0,
  mse_bias_squared=0.025,
  ms_ssim=0.97,
  encode_s=0.01,
  decode_s=0.02,
  version="libjpeg",
)
_MISSING = Record("bpg", None, None, status="not run: no program; build it")


def _changed(**fields):
  return dataclasses.replace(_RECORD, **fields)


def test_records_come_back_from_the_file(tmp_path):
  rows = [_RECORD, _changed(setting=9.6, matched_to="cae", matched_setting="q3"), _MISSING]
  path = tmp_path / "new" / "records.jsonl"
  records.write_records(path, rows)
  assert records.read_records(path) == rows
  assert len(path.read_text().splitlines()) == 3


def test_compressed_records_are_read_or_refused(tmp_path):
  path = tmp_path / "records.jsonl.gz"
  whole = gzip.compress(f"{records.to_json(_RECORD)}\n".encode())
  path.write_bytes(whole)
  assert records.read_records(path) == [_RECORD]
  for damaged in (whole[:-20], whole[:20] + b"\xff" + whole[21:], b"{}" + whole):
    path.write_bytes(damaged)
    with pytest.raises(UsageError, match="no whole gzip file"):
      records.read_records(path)


def test_infinite_psnr_is_null_in_json_and_comes_back():
  lossless = _changed(psnr_db=math.inf, psnr_y_db=math.inf, mse=0.0)
  line = records.to_json(lossless)
  assert json.loads(line)["psnr_db"] is None
  assert records.from_json(line) == lossless


def test_missing_codec_has_no_psnr_rather_than_an_infinite_one():
  assert records.from_json(records.to_json(_MISSING)).psnr_db is None


def test_fields_of_a_later_version_are_left_out():
  line = json.dumps(dataclasses.asdict(_RECORD) | {"colour": "blue"})
  assert records.from_json(line) == _RECORD


def test_broken_line_is_named(tmp_path):
  path = tmp_path / "records.jsonl"
  path.write_text(records.to_json(_RECORD) + '\n{"codec": "jp\n')
  with pytest.raises(ValueError, match=r"records\.jsonl, line 2: "):
    records.read_records(path)


def test_line_that_is_no_record_is_an_error():
  with pytest.raises(ValueError, match=r"expected a JSON object with \['codec', 'image', 'sett"):
    records.from_json('{"codec": "jpeg"}')


def test_append_adds_a_line(tmp_path):
  path = tmp_path / "records.jsonl"
  records.append_record(path, _RECORD)
  records.append_record(path, _MISSING)
  assert records.read_records(path) == [_RECORD, _MISSING]


def test_resume_drops_the_torn_line_and_rows_without_figures(tmp_path):
  path = tmp_path / "records.jsonl"
  assert records.resume_records(path) == []
  records.write_records(path, [_MISSING, _RECORD])
  with path.open("a") as file:
    file.write(records.to_json(_RECORD)[:40])
  assert records.resume_records(path) == [_RECORD]
  records.append_record(path, _changed(setting=31))
  assert records.read_records(path) == [_RECORD, _changed(setting=31)]


def test_of_what_was_measured_twice_the_last_is_kept(tmp_path):
  path = tmp_path / "records.jsonl"
  with_more = _changed(ssimulacra2=70.0)
  records.write_records(path, [_RECORD, _changed(dataset="other"), with_more])
  assert records.resume_records(path) == [_changed(dataset="other"), with_more]


def test_metrics_of_an_earlier_record_of_the_same_file_are_kept():
  earlier, new = _changed(dists=0.1, kid=0.2), _changed(ssimulacra2=70.0, kid=0.3)
  assert records.with_earlier(new, earlier) == _changed(ssimulacra2=70.0, dists=0.1, kid=0.3)
  assert records.with_earlier(new, None) == new


@pytest.mark.parametrize(
  "other",
  [{"setting": 31}, {"version": "2"}, {"size_bytes": 9}, {"digest": "0"}, {"mse": 1.0}],
  ids=str,
)
def test_metrics_of_another_file_are_not_kept(other):
  new = _changed(matched_to="cae", matched_setting=1, target_bytes=9)
  assert records.with_earlier(new, dataclasses.replace(new, dists=0.1, **other)) == new


def test_summary_names_both_ways_to_average_psnr():
  rows = [_changed(psnr_db=30.0, mse=65.025), _changed(image="b", psnr_db=40.0, mse=6.5025)]
  (group,) = records.summary(rows)["jpeg"]
  assert group["n_images"] == 2
  assert group["mean_psnr_db"] == 35.0
  assert group["psnr_of_mean_mse_db"] == pytest.approx(32.5964, abs=1e-4)
  assert group["mean_rate_bpp"] == 0.5


def test_summary_keeps_settings_and_matched_rows_apart():
  matched = {"matched_to": "cae", "target_bytes": 25000}
  rows = [
    _RECORD,
    _changed(setting=50, rate_bpp=0.7),
    _changed(setting=33, matched_setting=1, **matched),
    _changed(setting=35, image="b", matched_setting=1, **matched),
    _changed(setting=60, matched_setting=2, **matched),
  ]
  groups = records.summary(rows)["jpeg"]
  assert [(g["setting"], g["matched_setting"], g["n_images"]) for g in groups] == [
    (30, None, 1),
    (50, None, 1),
    (None, 1, 2),
    (None, 2, 1),
  ]


def test_summary_counts_failures_but_does_not_average_them():
  rows = [_RECORD, _changed(image="b", rate_bpp=9.0, status="size not met: too large")]
  (group,) = records.summary(rows)["jpeg"]
  assert (group["n_images"], group["n_failed"], group["mean_rate_bpp"]) == (1, 1, 0.5)
  assert group["status"] == "size not met: too large"


def test_summary_of_what_is_undefined_is_none_and_json(tmp_path):
  rows = [_changed(ms_ssim=None), _changed(image="b", psnr_db=math.inf, mse=0.0), _MISSING]
  means = records.summary(rows)
  assert means["jpeg"][0]["mean_ms_ssim"] is None
  assert means["jpeg"][0]["mean_psnr_db"] is None
  assert means["bpg"][0]["status"] == _MISSING.status
  records.write_summary(tmp_path / "summary.json", rows)
  assert json.loads((tmp_path / "summary.json").read_text()) == means


def test_of_each_codec_the_last_version_counts():
  old, new = _changed(version="1"), _changed(version="2", setting=7)
  rows = [
    old,
    _changed(codec="webp", version="1"),
    new,
    _MISSING,
    _changed(codec="jpeg", version=""),
  ]
  assert records.of_last_versions(rows) == rows[1:]
  assert records.of_last_versions([]) == []


def test_of_weights_of_one_rate_each_the_last_of_each_rate_counts():
  own = lambda lmbda, version: _changed(codec="f", setting=f"lmbda {lmbda}", version=version)
  rows = [own(0.01, "a"), own(0.05, "b"), own(0.01, "c")]
  assert records.of_last_versions(rows) == rows[1:]
  swept = [own(0.02, "d"), own(0.03, "d")]
  assert records.of_last_versions([*rows, *swept]) == swept


def test_sizes_of_older_files_of_ours_count_no_more():
  ours = {"codec": "ours", "setting": "50"}
  goal = {"matched_to": "ours", "matched_setting": "50"}
  rows = [
    _changed(**ours, size_bytes=100, version="old"),
    _changed(**ours, size_bytes=200, version="old", image="b"),
    _changed(**goal, target_bytes=100),
    _changed(**ours, size_bytes=90, version="new"),
    _changed(**ours, size_bytes=200, version="new", image="b"),
    _changed(**goal, target_bytes=200, image="b"),
    _changed(**goal, target_bytes=90),
  ]
  assert records.of_last_versions(rows) == rows[3:]
  others = [rows[2], _changed(codec="theirs")]
  assert records.of_last_versions(others) == others  # without ours there is no telling
