"""Rate-distortion curves: points with the convention they were averaged by, from records."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from cae_jax.errors import Error
from cae_jax.evaluation.records import Record, Setting, of_last_versions

MEAN_OF_IMAGES = "mean of per-image values"
METRICS: Mapping[str, str] = {
  "psnr_db": "PSNR of RGB",
  "psnr_y_db": "PSNR of Y",
  "ms_ssim_db": "MS-SSIM in dB",
}


class NotComparable(Error, ValueError):
  """Curves, or the records for one, that give no meaningful figure."""


@dataclasses.dataclass(frozen=True)
class Convention:
  """What the points of a curve are means of; only equal conventions are compared.

  The mean curve has the mean of the images' rates and of their qualities in dB.

  Attributes:
    metric: one of `METRICS`.
    images: their names, sorted.
  """

  metric: str
  images: tuple[str, ...]

  def __post_init__(self):
    if self.metric not in METRICS:
      raise ValueError(f"expected a metric of {list(METRICS)}, got {self.metric!r}")

  def __str__(self) -> str:
    return f"{METRICS[self.metric]}, {MEAN_OF_IMAGES}, {len(self.images)} images"


@dataclasses.dataclass(frozen=True)
class Points:
  """Points in order of rate; rate and quality both rise from each to the next.

  Attributes:
    rate_bpp: bits per pixel of whole files, > 0.
    quality_db: as many, finite.
    n_dominated: points left out because another has no more bits and no less quality.
  """

  rate_bpp: tuple[float, ...]
  quality_db: tuple[float, ...]
  n_dominated: int = 0

  def __post_init__(self):
    count, rates, values = len(self.rate_bpp), self.rate_bpp, self.quality_db
    good = 0 < count == len(values) and np.isfinite([rates, values]).all() and rates[0] > 0
    if not good or (np.diff([rates, values]) <= 0).any():
      raise NotComparable(
        "expected one or more finite points, rates > 0, rates and qualities rising; got "
        f"{rates} bpp and {values} dB; `rising_points` sorts and selects"
      )

  def __len__(self) -> int:
    return len(self.rate_bpp)


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
  """Sorts (bpp, dB) pairs into `Points`, without those that another one dominates."""
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
    The curve, with the points of every image; it may have a single point.
  Raises:
    NotComparable: no setting is complete.
    ValueError: unknown metric.
  """
  images, settings = complete_settings(records, codec, metric)
  convention = Convention(metric, images)
  if not settings:
    raise NotComparable(
      f"{codec} has no setting with a finite {METRICS[metric]} on all its {len(images)} images"
    )
  return Curve(
    name=codec,
    convention=convention,
    mean=rising_points(mean_point(rows, metric) for rows in settings.values()),
    per_image=tuple(
      rising_points(
        (rows[i].rate_bpp or 0.0, _quality(rows[i], metric)) for rows in settings.values()
      )
      for i in range(len(images))
    ),
  )


def quality_at(points: Points, rate_bpp: float) -> float | None:
  """Interpolates a curve's quality at a rate, by PCHIP over log rate; None outside of it."""
  if not points.rate_bpp[0] <= rate_bpp <= points.rate_bpp[-1]:
    return None
  if len(points) == 1:
    return points.quality_db[0]
  return float(PchipInterpolator(np.log(points.rate_bpp), points.quality_db)(math.log(rate_bpp)))


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
  """In dB; nan where the record has none."""
  value = record.ms_ssim if metric == "ms_ssim_db" else getattr(record, metric)
  if value is None:
    return math.nan
  return ms_ssim_db(value) if metric == "ms_ssim_db" else value


def mean_point(rows: Sequence[Record], metric: str) -> tuple[float, float]:
  """Averages rows: mean rate in bpp, and mean of the images' qualities in dB."""
  rate_bpp = statistics.fmean(row.rate_bpp or 0.0 for row in rows)
  return rate_bpp, statistics.fmean(_quality(row, metric) for row in rows)
