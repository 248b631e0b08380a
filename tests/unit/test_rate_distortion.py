"""BD-rates against known answers, what is refused, and what the tables say."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from cae_jax.evaluation.rd import bd_rates, curves, published
from cae_jax.evaluation.rd import tables as rd_tables
from cae_jax.evaluation.rd.bd_rates import BdRate, Refused, bd_rate
from cae_jax.evaluation.rd.curves import NotComparable, Points, measured_curve, rising_points
from cae_jax.evaluation.records import Record

_IMAGES = ("a", "b", "c")
_RATES = (0.1, 0.25, 0.5, 1.0, 2.0)
_SHARED = pathlib.Path(__file__).parents[3] / "shared" / "reference" / "measured"


def _record(codec, setting, image, rate_bpp, psnr_db, **fields):
  values = {
    "psnr_y_db": psnr_db + 1,
    "mse": 255**2 / 10 ** (psnr_db / 10),
    "ms_ssim": 1 - 10 ** (-(psnr_db - 18) / 10),
    "ssimulacra2": 3 * psnr_db - 30,
    "butteraugli_3norm": 10 - psnr_db / 5,
    "dists": 0.6 - psnr_db / 100,
    "wasserstein": 1 - psnr_db / 60,
    "kid": 6 - psnr_db / 10,
    "version": "1",
  }
  return Record(codec, setting, image, rate_bpp=rate_bpp, psnr_db=psnr_db, **(values | fields))


def _rows(
  codec, factors=(1, 1, 1), rates=_RATES, images=_IMAGES, shift_db=0.0, spread_db=1, **fields
):
  """A codec whose images need `factors` times the bits of 30 dB + 6 dB for each doubling."""
  return [
    _record(
      codec, i, image, rate * factor, 30 + shift_db + spread_db * k + 6 * math.log2(rate), **fields
    )
    for k, (image, factor) in enumerate(zip(images, factors))
    for i, rate in enumerate(rates)
  ]


def _curve(codec="cae", *args, metric="psnr_db", **kwargs):
  return measured_curve(_rows(codec, *args, **kwargs), codec, metric)


def _at_own_rates(rows, metric="psnr_db"):
  return [row for row in bd_rates.at_own_rates(rows) if row.metric == metric]


def test_a_curve_against_itself_is_zero():
  result = bd_rate(_curve(), _curve())
  assert (result.headline_percent, result.mean_curve_percent) == (0, 0)
  assert result.interval_percent is None  # of three images
  assert result.overlap_share == 1


def test_headline_is_the_mean_of_the_per_image_bd_rates():
  result = bd_rate(_curve("cae", (0.5, 1.0, 2.0)), _curve("bpg"))
  assert result.per_image_percent == pytest.approx((-50, 0, 100))
  assert result.headline_percent == pytest.approx(50 / 3)
  assert result.mean_curve_percent == pytest.approx(100 * (3.5 / 3 - 1))
  assert result.headline == "mean of 3 per-image BD-rates"


def test_eight_images_have_an_interval():
  names, factors = tuple("abcdefgh"), np.geomspace(0.5, 2, 8)
  anchor = _curve("bpg", (1,) * 8, images=names)
  result = bd_rate(_curve("cae", factors, images=names), anchor)
  low, high = result.interval_percent
  assert -50.1 < low < high < 100.1
  assert result.interval.endswith("(95 %)")


def test_a_result_prints_all_it_depends_on():
  result = bd_rate(_curve("cae", (0.5, 1.0, 2.0)), _curve("bpg"))
  assert str(result) == (
    f"cae against bpg: +16.67 % (mean of 3 per-image BD-rates), interval {result.interval}; mean "
    "curves +16.67 %; pchip; PSNR of RGB, mean of per-image values, 3 images; overlap 11.07 to "
    "37.00 dB (100 % of the narrower curve); narrowest image 25.93 dB"
  )
  assert result.interval == "—"


@pytest.mark.parametrize("metric", curves.METRICS)
def test_every_metric_gives_the_same_for_a_constant_factor(metric):
  test, anchor = (_curve(factors=(k,) * 3, metric=metric) for k in (0.7, 1))
  assert bd_rate(test, anchor).headline_percent == pytest.approx(-30)


def test_less_is_better_where_it_is():
  """Of Butteraugli the codec with smaller values at its rates needs fewer bits; shown as it is."""
  rows = _rows("cae", (0.5,) * 3) + _rows("bpg")
  of_metric = {result.convention.metric: result for result in bd_rates.compare(rows)}
  result = of_metric["butteraugli_3norm"]
  assert result.headline_percent == pytest.approx(-50)
  assert "overlap 2.60 to 7.79 (100 % of the narrower curve); narrowest image 5.19" in str(result)
  row = next(row for row in _at_own_rates(rows, "butteraugli_3norm") if row.setting == 2)
  assert row.value == pytest.approx(10 - 25 / 5)
  assert row.baselines["bpg"] > row.value
  too_far = _curve("bpg", shift_db=26, metric="ssimulacra2")
  with pytest.raises(NotComparable, match=r"of 10 points or more .* got 3\.21 to 81\.00 points"):
    bd_rate(_curve("cae", metric="ssimulacra2"), too_far)


def test_between_rates_a_curve_is_what_it_was_and_ends_there():
  curve = _curve()
  part = curves.between(curve, 0.3, 1.5)
  for cut, points in zip((part.mean, *part.per_image), (curve.mean, *curve.per_image)):
    assert (cut.rate_bpp[0], cut.rate_bpp[-1]) == (0.3, 1.5)
    inner = [pair for pair in zip(points.rate_bpp, points.quality) if 0.3 < pair[0] < 1.5]
    assert [*zip(cut.rate_bpp, cut.quality)][1:-1] == inner
    assert cut.quality[0] == curves.quality_at(points, 0.3)
  assert curves.between(curve, 1e-9, 1e9) == curve
  with pytest.raises(NotComparable, match="cae has nothing from 1000 to 2000 bits per pixel"):
    curves.between(_curve("cae"), 1000, 2000)


def test_bd_rates_of_a_range_are_of_that_range():
  """Where `bpg` takes less than a bit per pixel, `cae` takes half of it, else as many."""
  bpg = _rows("bpg", rates=[0.05 * 2**i for i in range(10)])
  rows = bpg + [
    dataclasses.replace(row, codec="cae", rate_bpp=row.rate_bpp / (2 if row.rate_bpp < 1 else 1))
    for row in bpg
  ]
  for bpp_range, expected in {(0.05, 0.4): -50, (3.2, 25.6): 0}.items():
    [found] = [r for r in bd_rates.compare(rows, (), bpp_range) if r.convention.metric == "psnr_db"]
    assert found.headline_percent == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
def test_methods_by_the_names_of_the_package(method):
  result = bd_rate(_curve(factors=(1.5,) * 3), _curve(), method)
  assert result.method == method
  assert result.headline_percent == pytest.approx(50)


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
def test_the_method_is_that_of_every_image(method):
  """Of a single image the mean curve is its own."""
  bent = [
    dataclasses.replace(row, psnr_db=row.psnr_db + row.setting % 2)
    for row in _rows("cae", images=("a",))
  ]
  result = bd_rate(measured_curve(bent, "cae"), _curve("bpg", images=("a",)), method)
  assert result.per_image_percent == pytest.approx((result.mean_curve_percent,))


def test_an_unknown_metric_is_named():
  with pytest.raises(ValueError, match=r"expected a metric of .* got 'vmaf'"):
    curves.Convention("vmaf", _IMAGES)


@pytest.mark.parametrize(
  ("anchor", "message"),
  [
    (_curve("bpg", images=("a", "b", "d")), r"expected curves of one convention, .*other images"),
    (_curve("bpg", metric="psnr_y_db"), r"and bpg: PSNR of Y, mean of per-image values, 3 images"),
    (_curve("bpg", rates=(0.1, 0.5, 2.0)), r"4 points or more on both curves, got 5 and 3 for the"),
    (
      _curve("bpg", shift_db=14),
      r"got 11\.07 to 37\.00 dB against 25\.07 to 51\.00 dB for the mean",
    ),
    (
      _curve("bpg", rates=(1.0, 1.05, 1.1, 1.2)),
      r"an overlap of 2 dB or more and 50 % of the narr",
    ),
  ],
)
def test_what_is_refused(anchor, message):
  with pytest.raises(NotComparable, match=message):
    bd_rate(_curve("cae"), anchor)


def test_too_little_overlap_on_one_image_is_refused_by_name():
  rows = [
    dataclasses.replace(row, psnr_db=row.psnr_db + 20) if row.image == "b" else row
    for row in _rows("bpg")
  ]
  with pytest.raises(NotComparable, match=r"against 31\.07 to 57\.00 dB for b; measure settings"):
    bd_rate(_curve("cae"), measured_curve(rows, "bpg"))


def test_a_wider_baseline_takes_nothing_from_the_overlap():
  wide = _curve("bpg", rates=(0.001, 0.01, 0.1, 1, 10, 100))
  assert bd_rate(_curve("cae"), wide).overlap_share == 1


def test_a_curve_has_the_settings_that_are_complete():
  rows = _rows("cae", rates=(*_RATES, 3.0, 4.0))
  rows = [r for r in rows if (r.setting, r.image) != (6, "b")]
  rows = [
    dataclasses.replace(r, psnr_db=math.inf, mse=0.0) if (r.setting, r.image) == (5, "a") else r
    for r in rows
  ]
  goal = {"matched_to": "x", "matched_setting": 1, "target_bytes": 5}
  rows += [dataclasses.replace(r, rate_bpp=9.0, **goal) for r in rows]
  rows += [Record("cae", None, None, status="not run")]
  rows += [dataclasses.replace(rows[0], setting=9, status="failed", psnr_db=None)]
  assert measured_curve(rows, "cae") == _curve()


def test_a_curve_is_of_the_last_version():
  assert measured_curve(_rows("cae", (3, 3, 3), version="0") + _rows("cae"), "cae") == _curve()


@pytest.mark.parametrize("rows", [[], _rows("cae")[:1] + _rows("cae", rates=(9, 8))[-1:]])
def test_no_complete_setting_is_no_curve(rows):
  with pytest.raises(NotComparable, match=r"cae has no setting with a finite PSNR of RGB on all"):
    measured_curve(rows, "cae")


def test_dominated_points_are_left_out_and_counted():
  pairs = [(0.5, 30.0), (0.1, 25.0), (0.6, 29.0), (0.5, 29.5), (0.7, 30.0), (1.0, 33.0)]
  assert rising_points(pairs) == Points((0.1, 0.5, 1.0), (25.0, 30.0, 33.0), 3)
  rows = [*_rows("cae"), *(_record("cae", 9, image, 1.5, 20.0) for image in _IMAGES)]
  result = bd_rate(measured_curve(rows, "cae"), _curve())
  assert (result.headline_percent, result.n_dominated) == (0, 4)
  assert "4 dominated points left out" in rd_tables.section([result], [])
  assert bd_rate(_curve(), measured_curve(rows, "cae")).n_dominated == 4


@pytest.mark.parametrize(
  ("rates", "values"),
  [
    ((), ()),
    ((1.0,), (30.0, 31.0)),
    ((0.0, 1.0), (30.0, 31.0)),
    ((2.0, 1.0), (30.0, 31.0)),
    ((1.0, 2.0), (30.0, 30.0)),
    ((1.0, 2.0), (30.0, math.inf)),
  ],
)
def test_points_that_make_no_curve(rates, values):
  with pytest.raises(NotComparable, match="expected one or more finite points, rates > 0"):
    Points(rates, values)


def test_bootstrap_agrees_with_scipys():
  values = np.random.default_rng(3).normal(-10, 4, 24)
  reference = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000)
  low, high = bd_rates.bootstrap_interval(values)
  expected = reference.confidence_interval
  assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.15)
  assert (low, high) == bd_rates.bootstrap_interval(values)
  assert bd_rates.bootstrap_interval(values[: bd_rates.LEAST_IMAGES - 1]) is None


def test_quality_at_a_rate_is_interpolated_and_never_extrapolated():
  points = _curve().mean
  assert curves.quality_at(points, 0.5) == pytest.approx(points.quality[2])
  assert curves.quality_at(points, 0.7) == pytest.approx(31 + 6 * math.log2(0.7), abs=1e-6)
  assert curves.quality_at(points, 0.09) is None
  assert curves.quality_at(points, 2.01) is None


def test_a_single_point_is_known_at_its_rate_alone():
  points = Points((0.5,), (30.0,))
  assert curves.quality_at(points, 0.5) == 30
  assert curves.quality_at(points, 0.51) is None


def test_baselines_at_our_rates_image_by_image():
  rows = _rows("cae", (0.5, 1.0, 2.0)) + _rows("bpg", (1, 1, 4)) + _rows("jpeg", images=("x",) * 3)
  row = next(x for x in _at_own_rates(rows) if x.setting == 2)
  assert (row.codec, row.n_images, row.value) == ("cae", 3, pytest.approx(25))
  assert row.rate_bpp == pytest.approx(0.5 * 3.5 / 3)
  # Image by image 6 dB less, the same and 6 dB less.
  assert row.baselines == {"bpg": pytest.approx(25 - 12 / 3)}


def test_our_rates_outside_a_baseline_have_no_value():
  rows = _rows("cae") + _rows("bpg", rates=(0.2, 0.3, 0.4, 1.0))
  values = [x.baselines["bpg"] for x in _at_own_rates(rows)]
  assert [value is None for value in values] == [True, False, False, False, True]


def test_compare_takes_every_codec_of_ours_with_enough_points():
  rows = _rows("cae") + _rows("paper", rates=(9.0,)) + _rows("bpg", (2, 2, 2))
  rows += _rows("webp", rates=(0.1, 0.2)) + _rows("jpeg", shift_db=30) + [Record("jxl", None, None)]
  results = bd_rates.compare(rows)
  pairs = [(r.test, r.anchor, type(r)) for r in results]
  assert pairs == [("cae", "jpeg", Refused), ("cae", "bpg", BdRate)] * len(curves.METRICS)
  assert [r.headline_percent for r in results[1::2]] == pytest.approx([-50] * len(curves.METRICS))


def test_weights_of_ours_are_compared_with_each_other_once():
  own = ("cae", "cae2", "cae2-effort1", "cae2-look0.5", "eye")
  rows = [row for codec in own for row in _rows(codec)] + _rows("bpg")
  results = [r for r in bd_rates.compare(rows) if r.convention.metric == "psnr_db"]
  assert [(r.test, r.anchor) for r in results if r.anchor != "bpg"] == [
    ("cae2", "cae"),
    ("eye", "cae"),
    ("eye", "cae2"),
  ]
  assert [r.test for r in results if r.anchor == "bpg"] == list(own)
  assert "| eye | cae2 | +0.0 % |" in rd_tables.section(results, [])


def test_weights_of_one_rate_that_share_a_name_make_one_curve():
  of_rate = lambda i, rate: [
    dataclasses.replace(row, setting=f"lmbda {rate}", version=f"weights {i}")
    for row in _rows("fixed", rates=(rate,))
  ]
  rows = [row for i, rate in enumerate(_RATES) for row in of_rate(i, rate)]
  assert len(measured_curve(rows, "fixed").mean) == len(_RATES)


def _kodak_rows():
  images = published.KODAK_IMAGES
  fields = {"images": images, "spread_db": 0}
  ours = _rows("cae", (1,) * 24, (0.25, 0.5, 1.0, 2.0), **fields)
  return ours + _rows("bpg", (2,) * 24, **fields)


def test_published_curves_are_compared_by_their_means_and_named():
  results = bd_rates.compare(_kodak_rows(), published.load(("vtm",)))
  (result,) = [r for r in results if r.anchor_source]
  assert result.convention.metric == "psnr_db"
  assert result.per_image_percent == ()
  assert result.interval == "—"
  assert result.headline == "BD-rate of the mean curves"
  assert result.headline_percent == result.mean_curve_percent > 100
  assert "(published: InterDigitalInc/CompressAI, " in str(result)


def test_json_is_plain_and_complete():
  result, refused = bd_rate(_curve("cae", (2, 2, 4)), _curve("bpg")), Refused("cae", "x", "m", "no")
  fields = json.loads(json.dumps(bd_rates.to_json(result), allow_nan=False))
  assert fields["headline_percent"] == pytest.approx(500 / 3)
  assert fields["per_image_percent"] == pytest.approx({"a": 100, "b": 100, "c": 300})
  expected = {
    "test": "cae",
    "anchor": "bpg",
    "method": "pchip",
    "metric": "psnr_db",
    "averaging": "mean of per-image values",
    "n_images": 3,
    "overlap_share": 1.0,
  }
  assert expected.items() <= fields.items()
  assert fields["overlap_range"] == pytest.approx([31 + 6 * math.log2(0.1), 37])
  assert fields["interval_percent"] is None
  assert fields["library"].startswith("bjontegaard 1.")
  assert bd_rates.to_json(refused)["reason"] == "no"


def test_section_of_measured_published_and_refused():
  rates, images = (0.7, 1.0, 1.5, 2.0), published.KODAK_IMAGES
  rows = _kodak_rows() + _rows("jpeg", (1,) * 24, rates, images, shift_db=90)
  results = bd_rates.compare(rows, published.load(("vtm", "elic2022")))
  text = rd_tables.section(results, bd_rates.at_own_rates(rows))
  measured, literature = text.split("### BD-rates against published curves")
  assert "published" not in measured
  assert "| cae | BPG | -50.0 % | -50.0 to -50.0 % (95 %) | -50.0 % |" in measured
  assert "PSNR of RGB, mean of per-image values, 24 images |" in measured
  assert "| cae | JPEG | refused (PSNR of RGB): expected an overlap of 2 dB" in measured
  assert "`pchip` of bjontegaard 1." in measured
  assert "| cae | VVC intra (VTM 9.1) (published: InterDigitalInc/" in literature
  assert "not measured here" in literature
  assert "| codec | setting | bpp | ours | JPEG | BPG |" in measured
  assert "| cae | 1 | 0.5000 | 24.00 | — | 18.00 |" in measured


def test_section_without_results_says_what_they_need():
  rows = _rows("paper", rates=(46.5,)) + _rows("bpg")
  text = rd_tables.section(bd_rates.compare(rows), bd_rates.at_own_rates(rows))
  assert text == (
    "### BD-rates\n\nNone: they need 4 rate points or more of a codec of ours, and of another "
    "one, at fixed settings.\n"
  )


def test_no_jax_is_needed():
  code = (
    "import sys, cae_jax.evaluation.rd.tables, cae_jax.evaluation.rd.published as p; p.load(); "
  )
  code += "assert not {'jax', 'flax'} & set(sys.modules)"
  subprocess.run([sys.executable, "-c", code], check=True)


def _measured(codec):
  """A curve of ../shared/reference: real files of a classical codec on the 24 Kodak images."""
  path = _SHARED / "kodak_lossy.json"
  if not path.exists():
    pytest.skip(f"no {path}")
  points = json.loads(path.read_text())[codec]["points"]
  images = published.KODAK_IMAGES
  rows = [
    _record(codec, point["quality"], images[i], bpp, psnr_db)
    for point in points
    for i, (bpp, psnr_db) in enumerate(point["per_image"])
  ]
  return measured_curve(rows, codec)


@pytest.mark.parametrize(
  ("codec", "percent"),
  [
    ("jpeg_420", 158),
    ("jpeg2000", 36),
    ("webp", 51),
    ("jxl", 76),
    ("heic_444_tune_psnr", 16),
    ("avif_444_tune_psnr", 2),
    ("bpg_420_x265", 7),
  ],
)
def test_bd_rates_against_bpg_as_they_were_reported(codec, percent):
  result = bd_rate(_measured(codec), _measured("bpg_444_x265"))
  assert result.headline_percent == pytest.approx(percent, abs=0.5)


def test_the_headline_does_not_hang_on_how_a_codec_spends_its_bits():
  anchor = _measured("bpg_444_x265")
  by_rate, by_quality = (
    bd_rate(_measured(codec), anchor) for codec in ("jpeg2000", "jpeg2000_fixed_psnr")
  )
  assert abs(by_rate.headline_percent - by_quality.headline_percent) < 2
  assert abs(by_rate.mean_curve_percent - by_quality.mean_curve_percent) > 30
