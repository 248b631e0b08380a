"""The report's page: what it holds, what it escapes, and that it loads nothing."""

import base64
import dataclasses
import html.parser
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cae_jax.errors import MissingExtraError
from cae_jax.evaluation import figures, report
from cae_jax.evaluation.codecs.base import FileCodec, Missing
from cae_jax.evaluation.pictures import Picture, at_own_size, at_size
from cae_jax.evaluation.rd import published
from cae_jax.evaluation.rd import tables as rd_tables
from cae_jax.evaluation.records import Record
from cae_jax.evaluation.report import document
from cae_jax.evaluation.report import gallery as report_gallery
from cae_jax.evaluation.report import plots as report_data
from cae_jax.evaluation.report import tables as report_tables

EVIL = '</script><img src=x onerror="alert(1)">&'


def record(codec="jpeg", setting=1, image="a", rate=1.0, psnr=30.0, **more):
  fields = {"width": 64, "height": 48, "mse": 5.0, "ms_ssim": 0.9, "version": "v", **more}
  return Record(codec, setting, image, rate_bpp=rate, psnr_db=psnr, psnr_y_db=psnr, **fields)


def sweep(codec, images=("a", "b"), offset=0.0, count=5):
  """A rate-distortion curve for each image."""
  return [
    record(codec, s, image, 0.2 * 2**s, 25 + 3 * s + offset + i, ms_ssim=1 - 0.1 / 2**s)
    for i, image in enumerate(images)
    for s in range(count)
  ]


