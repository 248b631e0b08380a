"""The published curves: complete, with their sources, and a BD-rate derived by another route."""

import json
import pathlib

import numpy as np
import pytest

from cae_jax.evaluation.rd import published
from cae_jax.evaluation.rd.bd_rates import bd_rate

_SHARED = pathlib.Path(__file__).parents[3] / "shared" / "reference" / "kodak"


@pytest.mark.parametrize("name", published.names())
def test_every_curve_has_its_source_and_convention(name):
  (curve,) = published.load((name,))
  assert curve.published
  assert "/" in curve.source
  assert curve.per_image == ()
  assert len(curve.mean) >= 5
  assert 0.02 < curve.mean.rate_bpp[0] < curve.mean.rate_bpp[-1] < 5
  assert 24 < curve.mean.quality[0] < curve.mean.quality[-1] < 50
  expected = "PSNR of RGB, mean of per-image values, 24 images"
  assert str(curve.convention) == expected


@pytest.mark.parametrize("name", published.names())
def test_the_points_are_those_of_the_reference(name):
  path = _SHARED / f"{name}.json"
  if not path.exists():
    pytest.skip(f"no {path}")
  reference = json.loads(path.read_text())
  (curve,) = published.load((name,))
  assert list(curve.mean.rate_bpp) == reference["bpp"]
  assert list(curve.mean.quality) == reference["psnr_db"]
  assert curve.source == reference["source"]


def test_an_unknown_curve_is_named():
  with pytest.raises(ValueError, match=r"no published curve 'nothing'; there are bmshj2018-fact"):
    published.load(("vtm", "nothing"))


@pytest.mark.parametrize(
  "change", [{"dataset": "clic"}, {"metric": "ms_ssim"}, {"averaging": "median"}, {"source": ""}]
)
def test_a_curve_of_another_convention_is_refused(change):
  fields = {
    "label": "x",
    "dataset": "kodak",
    "metric": "psnr_db (RGB, 8 bit)",
    "averaging": "mean of per-image PSNR",
    "source": "a/b",
    "bpp": [0.1, 0.2],
    "psnr_db": [30.0, 31.0],
  }
  assert published._parse("x", json.dumps(fields)).mean.rate_bpp == (0.1, 0.2)
  with pytest.raises(ValueError, match=r"x\.json: expected dataset kodak, a metric of .* a source"):
    published._parse("x", json.dumps(fields | change))


@pytest.mark.parametrize(
  ("dataset", "images", "count"),
  [
    ("kodak", published.KODAK_IMAGES, len(published.DRAWN)),
    ("kodak/all", reversed(published.KODAK_IMAGES), len(published.DRAWN)),
    ("kodak/paper", published.KODAK_IMAGES[17:], 0),
    ("photos", published.KODAK_IMAGES, 0),
    ("kodak", (*published.KODAK_IMAGES, "another"), 0),
  ],
)
def test_only_all_24_kodak_images_have_published_curves(dataset, images, count):
  assert len(published.load_for(dataset, images)) == count


def _pchip(x, y, at):
  """Fritsch and Carlson's monotone cubic, written out: weighted harmonic means as inner slopes."""
  h, d = np.diff(x), np.diff(y) / np.diff(x)
  left, right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
  inner = (left + right) / (left / d[:-1] + right / d[1:])
  first = _end(h[0], h[1], d[0], d[1])
  last = _end(h[-1], h[-2], d[-1], d[-2])
  slopes = np.concatenate([[first], inner, [last]])
  i = np.clip(np.searchsorted(x, at) - 1, 0, len(h) - 1)
  t = (at - x[i]) / h[i]
  from_values = y[i] * (1 + 2 * t) * (1 - t) ** 2 + y[i + 1] * t**2 * (3 - 2 * t)
  return from_values + h[i] * (slopes[i] * t * (1 - t) ** 2 + slopes[i + 1] * t**2 * (t - 1))


def _end(h0, h1, d0, d1):
  """The one-sided three-point slope; of rising points it must rise, by no more than 3 d0."""
  return np.clip(((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1), 0, 3 * d0)


@pytest.mark.parametrize("name", [name for name in published.names() if name != "vtm"])
def test_bd_rate_by_numerical_integration(name):
  test, anchor = published.load((name, "vtm"))
  result = bd_rate(test, anchor)
  quality = np.linspace(*result.overlap_range, 200_001)
  logs = [
    _pchip(np.array(curve.mean.quality), np.log(curve.mean.rate_bpp), quality)
    for curve in (test, anchor)
  ]
  mean_log_ratio = np.trapezoid(logs[0] - logs[1], quality) / np.ptp(quality)
  assert result.mean_curve_percent == pytest.approx(100 * np.expm1(mean_log_ratio), abs=1e-4)
  assert result.headline_percent == result.mean_curve_percent
