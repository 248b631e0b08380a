"""Rate-distortion curves: points with the convention they were averaged by, from records."""

import dataclasses
import math
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from cae_jax.errors import Error
from cae_jax.evaluation.records import Record, Setting, of_last_versions

MEAN_OF_IMAGES = "mean of per-image values"
ALL_AT_ONCE = "all images at once"


class NotComparable(Error, ValueError):
  """Curves, or the records for one, that give no meaningful figure."""


@dataclasses.dataclass(frozen=True)
class Metric:
  """What a curve has above its rates.

  Attributes:
    words: its name.
    of: its value of a record; None where the record has none.
    axis: title of its axis where it is drawn; empty if it is not.
    unit: after a number, with the space between them; empty where there is none.
    min_overlap: how far curves must overlap for a BD-rate, in its unit.
    sign: 1, or -1 where less is better. Quality is sign * value, so that it rises with the rate.
    of_set: its value is of all images at once, the same in each record; no image has its own curve.
    digits: after the point, where it is written.
  """

  words: str
  of: Callable[[Record], float | None]
  axis: str = ""
  unit: str = " dB"
  min_overlap: float = 2.0
  sign: int = 1
  of_set: bool = False
  digits: int = 2

  def range(self, low: float, high: float) -> tuple[float, float]:
    """Returns a range of quality as values of the metric, the smaller one first."""
    return (low, high) if self.sign > 0 else (-high, -low)

  def in_words(self, low: float, high: float) -> str:
    """Writes a range of values."""
    return f"{low:.{self.digits}f} to {high:.{self.digits}f}{self.unit}"


def _ms_ssim_db_of(record: Record) -> float | None:
  return None if record.ms_ssim is None else ms_ssim_db(record.ms_ssim)


METRICS: Mapping[str, Metric] = {
  "psnr_db": Metric("PSNR of RGB", operator.attrgetter("psnr_db"), "PSNR of RGB (dB)"),
  "psnr_y_db": Metric("PSNR of Y", operator.attrgetter("psnr_y_db")),
  "ms_ssim_db": Metric("MS-SSIM in dB", _ms_ssim_db_of, "MS-SSIM (dB)"),
  "ssimulacra2": Metric(
    "SSIMULACRA2", operator.attrgetter("ssimulacra2"), "SSIMULACRA2", " points", 10.0
  ),
  "butteraugli_3norm": Metric(
    "Butteraugli 3-norm",
    operator.attrgetter("butteraugli_3norm"),
    "Butteraugli 3-norm (less is better)",
    unit="",
    min_overlap=0.5,
    sign=-1,
  ),
  "dists": Metric(
    "DISTS, uniform weights",
    operator.attrgetter("dists"),
    "DISTS, uniform weights (less is better)",
    unit="",
    min_overlap=0.02,
    sign=-1,
    digits=4,
  ),
  "wasserstein": Metric(
    "Wasserstein distortion",
    operator.attrgetter("wasserstein"),
    "Wasserstein distortion (less is better)",
    unit="",
    min_overlap=0.005,
    sign=-1,
    digits=4,
  ),
  "kid": Metric(
    "KID",
    operator.attrgetter("kid"),
    "KID of all images (less is better)",
    unit="",
    min_overlap=0.05,
    sign=-1,
    of_set=True,
    digits=3,
  ),
}


@dataclasses.dataclass(frozen=True)
class Convention:
  """What the points of a curve are means of; only equal conventions are compared.

  The mean curve has the mean of the images' rates and of their qualities, or the quality of all at
  once (`Metric.of_set`).

  Attributes:
    metric: one of `METRICS`.
    images: their names, sorted.
  """

  metric: str
  images: tuple[str, ...]

  def __post_init__(self):
    if self.metric not in METRICS:
      raise ValueError(f"expected a metric of {list(METRICS)}, got {self.metric!r}")

  @property
  def averaging(self) -> str:
    """How a point's value comes from the images."""
    return ALL_AT_ONCE if METRICS[self.metric].of_set else MEAN_OF_IMAGES

  def __str__(self) -> str:
    return f"{METRICS[self.metric].words}, {self.averaging}, {len(self.images)} images"


