"""Lossless records over data sets: measured, joined, summed up, tabulated, drawn and reported."""

import dataclasses
import json
import math

import numpy as np
import pytest

from cae_jax.errors import UsageError
from cae_jax.evaluation import figures, records, report
from cae_jax.evaluation.codecs.base import Missing, Unsupported
from cae_jax.evaluation.codecs.lossless_codecs import bounded
from cae_jax.evaluation.lossless import measuring, standings, tables
from cae_jax.evaluation.lossless.image_sets import ExactImages
from cae_jax.evaluation.records import Record
from cae_jax.evaluation.report import document
from cae_jax.images import files

_GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)
_SETS = {
  "photos": [("a", _GREY), ("b", _GREY * 2)],
  "scans": [("a", _GREY.astype(np.uint16) * 300)],
}


def record(codec, image, bpsp, dataset="photos", bound=0, **more):
  fields = {"mse": 0.0, "psnr_db": math.inf, "max_error": 0, "version": "1", "status": "ok", **more}
  fields |= {"encode_s": 2.0, "decode_s": 0.5}
  return Record(codec, bound, image, bpsp=bpsp, dataset=dataset, error_bound=bound, **fields)


def rows():
  """Ours beats the reference on one image of two; a codec takes only one; one errs by a level."""
  sizes = {"lossless": (2.0, 3.1), "jxl_e9": (2.5, 3.0), "png": (4.0, None)}
  result = [record(c, i, s) for c, found in sizes.items() for i, s in zip("ab", found) if s]
  result.append(
    Record("png", 0, "b", status="not taken: 8 bits only", dataset="photos", error_bound=0)
  )
  near = {"bound": 1, "mse": 0.6, "psnr_db": 50.0, "max_error": 1}
  return [*result, record("lossless", "a", 1.0, **near), record("jxl_e9", "a", 1.25, **near)]


