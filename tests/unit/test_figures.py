"""Tables and figures: what they say, and that every figure is a whole picture."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from cae_jax.evaluation import figures, measuring, names, tables
from cae_jax.evaluation.codecs import base as codecs
from cae_jax.evaluation.figures import drawing, images
from cae_jax.evaluation.paper import slip, table_1
from cae_jax.evaluation.rd import published
from cae_jax.evaluation.rd.curves import METRICS
from cae_jax.evaluation.records import Record
from cae_jax.evaluation.report import plots
from cae_jax.images import files


def _record(codec, setting, image, rate_bpp=0.5, psnr_db=30.0, **fields):
  mse = 255**2 / 10 ** (psnr_db / 10) if math.isfinite(psnr_db) else 0.0
  return Record(
    codec=codec,
    setting=setting,
    image=image,
    width=768,
    height=512,
    size_bytes=round(rate_bpp * 768 * 512 / 8),
    rate_bpp=rate_bpp,
    psnr_db=psnr_db,
    psnr_y_db=psnr_db + 1,
    mse=mse,
    mse_variance=mse,
    mse_bias_squared=0.0,
    ms_ssim=0.95,
    encode_s=0.1,
    decode_s=0.1,
    version=f"{codec} 1.0",
    **fields,
  )


def _records():
  missing = Record("bpg", None, None, status="not run: no program bpgenc; build libbpg")
  rows = [missing]
  for i, image in enumerate(table_1.TEST_IMAGES):
    ours = _record("cae", 3, f"{image}.png", 0.5 + i / 100, 32.0 + i)
    goal = {"matched_to": "cae", "matched_setting": 3, "target_bytes": ours.size_bytes}
    rows += [ours, _record("jpeg", 10, image, 0.2, 26.0), _record("jpeg", 50, image, 0.9, 31.0)]
    small = _record("jpeg", 33, image, 0.4, 29.0, psnr_db_at_target=29.5, **goal)
    close = ours.rate_bpp - 0.001
    rows += [small, _record("jpeg2000", 48.0, image, close, 30.0, psnr_db_at_target=30.01, **goal)]
  return rows


def _photo(height=40, width=60, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _check_picture(path):
  """A figure with something on it, and no ink at its edges (nothing cut off)."""
  x = files.read_rgb(path)
  assert min(x.shape[:2]) > 300
  assert x.std() > 5
  edges = (x[0], x[-1], x[:, 0], x[:, -1])
  assert all((edge == 255).all() for edge in edges)


def test_printed_table_has_the_papers_numbers():
  proposed = table_1.PAPER_TABLE_1[0]
  assert proposed.psnr_db == (24.98, 27.05, 28.88, 22.47, 24.90, 26.28, 24.63)
  text = table_1.paper_table(_records())
  assert "| Proposed | 24.98 | 27.05 | 28.88 | 22.47 | 24.90 | 26.28 | 24.63 |" in text
  jpeg = "| JPEG | 9.00 | 11.54 | 9.14 | 10.53 | 11.69 | 12.68 | 12.72 | 9.0 to 12.7 |"
  jpeg2000 = "| JPEG 2000 | 12.66 | 12.35 | 7.66 | 12.63 | 11.04 | 11.39 | 12.90 | 7.7 to 12.9 |"
  bpg = "| BPG | 13.66 | 12.41 | 7.67 | 12.64 | 11.07 | 12.66 | 12.92 | 7.7 to 13.7 |"
  assert all(row in text for row in (jpeg, jpeg2000, bpg))
  assert "The paper gives no bit rate" in text


def test_measured_table_has_the_rate_beside_every_psnr():
  text = table_1.paper_table(_records())
  assert "| cae | 32.00 / 0.500 | 33.00 / 0.510 |" in text
  assert "| JPEG | 29.00 / 0.400 |" in text
  assert "35.00 / 0.530 |" in text.split("| cae |")[1].splitlines()[0]


def test_measured_table_interpolates_where_files_are_too_small():
  text = table_1.paper_table(_records())
  assert "| JPEG ‡ | 29.50 / 0.500 | 29.50 / 0.510 |" in text
  assert "JPEG 2000 ‡" not in text


def test_measured_table_shows_fixed_settings_and_missing_codecs():
  text = table_1.paper_table(_records())
  assert "| JPEG at 10 | 26.00 / 0.200 |" in text
  assert "| JPEG at 50 | 31.00 / 0.900 |" in text
  assert text.count("| BPG | not run: no program bpgenc; build libbpg |") == 2


def test_measured_table_marks_sizes_that_were_not_met():
  rows = [
    dataclasses.replace(r, status=measuring.TOO_LARGE, psnr_db_at_target=None)
    if r.codec == "jpeg" and r.matched_to and r.image == "kodim20"
    else r
    for r in _records()
  ]
  text = table_1.paper_table(rows)
  line = next(line for line in text.splitlines() if line.startswith("| JPEG | 29.00"))
  assert "29.00 / 0.400 †" in line
  assert line.endswith("| — |")
  assert f"- † JPEG, kodim20: {measuring.TOO_LARGE}" in text


def test_other_images_are_not_compared_with_the_paper():
  missing, *_ = _records()
  assert table_1.paper_table([missing, _record("cae", 3, "mine.png", 0.5, 32.0)]) == ""


def test_all_rows_of_a_table_are_equally_wide():
  for text in (tables.table(_records()), table_1.paper_table(_records())):
    for block in text.split("\n\n"):
      widths = {len(re.findall(r"(?<!\\)\|", row)) for row in block.split("\n") if row[:1] == "|"}
      assert len(widths) <= 1


def test_a_table_names_images_that_keep_ms_ssim_from_a_curve():
  rows = [_record("cae", 50, f"{name}.png") for name in "ab"]
  assert "no curves of MS-SSIM" not in tables.table(rows)
  rows[1] = dataclasses.replace(rows[1], height=160, ms_ssim=None)
  assert "MS-SSIM, which needs sides from 161 pixels: b.png is smaller." in tables.table(rows)


def test_further_metrics_have_columns_and_panels_where_they_were_measured():
  plain = _at("jpeg")
  assert "SSIMULACRA2" not in tables.table(plain)
  rows = [dataclasses.replace(r, ssimulacra2=60.0 + r.setting) for r in plain]
  assert "MS-SSIM | SSIMULACRA2 | encode s" in tables.table(rows)
  assert "| 0.9500 | 61.00 | 0.100 |" in tables.table(rows)
  assert [a.get_ylabel() for a in figures.rate_distortion(plain).axes] == [
    "mean PSNR of RGB (dB)",
    "mean MS-SSIM (dB)",
  ]
  rows = [dataclasses.replace(r, butteraugli_3norm=4.0 / r.setting) for r in rows]
  *_, third, fourth = figures.rate_distortion(rows).axes
  assert third.get_ylabel() == "mean SSIMULACRA2"
  assert list(fourth.lines[0].get_ydata()) == [4.0, 2.0]
  assert fourth.yaxis_inverted()
  assert not third.yaxis_inverted()
  *_, third = figures.rate_distortion([*plain, *_at("webp", ssimulacra2=70.0)]).axes
  assert third.get_ylabel() == "mean SSIMULACRA2"
  assert [line.get_label() for line in third.lines] == ["WebP"]


def test_the_table_of_means_says_of_every_further_column_which_way_is_better(monkeypatch):
  assert "is better" not in tables.table(_at("jpeg"))
  text = tables.table(_at("jpeg", butteraugli_max=2.0, kid=0.1))
  assert " Of Butteraugli max, KID less is better.\n" in text
  monkeypatch.setitem(tables._FURTHER, "bpsp", tables._Column("bits per sub-pixel", 2, -1))
  text = tables.table(_at("jpeg", bpsp=2.0, ssimulacra2=70.0))
  assert " Of bits per sub-pixel less is better. Of SSIMULACRA2 more is better.\n" in text


def test_columns_and_curves_agree_on_which_way_is_better():
  for name in METRICS.keys() & tables._FURTHER.keys():
    assert tables._FURTHER[name].sign == METRICS[name].sign, name


def _at(codec, **fields):
  return [_record(codec, q, "a", 0.1 * q, 25.0 + q, **fields) for q in (1, 2)]


def test_records_of_other_weights_of_one_name_are_counted():
  rows = _at("f") + [dataclasses.replace(row, version="other") for row in _at("f")]
  assert tables.left_out(rows[:2]) == ""
  assert tables.left_out(rows).startswith("2 records of f are not shown: of other weights of that")


def test_table_of_means_names_the_averages_and_the_missing():
  text = tables.table([*_records(), _record("webp", 100, "kodim18", 9.0, math.inf)])
  assert "PSNR of mean MSE" in text
  assert "| BPG | not run: no program bpgenc; build libbpg |" in text
  assert "| JPEG | at the size of cae at 3 | 7 | 0.4000 | 29.00 | 29.50 |" in text
  assert "| WebP | 100 | 1 | 9.0000 | ∞ |" in text
  assert "- cae: cae 1.0" in text
  assert text.index("| cae |") < text.index("| JPEG |") < text.index("| WebP |")


def _check_figure(figure, path):
  figures.save(figure, path)
  _check_picture(path)


def test_training_curves_read_what_a_run_wrote(tmp_path):
  lines = [
    {"step": s, "split": split, "loss": 9 / (s + 1), "psnr_db": 20 + s / 10}
    for s in range(0, 50, 5)
    for split in ("train", "valid")
  ]
  lines.append({"step": 50, "split": "train", "steps_per_s": 2.0})
  text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 55, "lo'
  (tmp_path / "metrics.jsonl").write_text(text)
  _check_figure(
    figures.training_curves(tmp_path / "metrics.jsonl"), tmp_path / "new" / "curves.png"
  )


def test_training_curves_of_a_lossless_run_are_in_bits_per_sub_pixel(tmp_path):
  line = {"step": 1, "split": "train", "loss": 3.0, "bpsp": 3.0}
  (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
  [axes] = figures.training_curves(tmp_path / "metrics.jsonl").axes
  assert axes.get_ylabel() == "bits per sub-pixel"


def test_training_curves_of_an_empty_run_say_so(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
  with pytest.raises(ValueError, match=r"metrics\.jsonl has no line with a loss"):
    figures.training_curves(tmp_path / "metrics.jsonl")


def test_reconstructions_of_portraits_and_landscapes(tmp_path):
  originals = [_photo(), _photo(60, 40), _photo(30, 30)]
  captions = ["0.5 bpp, 30.0 dB"] * 3
  figure = figures.reconstructions(originals, [255 - x for x in originals], captions)
  _check_figure(figure, tmp_path / "a.png")


def test_reconstructions_need_one_caption_each():
  with pytest.raises(ValueError, match="of one count, got 1, 1 and 0"):
    figures.reconstructions([_photo()], [_photo()], [])


def test_every_codec_has_its_own_style_and_its_symbol_in_the_report():
  styles = {name: drawing._STYLES[name] for name in names.LABELS}
  assert len(set(styles.values())) == len(styles)
  assert {marker for _, marker in styles.values()} <= plots._SYMBOLS.keys()


def test_the_enlarged_spot_is_where_the_error_is_largest():
  x = np.zeros((300, 400, 3), np.uint8)
  x_hat = x.copy()
  x_hat[200:210, 310:320] = 255
  left, top, side = images._worst_spot(x, x_hat)
  assert top <= 200
  assert top + side >= 210
  assert left <= 310
  assert left + side >= 320


def test_methods_on_images_show_a_missing_codec_as_words(tmp_path):
  originals = {"a": _photo(), "b": _photo(60, 40)}
  shown = {name: (x, "0.5 bpp, 30.0 dB") for name, x in originals.items()}
  words = "not run: no program bpgenc or bpgdec on the PATH; build libbpg 0.9.8"
  methods = {"ours": shown, "JPEG": {"a": shown["a"]}, "BPG": dict.fromkeys("ab", (None, words))}
  _check_figure(figures.methods_on_images(originals, methods), tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (20, 200)])
def test_titles_of_pictures_are_not_cut_off(shape):
  x = _photo(*shape)
  figure = figures.methods_on_images({"a": x}, {"ours": {"a": (x, "0.5 bpp, 30.0 dB")}})
  figure.canvas.draw()
  for axes in figure.axes:
    assert axes.title.get_window_extent().y1 <= figure.bbox.y1


def test_methods_on_images_need_an_image():
  with pytest.raises(ValueError, match="at least one image, got none"):
    figures.methods_on_images({}, {})


@pytest.mark.parametrize("own", [True, False])
def test_psnr_per_image_with_and_without_our_codec(tmp_path, own):
  rows = [r for r in _records() if own or (r.codec != "cae" and r.matched_to is None)]
  _check_figure(figures.psnr_per_image(rows), tmp_path / "a.png")


def test_images_of_one_name_in_two_folders_are_two_images():
  names_of = ("day/001.png", "night/001.png", "night/002.png")
  rows = [_record("cae", 3, name, 0.5, 30.0 + i) for i, name in enumerate(names_of)]
  [axes] = figures.psnr_per_image(rows).axes
  assert list(axes.lines[0].get_ydata()) == [30.0, 31.0, 32.0]
  shown = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
  assert shown == ["day/001.png", "night/001.png", "002"]


def test_rate_distortion_with_a_published_curve(tmp_path):
  figure = figures.rate_distortion(_records(), published.load(("vtm",)))
  _check_figure(figure, tmp_path / "a.png")


@pytest.mark.parametrize("function", [figures.psnr_per_image, figures.rate_distortion])
def test_charts_need_figures(function):
  with pytest.raises(ValueError, match="expected records with figures"):
    function([Record("bpg", None, None, status="not run")])


def test_the_legend_names_what_any_panel_shows_once():
  """A codec whose files are exact has no PSNR to be drawn at, but a curve of another metric."""
  records = [_record("jpeg", 30, "a", ssimulacra2=50.0), _record("jpeg", 60, "a", 0.9, 33.0)]
  exact = {"psnr_db": math.inf, "mse": 0.0, "ssimulacra2": 100.0}
  records += [dataclasses.replace(_record("webp", 90, "a", 2.0), **exact)]
  figure = figures.rate_distortion(records, published.load(["vtm"]))
  [legend] = figure.legends
  names = [text.get_text() for text in legend.get_texts()]
  assert sorted(names) == ["JPEG", "VVC intra (VTM 9.1) (published)", "WebP"]


def test_published_curves_are_drawn_in_the_panel_of_their_metric():
  records = [_record("webp", quality, "a", quality / 50) for quality in (50, 90)]
  exact = [dataclasses.replace(r, psnr_db=math.inf, psnr_y_db=math.inf, mse=0.0) for r in records]
  figure = figures.rate_distortion(exact, published.load(["vtm"]))
  labels = {axes.get_ylabel(): len(axes.lines) for axes in figure.axes}
  assert labels == {"mean MS-SSIM (dB)": 1}


def test_without_a_codec_of_all_images_no_curve_is_drawn():
  rows = [_record("jpeg", 1, "a"), _record("webp", 1, "b")]
  [axes] = figures.rate_distortion(rows).axes
  assert axes.get_ylabel() == "mean PSNR of RGB (dB)"
  assert not axes.lines


def test_notebooks_show_figures():
  figure = drawing.figure(4.0, 3.0)
  figure.subplots().plot([1, 2])
  assert files.read_rgb(figure._repr_png_()).shape == (225, 300, 3)


def test_our_efforts_follow_our_codec():
  codecs = names.in_order(["bpg", "context-effort1", "jpeg", "context", "bpg"])
  assert [names.label(codec) for codec in codecs] == ["context", "context, effort 1", "JPEG", "BPG"]


def test_codecs_of_one_figure_look_different():
  own = ["context", *(f"context-effort{effort}" for effort in range(1, 10))]
  assert len({drawing.style(codec, own) for codec in [*own, "jpeg", "bpg"]}) == 12


def _copy_codec(name):
  return codecs.FileCodec(
    name=name,
    version="1",
    settings=(1,),
    search=(1,),
    encoder=lambda x, setting: bytes(x.shape) + x.tobytes(),
    decoder=lambda data: np.frombuffer(data[3:], np.uint8).reshape(tuple(data[:3])),
  )


def test_slip_compares_with_the_wrong_original(tmp_path):
  images = [("a", np.zeros((40, 60, 3), np.uint8)), ("b", np.full((60, 40, 3), 51, np.uint8))]
  found = slip.measure_slip(_copy_codec("jpeg"), 1, images)
  assert found.right == (math.inf, math.inf)
  assert found.next_image == pytest.approx((20 * math.log10(5),) * 2)
  assert found.all_pairs == tuple((value,) for value in found.next_image)
  # Black is (0, 128, 128) in YCbCr.
  assert found.ycbcr[0] == pytest.approx(20 * math.log10(255 / 128) - 10 * math.log10(2 / 3))
  text = slip.slip_table([found, dataclasses.replace(found, codec="bpg")], ["avif: not run"])
  assert "| JPEG | 9.0 to 12.7 | inf to inf | 14.0 to 14.0 |" in text
  assert "the codecs differ by 0.00 dB" in text
  assert "- avif: not run" in text
  noisy = dataclasses.replace(found, right=(30.0, 31.0))
  figure = slip.slip_figure([noisy, dataclasses.replace(noisy, codec="bpg")])
  _check_figure(figure, tmp_path / "a.png")


def test_what_is_said_of_the_papers_baselines():
  _, *rows = table_1.PAPER_TABLE_1
  printed = {row.method: np.array(row.psnr_db) for row in rows}
  near = np.abs(printed["JPEG 2000"] - printed["BPG"]) < 0.1
  assert near.sum() == 5
  assert not (near & (np.abs(printed["JPEG"] - printed["BPG"]) < 0.1)).any()


def test_slip_needs_images_of_one_size():
  images = [("a", _photo(40, 60)), ("b", _photo(40, 61))]
  with pytest.raises(ValueError, match="expected two or more images of one size, got 2 of"):
    slip.measure_slip(_copy_codec("jpeg"), 1, images)
