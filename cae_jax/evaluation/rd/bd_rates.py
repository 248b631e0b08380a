"""Rate-distortion curves of records, BD-rates between them, and baselines at our rates.

A BD-rate (Bjøntegaard, VCEG-M33, 2001) is the mean relative difference in rate at equal quality. It
depends on more than the two codecs: on the interpolation, on the range of quality that both curves
cover, and on how images were averaged. So every result carries all three, and curves that differ in
convention, or overlap too little, are refused.

The mean of the per-image BD-rates is the headline wherever both sides have points of every image: a
codec held at one rate for all images and one held at one quality cannot be compared by their mean
curves. One JPEG 2000 encoder reads +24 % or +60 % against BPG by the mean curves, depending on that
alone, and +36 % or +38 % by the mean of its per-image BD-rates.
"""

import dataclasses
import importlib.metadata
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import bjontegaard
import numpy as np

from cae_jax.evaluation.names import in_order, is_baseline, is_plain
from cae_jax.evaluation.rd.curves import (
  METRICS,
  Convention,
  Curve,
  Metric,
  NotComparable,
  Points,
  between,
  complete_settings,
  mean_point,
  measured_curve,
  quality_at,
)
from cae_jax.evaluation.records import Record, Setting

# As the package bjontegaard names it: piecewise cubic Hermite of log10(rate) over quality.
METHOD = "pchip"
MIN_POINTS = 4
# Of the narrower curve's range of quality; a baseline measured far beyond ours takes nothing away.
MIN_OVERLAP_SHARE = 0.5
INTERVAL_LEVEL = 0.95
LEAST_IMAGES = 8  # of an interval
LIBRARY = f"bjontegaard {importlib.metadata.version('bjontegaard')}"


@dataclasses.dataclass(frozen=True)
class BdRate:
  """Rate of `test` over that of `anchor` at equal quality, less one, in percent; below 0 is better.

  Attributes:
    test, anchor: names of the curves.
    convention: of both curves.
    method: of the interpolation, as the package bjontegaard names it.
    overlap_range: the values of the metric both mean curves cover, over which they were integrated.
    overlap_share: that range over the narrower curve's.
    mean_curve_percent: BD-rate of the mean curves.
    per_image_percent: BD-rate of each image, in the order of `convention.images`; empty where one
      side has no points of the images.
    per_image_overlap_range: the range of each of those.
    interval_percent: bootstrap interval of the mean of `per_image_percent`; None below
      `LEAST_IMAGES`.
    n_dominated: points left out on both sides, see `Points`.
    anchor_source: where the anchor was published; empty if it was measured here.
  """

  test: str
  anchor: str
  convention: Convention
  method: str
  overlap_range: tuple[float, float]
  overlap_share: float
  mean_curve_percent: float
  per_image_percent: tuple[float, ...] = ()
  per_image_overlap_range: tuple[tuple[float, float], ...] = ()
  interval_percent: tuple[float, float] | None = None
  n_dominated: int = 0
  anchor_source: str = ""

  @property
  def headline_percent(self) -> float:
    """Mean of the per-image BD-rates, or the mean curves' where there are none."""
    return statistics.fmean(self.per_image_percent or (self.mean_curve_percent,))

  @property
  def headline(self) -> str:
    """What `headline_percent` is."""
    count = len(self.per_image_percent)
    return f"mean of {count} per-image BD-rates" if count else "BD-rate of the mean curves"

  @property
  def interval(self) -> str:
    """The interval with its level, in words; a dash where there is none."""
    if self.interval_percent is None:
      return "—"
    low, high = self.interval_percent
    return f"{low:+.1f} to {high:+.1f} % ({100 * INTERVAL_LEVEL:g} %)"

  @property
  def overlap(self) -> str:
    """The overlap of the mean curves, and the narrowest of the images, in words."""
    metric = METRICS[self.convention.metric]
    share = f"{100 * self.overlap_share:.0f} % of the narrower curve"
    words = f"{metric.in_words(*self.overlap_range)} ({share})"
    if not self.per_image_percent:
      return words
    narrowest = min(high - low for low, high in self.per_image_overlap_range)
    return f"{words}; narrowest image {narrowest:.{metric.digits}f}{metric.unit}"

  def __str__(self) -> str:
    published = f" (published: {self.anchor_source})" if self.anchor_source else ""
    return (
      f"{self.test} against {self.anchor}{published}: {self.headline_percent:+.2f} % "
      f"({self.headline}), interval {self.interval}; mean curves {self.mean_curve_percent:+.2f} %; "
      f"{self.method}; {self.convention}; overlap {self.overlap}"
    )