class _Loads(html.parser.HTMLParser):
  """Everything a page would load, and the text of its elements."""

  def __init__(self, text):
    super().__init__()
    self.sources, self.tags = [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    names = ("src", "href", "srcset", "data", "action", "poster")
    self.sources += [value for name, value in attrs if name in names]


def without_plotly(monkeypatch, text="var Plotly;"):
  monkeypatch.setattr(document, "plotly_js", lambda: text)


def page_data(text):
  return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_loads_nothing():
  text = report.page(sweep("own") + sweep("jpeg"))
  loads = _Loads(text)
  assert loads.sources
  assert all(source.startswith("#") for source in loads.sources)
  assert "link" not in loads.tags
  assert "default-src 'none'" in text
  assert not re.search(r"url\(|@import", text[text.index("<style>") : text.index("</style>")])


def test_the_title_names_every_codec_of_ours(monkeypatch):
  without_plotly(monkeypatch)
  rows = sweep("own") + sweep("own2") + sweep("own-float") + sweep("jpeg")
  assert "own, own2 against classical codecs" in report.page(rows)


def test_every_section_is_filled(monkeypatch):
  without_plotly(monkeypatch)
  text = report.page(sweep("own", offset=2) + sweep("jpeg"))
  assert "own against classical codecs" in text
  assert "2 codecs on 2 images" in text
  assert "-37.0 %" in text  # 3 dB are a factor of 2 in rate, so 2 dB are one of 2 ** (2 / 3)
  assert "pchip" in text
  assert "overlap of the curves" in text
  assert not re.search(r"\$[a-z]", text)  # no hole of the template left open


def test_text_of_records_is_escaped(monkeypatch):
  without_plotly(monkeypatch)
  rows = [*sweep(EVIL, images=(EVIL,)), record(version=EVIL, setting=EVIL)]
  rows += [Record("bpg", None, None, status=EVIL)]
  text = report.page(rows, dataset=EVIL)
  assert "<img" not in text
  assert text.count("</script>") == 3
  assert EVIL in page_data(text)["images"]


def test_json_survives_its_escaping():
  data = {"a": EVIL, "b": ["<!--", "ü", 1.5]}
  text = report.json_in_html(data)
  assert json.loads(text) == data
  assert not set("<>&") & set(text)


@pytest.mark.parametrize("rows", [[], [Record("bpg", None, None, status="not run")]])
def test_nothing_measured(rows):
  with pytest.raises(ValueError, match=r"records with figures, got none; .*experiments\.evaluate"):
    report.page(rows)


def test_without_plotly(monkeypatch):
  monkeypatch.setitem(sys.modules, "plotly.offline", None)
  with pytest.raises(MissingExtraError, match=r'pip install "cae_jax\[report\]"'):
    report.page(sweep("jpeg"))


def test_a_failed_write_leaves_the_old_file(tmp_path):
  path = tmp_path / "report.html"
  path.write_text("old")
  with pytest.raises(ValueError, match="got none"):
    report.write(path, [])
  assert path.read_text() == "old"
  assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_it_needs_no_jax():
  code = (
    "import sys; from cae_jax.evaluation.report import document, gallery;"
    "assert 'jax' not in sys.modules and 'flax' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_points_of_the_mean_and_of_each_image():
  data = report_data.plots(sweep("jpeg", count=3))
  (curve,) = data["curves"]
  points = curve["points"]["psnr_db"]
  assert data["images"] == ["a", "b"]
  assert points["a"]["value"] == [25, 28, 31]
  assert points["b"]["value"] == [26, 29, 32]
  assert points[report_data.MEAN]["value"] == [25.5, 28.5, 31.5]
  assert points["a"]["setting"] == ["0", "1", "2"]


def test_means_over_fewer_images_are_drawn_by_neither_the_page_nor_the_figure():
  rows = sweep("own") + sweep("jpeg") + sweep("webp", images=("a",))
  curves = {curve["id"]: curve["points"]["psnr_db"] for curve in report_data.plots(rows)["curves"]}
  assert {name: list(points) for name, points in curves.items()} == {
    "own": [report_data.MEAN, "a", "b"],
    "jpeg": [report_data.MEAN, "a", "b"],
    "webp": ["a"],
  }
  for axes in figures.rate_distortion(rows).axes:
    assert [line.get_label() for line in axes.lines] == ["own", "JPEG"]


def test_the_page_and_the_figure_have_the_same_means():
  rows = [dataclasses.replace(r, butteraugli_3norm=9.0 - r.setting) for r in sweep("jpeg", count=3)]
  rows.append(record("jpeg", 3, "b", 9.0, 50.0, butteraugli_3norm=1.0))
  points = report_data.plots(rows)["curves"][0]["points"]
  for axes, metric in zip(figures.rate_distortion(rows).axes, points, strict=True):
    mean = points[metric][report_data.MEAN]
    [line] = axes.lines
    np.testing.assert_allclose(line.get_xdata(), mean["rate_bpp"])
    np.testing.assert_allclose(line.get_ydata(), mean["value"], rtol=1e-5)
    assert mean["setting"] == ["0", "1", "2"]


def test_axes_are_of_what_was_measured():
  assert list(report_data.plots(sweep("jpeg", count=3))["axes"]) == ["psnr_db", "ms_ssim_db"]
  rows = [dataclasses.replace(r, butteraugli_3norm=9.0 - r.setting) for r in sweep("jpeg", count=3)]
  data = report_data.plots(rows)
  assert data["axes"]["butteraugli_3norm"] == {
    "title": "Butteraugli 3-norm (less is better)",
    "unit": "",
    "reversed": True,
    "digits": 2,
  }
  points = data["curves"][0]["points"]["butteraugli_3norm"]
  assert points[report_data.MEAN]["value"] == [9.0, 8.0, 7.0]


def test_all_efforts_look_different():
  names = ["context", *(f"context-effort{effort}" for effort in range(1, 10))]
  curves = report_data.plots([record(name, 1, "a") for name in names])["curves"]
  assert len({curve["symbol"] for curve in curves}) == 10


def test_curves_leave_out_what_has_no_value():
  lossless = [record("jxl", s, "a", psnr=np.inf, mse=0.0) for s in (1, 2)]
  tiny = [record("webp", 1, "a", ms_ssim=None)]
  matched = [record("bpg", 1, "a", matched_to="own", matched_setting=2)]
  curves = report_data.plots(lossless + tiny + matched)["curves"]
  assert {c["id"]: list(c["points"]) for c in curves} == {
    "jxl": ["ms_ssim_db"],
    "webp": ["psnr_db"],
  }


def test_published_curves_only_where_the_images_fit(monkeypatch):
  without_plotly(monkeypatch)
  rows = sweep("jpeg", published.KODAK_IMAGES)
  kinds = lambda text: [curve["kind"] for curve in page_data(text)["curves"]]
  assert kinds(report.page(rows, "kodak")) == ["baseline"] + ["published"] * len(published.DRAWN)
  assert kinds(report.page(rows, "photos")) == ["baseline"]
  assert kinds(report.page(rows[5:], "kodak")) == ["baseline"]
  (vtm, *_) = [c for c in page_data(report.page(rows, "kodak"))["curves"] if c["source"]]
  assert vtm["label"].endswith("(published)")
  assert vtm["dash"] != "solid"
  assert list(vtm["points"]["psnr_db"]) == [report_data.MEAN]


def test_bd_rates_against_published_curves_are_named_so():
  rows = sweep("own", published.KODAK_IMAGES, offset=2)
  text = report_tables.rate_distortion_html(rows, published.load())
  assert "BD-rates against published curves" in text
  assert "(published: " in text


def test_times_are_medians_with_quartiles():
  rows = [record(setting=s, encode_s=s, decode_s=0.5 * s) for s in (1.0, 2.0, 3.0, 4.0, 100.0)]
  text = report_tables.times_html(rows)
  cells = re.findall(r"<td[^>]*>(.*?)</td>", text)
  assert cells[:5] == ["5", "3.000", "2.000 to 4.000", "1.500", "1.000 to 2.000"]
  assert float(cells[5]) == round(64 * 48 / 1e6 / 1.5, 2)


def test_times_of_codecs_side_by_side():
  found = rd_tables.Table("Times", "kodim05, <b>", ("codec", "encode, s"), [("JPEG", "0.010")])
  text = report.page(sweep("own"), timing=found)
  assert "kodim05, &lt;b&gt;" in text
  assert '<td class="number">0.010</td>' in text
  assert "Medians over all files" not in text


def test_times_without_times():
  assert re.findall(r"<td[^>]*>(.*?)</td>", report_tables.times_html([record()]))[1:] == ["—"] * 5


def test_codecs_say_why_they_did_not_run():
  rows = [Record("bpg", None, None, status="not run: no bpgenc"), *sweep("jpeg")]
  rows += [record("jpeg", 3, matched_to="own", matched_setting=7, status="size not met")]
  text = report_tables.codecs_html(rows)
  assert "1 × not run: no bpgenc" in text
  assert "0, 1, 2, 3, 4" in text
  assert "also at the size of own at 7; 1 × size not met" in text


def test_numbers_and_their_head_stand_on_the_right():
  text = report_tables.table_html(("a", "b", "c"), [("x", "+1.5 %", "y"), ("z", "—", "3")], "t")
  heads = re.findall(r'<th scope="col"( class="number")?>', text)
  assert heads == ["", ' class="number"', ""]


def _noise(height, width):
  return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _pixels(uri):
  data = base64.b64decode(uri.partition(",")[2])
  return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pictures_are_embedded_without_loss():
  x = _noise(40, 30)
  missing = Picture(Record("bpg", None, "a", status="not run"), None)
  found = report_gallery.image("a", x, [Picture(record(size_bytes=99), 255 - x), missing], 16)
  assert [item["label"] for item in found["shown"]] == ["Original", "JPEG"]
  crop = x[12:28, 7:23]
  np.testing.assert_array_equal(_pixels(found["shown"][0]["src"]), crop)
  np.testing.assert_array_equal(_pixels(found["shown"][1]["src"]), 255 - crop)
  assert found["missing"] == ["BPG: not run"]
  assert "16 × 16 pixels at the middle of 30 × 40" in found["words"]


def test_small_images_are_shown_whole():
  assert report_gallery.middle(40, 30, 64) == (0, 0, 40, 30)
  assert "whole image" in report_gallery.image("a", _noise(40, 30), [])["words"]


def _raw(name, count=4):
  """A codec whose file of setting s has s bytes for each pixel, and whose pictures are black."""
  decode = lambda data: np.zeros((8, 8, 3), np.uint8)
  settings = tuple(range(1, count + 1))
  return FileCodec(name, "1", settings, settings, lambda x, s: bytes(64 * s), decode)


def test_pictures_meet_the_size_of_ours():
  ours, jpeg, gone = _raw("own"), _raw("jpeg"), Missing("bpg", "no bpgenc", "get it")
  found = at_own_size(ours, 3, [jpeg, gone], "a", _noise(8, 8), search=True)
  assert [picture.record.size_bytes for picture in found] == [192, 192, None]
  assert found[2].x_hat is None
  assert "not run: no bpgenc" in found[2].words


def test_pictures_take_the_setting_of_the_records_before_they_search():
  rows = [record("jpeg", 2, "a", version="1", target_bytes=192)]
  pick = lambda rows, search: at_size(_raw("jpeg"), "a", _noise(8, 8), 192, rows, search).record
  assert pick(rows, True).setting == 2
  assert pick([], True).setting == 3
  assert pick([], False).status == "not measured"