def raw(name="png", version="1", calls=None):
  """A codec that stores 8-bit samples, rounded down to multiples of 2 * bound + 1 plus bound."""

  def encode(x, bound):
    if x.dtype != np.uint8:
      raise Unsupported("8 bits only")
    if calls is not None:
      calls.append(bound)
    step = 2 * bound + 1
    return np.minimum(x.astype(int) // step * step + bound, 255).astype(np.uint8).tobytes()

  return bounded(name, version, [1], encode, lambda d: np.frombuffer(d, np.uint8).reshape(4, 6))


def test_standings_compare_what_both_codecs_take():
  found = {(s.codec, s.error_bound): s for s in standings.standings(rows())}
  ours, reference, png = (found[name, 0] for name in ("lossless", "jxl_e9", "png"))
  assert ours.bpsp == pytest.approx(2.55)
  assert ours.percent == pytest.approx(100 * (5.1 / 5.5 - 1))
  assert (ours.n_images, ours.n_compared, ours.n_smaller, ours.n_smallest) == (2, 2, 1, 1)
  assert (reference.percent, reference.n_smaller, reference.n_smallest) == (0.0, 0, 1)
  assert (png.n_images, png.n_left_out, png.n_compared) == (1, 1, 1)
  assert png.percent == pytest.approx(60)
  assert ours.psnr_db is None
  assert found["lossless", 1].percent == pytest.approx(-20)
  assert found["lossless", 1].psnr_db == 50.0
  assert (ours.encode_s, ours.decode_s) == (2.0, 0.5)


def test_a_codec_without_figures_on_a_set_has_no_standing():
  failed = Record("jpegls", 0, "a", status="failed: no", dataset="photos", error_bound=0)
  found = standings.standings([failed, record("png", "a", 4.0)])
  assert [(s.codec, s.percent) for s in found] == [("png", None)]


def test_of_each_codec_the_last_version_on_a_set_counts():
  old = [record("jxl_e9", "a", 9.0, version="0"), record("jxl_e9", "a", 9.0, "scans", version="0")]
  found = {s.dataset: s.bpsp for s in standings.standings([*old, *rows()]) if s.codec == "jxl_e9"}
  assert found["scans"] == 9.0
  assert found["photos"] != 9.0


def test_rows_of_lossy_codecs_are_passed_over():
  assert standings.standings([Record("jpeg", 30, "a", bpsp=1.0, mse=3.0)]) == []


def test_json_has_neither_nan_nor_infinity(tmp_path):
  found = standings.standings(rows())
  path = tmp_path / "summary.json"
  records.write_summary(path, [], {"datasets": standings.to_json(found)})
  by_codec = {row["codec"]: row for row in json.loads(path.read_text())["datasets"]["photos"][:3]}
  assert by_codec["lossless"]["psnr_db"] is None
  assert "dataset" not in by_codec["lossless"]


def test_tables_tell_what_was_left_out():
  text = tables.text([*rows(), Record("jpegls", None, None, status="not run: no; get it")])
  assert "| PNG | 4.000 (1) |" in text
  assert "| lossless | 2 | 2.5500 | -7.3 % | 1 of 2 | 1 | 2.00 | 0.500 |" in text
  assert "| lossless | 1 | 1.0000 | -20.0 % | 1 of 1 | 1 | 50.00 | 2.00 | 0.500 |" in text
  assert "† PNG, 1 of photos: not taken: 8 bits only" in text
  assert "- JPEG-LS: not run: no; get it" in text
  assert text.count("not run: no; get it") == 1


def test_every_set_is_measured_and_nothing_twice():
  calls, seen = [], []
  found = measuring.run([raw(calls=calls)], _SETS, on_record=seen.append)
  assert [(r.dataset, r.image, r.error_bound, r.status) for r in found] == [
    ("photos", "a", 0, "ok"),
    ("photos", "a", 1, "ok"),
    ("photos", "b", 0, "ok"),
    ("photos", "b", 1, "ok"),
    ("scans", "a", 0, "not taken: 8 bits only"),
    ("scans", "a", 1, "not taken: 8 bits only"),
  ]
  assert seen == found
  count = len(calls)
  done = [r for r in found if r.ok]
  again = measuring.run([raw("jxl_e9", calls=calls), raw(calls=calls)], _SETS, done=done)
  assert len(calls) == 2 * count
  assert {r.codec for r in again if r.ok} == {"png", "jxl_e9"}


def test_the_version_that_is_there_now_counts_though_another_was_measured_later():
  sets = {"photos": _SETS["photos"]}
  present = measuring.run([raw()], sets)
  later = [dataclasses.replace(r, version="2", bpsp=99.0) for r in present]
  found = measuring.run([raw()], sets, done=[*present, *later])
  assert {s.bpsp for s in standings.standings(found)} == {8.0}


def test_a_set_that_is_not_measured_now_keeps_its_records():
  found = measuring.run([raw()], _SETS)
  again = measuring.run([raw("jxl_e9")], {"photos": _SETS["photos"]}, done=found)
  assert {r.dataset for r in again} == {"photos", "scans"}


def test_records_of_other_samples_under_the_same_name_are_refused():
  found = measuring.run([raw()], _SETS)
  other = {"photos": [("a", _GREY), ("b", _GREY)]}
  with pytest.raises(UsageError, match="photos, b: the earlier records are of other samples"):
    measuring.run([raw("jxl_e9")], other, done=found)


def test_a_missing_codec_is_a_row():
  found = measuring.run([Missing("png", "no library", "get it")], {"photos": []})
  assert [(r.codec, r.image, r.status) for r in found] == [
    ("png", None, "not run: no library; get it")
  ]


def test_images_of_a_folder_keep_their_depth(tmp_path):
  deep = _GREY.astype(np.uint16) * 300
  files.write_image(tmp_path / "deep.png", deep)
  files.write_image(tmp_path / "grey.png", _GREY)
  images = ExactImages(tmp_path)
  assert [(name, x.dtype, x.shape) for name, x in images] == [
    ("deep.png", np.uint16, (4, 6)),
    ("grey.png", np.uint8, (4, 6)),
  ]
  np.testing.assert_array_equal(images[0][1], deep)
  (tmp_path / "grey.png").write_bytes(b"no image")
  with pytest.raises(files.ImageError, match=r"^grey\.png: "):
    list(ExactImages(tmp_path))


def test_figures_show_every_set_and_codec():
  found = [*rows(), *(dataclasses.replace(r, dataset="scans") for r in rows())]
  bars = figures.bits_per_sub_pixel(standings.standings(found))
  assert [axes.get_title() for axes in bars.axes] == ["photos, 2 images", "scans, 2 images"]
  ticks = [text.get_text() for text in bars.axes[0].get_yticklabels()]
  assert ticks == ["lossless", "PNG", "JPEG XL effort 9"]
  by_image = figures.image_by_image(found, "jxl_e9")
  ours = next(line for line in by_image.axes[0].lines if line.get_label() == "lossless")
  assert list(ours.get_ydata()) == pytest.approx([100 * (2 / 2.5 - 1), 100 * (3.1 / 3 - 1)])
  near = figures.near_lossless(standings.standings(found))
  lines = {line.get_label(): list(line.get_ydata()) for line in near.axes[0].lines}
  assert lines == {"lossless": [2.55, 1.0], "JPEG XL effort 9": [2.75, 1.25]}


def test_figures_that_have_nothing_to_show():
  only = [record("png", "a", 4.0)]
  assert figures.image_by_image(only, "jxl_e9") is None
  assert figures.near_lossless(standings.standings(only)) is None
  with pytest.raises(UsageError, match="expected codecs measured without loss, got none"):
    figures.bits_per_sub_pixel([])


def test_the_report_shows_lossless_records_and_no_empty_curves(monkeypatch):
  monkeypatch.setattr(document, "plotly_js", lambda: "var Plotly;")
  page = report.page(rows())
  assert '<section id="curves" hidden' in page
  assert '<section id="lossless"  aria' in page
  assert '<th scope="row">lossless</th>' in page
  lossy = Record("jpeg", 30, "a", 4, 4, 10, 5.0, 30.0, 30.0, 5.0, ms_ssim=0.9, version="1")
  mixed = report.page([lossy, dataclasses.replace(lossy, setting=60, size_bytes=20, rate_bpp=10.0)])
  assert '<section id="curves"  aria' in mixed
  assert '<section id="lossless" hidden' in mixed


def test_the_luma_of_grey_images_does_not_become_infinite():
  grey = record("png", "a", 3.0, bound=1, mse=0.5, psnr_db=51.0, max_error=1, channels=1)
  assert records.from_json(records.to_json(grey)) == grey
  exact = dataclasses.replace(grey, mse=0.0, psnr_db=math.inf, max_error=0)
  assert "Infinity" not in records.to_json(exact)
  assert records.from_json(records.to_json(exact)) == exact