@dataclasses.dataclass(frozen=True)
class Points:
  """Points in order of rate; rate and quality both rise from each to the next.

  Attributes:
    rate_bpp: bits per pixel of whole files, > 0.
    quality: as many, finite; of a metric where less is better it is negative (`Metric.sign`).
    n_dominated: points left out because another has no more bits and no less quality.
  """

  rate_bpp: tuple[float, ...]
  quality: tuple[float, ...]
  n_dominated: int = 0

  def __post_init__(self):
    count, rates, values = len(self.rate_bpp), self.rate_bpp, self.quality
    good = 0 < count == len(values) and np.isfinite([rates, values]).all() and rates[0] > 0
    if not good or (np.diff([rates, values]) <= 0).any():
      raise NotComparable(
        "expected one or more finite points, rates > 0, rates and qualities rising; got "
        f"{rates} bpp and qualities {values}; `rising_points` sorts and selects"
      )

  def __len__(self) -> int:
    return len(self.rate_bpp)


class SettingPoint(NamedTuple):
  """What one setting gives, of an image or in the mean; to be drawn, dominated or not.

  Attributes:
    rate_bpp: bits per pixel of whole files.
    value: of the metric as it is, also where less is better.
    setting: the codec's own.
  """

  rate_bpp: float
  value: float
  setting: Setting | None


@dataclasses.dataclass(frozen=True)
class Curve:
  """The rate-distortion curve of a codec.

  Attributes:
    name: of the codec.
    convention: what the mean points are means of.
    mean: the points of the means.
    per_image: the points of each image, in the order of `convention.images`; empty if unknown.
    source: where the points were published; empty for a curve measured here.
  """

  name: str
  convention: Convention
  mean: Points
  per_image: tuple[Points, ...] = ()
  source: str = ""

  @property
  def published(self) -> bool:
    """Whether the curve was read from a publication, not measured here."""
    return bool(self.source)


def ms_ssim_db(ms_ssim: float) -> float:
  """Returns -10 log10(1 - MS-SSIM), which spreads the values near one; inf at one."""
  return -10 * math.log10(1 - ms_ssim) if ms_ssim < 1 else math.inf


def rising_points(pairs: Iterable[tuple[float, float]]) -> Points:
  """Sorts (bpp, quality) pairs into `Points`, without those that another one dominates."""
  ordered = sorted(set(pairs), key=lambda pair: (pair[0], -pair[1]))
  kept = ordered[:1]
  for pair in ordered[1:]:
    if pair[1] > kept[-1][1]:
      kept.append(pair)
  rates, values = tuple(rate for rate, _ in kept), tuple(value for _, value in kept)
  return Points(rates, values, len(ordered) - len(kept))


def measured_curve(records: Sequence[Record], codec: str, metric: str = "psnr_db") -> Curve:
  """Builds the curve of one codec from its rows at fixed settings.

  Args:
    records: any; of the codec those of its last version count, and of its settings those that are
      measured, with a finite value, on every image any of them is measured on.
    codec: its name.
    metric: one of `METRICS`.
  Returns:
    The curve, with the points of every image but of a metric of sets; it may have a single point.
  Raises:
    NotComparable: no setting is complete.
    ValueError: unknown metric.
  """
  images, settings = complete_settings(records, codec, metric)
  convention = Convention(metric, images)
  if not settings:
    raise NotComparable(
      f"{codec} has no setting with a finite {METRICS[metric].words} on all its {len(images)} "
      "images"
    )
  return Curve(
    name=codec,
    convention=convention,
    mean=rising_points(mean_point(rows, metric) for rows in settings.values()),
    per_image=tuple(
      rising_points(
        (rows[i].rate_bpp or 0.0, _quality(rows[i], metric)) for rows in settings.values()
      )
      for i in range(0 if METRICS[metric].of_set else len(images))
    ),
  )