@dataclasses.dataclass(frozen=True)
class Refused:
  """A comparison that was not made; `reason` says why, the rest is as in `BdRate`."""

  test: str
  anchor: str
  metric: str
  reason: str
  anchor_source: str = ""


@dataclasses.dataclass(frozen=True)
class AtRate:
  """One of our settings, and the baselines interpolated at its rates.

  Attributes:
    codec, setting: ours.
    metric: one of `METRICS`.
    n_images: how many the values are means of.
    rate_bpp, value: means over the images.
    baselines: by codec, the mean of the values at each image's own rate (of a metric of sets, the
      value at the mean rate); None where that rate lies outside the baseline's curve.
  """

  codec: str
  setting: Setting | None
  metric: str
  n_images: int
  rate_bpp: float
  value: float
  baselines: Mapping[str, float | None]


def bd_rate(test: Curve, anchor: Curve, method: str = METHOD) -> BdRate:
  """Returns the BD-rate of one curve against another, by the package bjontegaard.

  Args:
    test, anchor: curves of one convention; a negative result means fewer bits for `test`.
    method: "pchip", "akima" or "cubic" (the original, a single polynomial), as the package has it.
  Returns:
    Both figures, the mean of the per-image BD-rates (where both curves have them) and that of the
    mean curves, with all they depend on.
  Raises:
    NotComparable: the conventions differ, a curve has too few points, or the curves overlap too
      little, on the mean curves or on some image.
  """
  _check_convention(test, anchor)
  metric = METRICS[test.convention.metric]
  overlap_range, share, mean_percent = _bd(
    test.mean, anchor.mean, "the mean curves", method, metric
  )
  parts = []
  if test.per_image and anchor.per_image:
    names = test.convention.images
    for name, ours, theirs in zip(names, test.per_image, anchor.per_image, strict=True):
      parts.append(_bd(ours, theirs, name, method, metric))
  percents = tuple(percent for _, _, percent in parts)
  used = (test.mean, anchor.mean, *(test.per_image + anchor.per_image if parts else ()))
  return BdRate(
    test=test.name,
    anchor=anchor.name,
    convention=test.convention,
    method=method,
    overlap_range=overlap_range,
    overlap_share=share,
    mean_curve_percent=mean_percent,
    per_image_percent=percents,
    per_image_overlap_range=tuple(overlap for overlap, _, _ in parts),
    interval_percent=bootstrap_interval(percents),
    n_dominated=sum(points.n_dominated for points in used),
    anchor_source=anchor.source,
  )


def bootstrap_interval(
  values: Sequence[float], level: float = INTERVAL_LEVEL, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
  """Returns the percentile bootstrap interval of the mean (Efron 1979); None for few values.

  It says how much the mean hangs on the choice of images, not how exact each value is. Of fewer
  values than `LEAST_IMAGES` it would hold the true mean in 50 to 80 % of cases, not in 95.
  """
  if len(values) < LEAST_IMAGES:
    return None
  draws = np.random.default_rng(seed).integers(len(values), size=(n_resamples, len(values)))
  means = np.asarray(values, np.float64)[draws].mean(axis=1)
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def at_own_rates(records: Sequence[Record]) -> list[AtRate]:
  """Interpolates each baseline at the rates of every setting of our codecs, image by image.

  Args:
    records: any; at fixed settings.
  Returns:
    Under every metric, in order of codec and rate; baselines of other images are left out.
  """
  return [row for metric in METRICS for row in _at_own_rates(records, metric)]


def compare(
  records: Sequence[Record],
  published: Sequence[Curve] = (),
  bpp_range: tuple[float, float] | None = None,
) -> list[BdRate | Refused]:
  """Compares every codec of ours with every baseline, under every metric, by BD-rates.

  Weights of ours are also compared with each other, every two once: the one whose name comes later
  against the other, without efforts and looks.

  Args:
    records: any; codecs with fewer than `MIN_POINTS` points at fixed settings are passed over.
    published: further anchors, compared in the metric they have.
    bpp_range: both curves count between these rates alone; all of them if None.
  Returns:
    A result for each pair, by metric; a pair that cannot be compared is a `Refused`.
  """
  result = []
  for metric in METRICS:
    own, measured = (_long_enough(curves) for curves in _curves(records, metric))
    literature = [curve for curve in published if curve.convention.metric == metric]
    plain = [curve for curve in own if is_plain(curve.name)]
    for test in own:
      earlier = plain[: plain.index(test)] if test in plain else []
      others = (*earlier, *measured, *literature)
      result += [_try(test, anchor, bpp_range) for anchor in others]
  return result


def to_json(result: BdRate | Refused) -> dict[str, Any]:
  """Returns a result as summary.json has it: plain types, per-image values by image name."""
  fields = dataclasses.asdict(result)
  if isinstance(result, Refused):
    return fields
  names = fields["convention"].pop("images")
  ranges = fields.pop("per_image_overlap_range")
  return {
    **fields.pop("convention"),
    "averaging": result.convention.averaging,
    "n_images": len(names),
    "headline": result.headline,
    "headline_percent": result.headline_percent,
    "interval_level": INTERVAL_LEVEL,
    "library": LIBRARY,
    **fields,
    "per_image_percent": dict(zip(names, result.per_image_percent)),
    "per_image_overlap_range": dict(zip(names, ranges)),
  }


def _at_own_rates(records: Sequence[Record], metric: str) -> list[AtRate]:
  own, baselines = _curves(records, metric)
  result = []
  for curve in own:
    images, settings = complete_settings(records, curve.name, metric)
    others = [other for other in baselines if other.convention.images == images]
    for setting, rows in settings.items():
      rate_bpp, quality = mean_point(rows, metric)
      values = {other.name: _mean_at(other, rows) for other in others}
      value = METRICS[metric].sign * quality
      result.append(AtRate(curve.name, setting, metric, len(images), rate_bpp, value, values))
  return sorted(result, key=lambda row: (row.codec, row.rate_bpp))


def _mean_at(curve: Curve, rows: Sequence[Record]) -> float | None:
  metric = METRICS[curve.convention.metric]
  if metric.of_set:
    rate_bpp, _ = mean_point(rows, curve.convention.metric)
    values = [quality_at(curve.mean, rate_bpp)]
  else:
    values = [quality_at(points, row.rate_bpp or 0.0) for points, row in zip(curve.per_image, rows)]
  known = [value for value in values if value is not None]
  return metric.sign * statistics.fmean(known) if len(known) == len(values) else None


def _curves(records: Sequence[Record], metric: str) -> tuple[list[Curve], list[Curve]]:
  """Our curves and the baselines', of the codecs that have one."""
  own: list[Curve] = []
  baselines: list[Curve] = []
  for codec in in_order(record.codec for record in records if record.image):
    try:
      curve = measured_curve(records, codec, metric)
    except NotComparable:
      continue
    (baselines if is_baseline(codec) else own).append(curve)
  return own, baselines


def _long_enough(curves: Sequence[Curve]) -> list[Curve]:
  return [curve for curve in curves if len(curve.mean) >= MIN_POINTS]


def _try(test: Curve, anchor: Curve, bpp_range: tuple[float, float] | None) -> BdRate | Refused:
  try:
    if bpp_range is not None:
      test, anchor = (between(curve, *bpp_range) for curve in (test, anchor))
    return bd_rate(test, anchor)
  except NotComparable as error:
    return Refused(test.name, anchor.name, test.convention.metric, str(error), anchor.source)


def _check_convention(test: Curve, anchor: Curve) -> None:
  if test.convention == anchor.convention:
    return
  same_words = str(test.convention) == str(anchor.convention)
  detail = " (other images)" if same_words else ""
  raise NotComparable(
    f"expected curves of one convention, got {test.name}: {test.convention}, and {anchor.name}: "
    f"{anchor.convention}{detail}; measure both on the same images and average them alike"
  )


def _bd(
  test: Points, anchor: Points, what: str, method: str, metric: Metric
) -> tuple[tuple[float, float], float, float]:
  """Overlap in the metric's values, its share of the narrower curve, and the BD-rate in percent."""
  if min(len(test), len(anchor)) < MIN_POINTS:
    raise NotComparable(
      f"expected {MIN_POINTS} points or more on both curves, got {len(test)} and {len(anchor)} "
      f"for {what}; measure more settings"
    )
  ends = [(points.quality[0], points.quality[-1]) for points in (test, anchor)]
  low, high = max(first for first, _ in ends), min(last for _, last in ends)
  share = (high - low) / min(last - first for first, last in ends)
  if share < MIN_OVERLAP_SHARE or high - low < metric.min_overlap:
    ours, theirs = (metric.in_words(*metric.range(*pair)) for pair in ends)
    raise NotComparable(
      f"expected an overlap of {metric.min_overlap:g}{metric.unit} or more and "
      f"{100 * MIN_OVERLAP_SHARE:g} % of the narrower curve, got {ours} against {theirs} for "
      f"{what}; measure settings of the same qualities"
    )
  percent = bjontegaard.bd_rate(
    anchor.rate_bpp,
    anchor.quality,
    test.rate_bpp,
    test.quality,
    method,
    require_matching_points=False,
    min_overlap=0,  # checked above, with an error instead of a warning
  )
  return metric.range(low, high), share, float(percent)