def quality_at(points: Points, rate_bpp: float) -> float | None:
  """Interpolates a curve's quality at a rate, by PCHIP over log rate; None outside of it."""
  if not points.rate_bpp[0] <= rate_bpp <= points.rate_bpp[-1]:
    return None
  if len(points) == 1:
    return points.quality[0]
  return float(PchipInterpolator(np.log(points.rate_bpp), points.quality)(math.log(rate_bpp)))


def mean_points(records: Sequence[Record], metric: str) -> dict[str, list[SettingPoint]]:
  """Averages the settings of all codecs over the images, to be drawn beside each other.

  Args:
    records: any; of each codec what `measured_curve` takes, but with dominated settings.
    metric: one of `METRICS`.
  Returns:
    codec -> its points in order of rate. A codec that was not measured on all images, of those
    that any was measured on, has none: its means are of other images, and do not compare.
  """
  codecs = dict.fromkeys(record.codec for record in records)
  measured = {codec: complete_settings(records, codec, metric) for codec in codecs}
  count = len({image for images, _ in measured.values() for image in images})
  sign, result = METRICS[metric].sign, {}
  for codec, (images, settings) in measured.items():
    if settings and len(images) == count:
      means = [(*mean_point(rows, metric), setting) for setting, rows in settings.items()]
      points = [SettingPoint(rate_bpp, sign * quality, s) for rate_bpp, quality, s in means]
      result[codec] = sorted(points, key=operator.itemgetter(0, 1))
  return result


def between(curve: Curve, low_bpp: float, high_bpp: float) -> Curve:
  """Cuts a curve to the part between two rates, whose ends are interpolated as `quality_at` does.

  Raises:
    NotComparable: nothing of it, or of one of its images, lies there.
  """
  cut = lambda points: _cut(points, low_bpp, high_bpp, curve.name)
  return dataclasses.replace(
    curve, mean=cut(curve.mean), per_image=tuple(map(cut, curve.per_image))
  )


def _cut(points: Points, low_bpp: float, high_bpp: float, name: str) -> Points:
  within = [pair for pair in zip(points.rate_bpp, points.quality) if low_bpp < pair[0] < high_bpp]
  ends = [(rate, quality_at(points, rate)) for rate in (low_bpp, high_bpp)]
  kept = [*within, *((rate, value) for rate, value in ends if value is not None)]
  if not kept:
    raise NotComparable(f"{name} has nothing from {low_bpp:g} to {high_bpp:g} bits per pixel")
  return dataclasses.replace(rising_points(kept), n_dominated=points.n_dominated)


def complete_settings(
  records: Sequence[Record], codec: str, metric: str
) -> tuple[tuple[str, ...], dict[Setting | None, list[Record]]]:
  """Returns what a curve is made of; arguments as in `measured_curve`.

  Returns:
    The codec's images, sorted; and setting -> its rows in the order of the images.
  """
  fixed = [r for r in records if r.codec == codec and r.matched_to is None and r.image and r.ok]
  last = of_last_versions(fixed)
  by_setting: dict[Setting | None, dict[str, Record]] = {}
  for record in last:
    by_setting.setdefault(record.setting, {})[record.image or ""] = record
  images = tuple(sorted({record.image or "" for record in last}))
  rows = {
    setting: [found[name] for name in images]
    for setting, found in by_setting.items()
    if len(found) == len(images)
  }
  finite = {s: r for s, r in rows.items() if all(math.isfinite(_quality(x, metric)) for x in r)}
  return images, finite


def _quality(record: Record, metric: str) -> float:
  """Rises with the rate; nan where the record has none."""
  value = METRICS[metric].of(record)
  return math.nan if value is None else METRICS[metric].sign * value


def mean_point(rows: Sequence[Record], metric: str) -> tuple[float, float]:
  """Averages rows: mean rate in bpp, and mean of the images' qualities."""
  rate_bpp = statistics.fmean(row.rate_bpp or 0.0 for row in rows)
  return rate_bpp, statistics.fmean(_quality(row, metric) for row in rows)
