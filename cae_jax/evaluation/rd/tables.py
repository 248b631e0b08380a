"""Tables of BD-rates and of the baselines interpolated at our rates, and their Markdown."""

from collections.abc import Sequence
from typing import NamedTuple

from cae_jax.evaluation.names import in_order, label
from cae_jax.evaluation.rd.bd_rates import (
  INTERVAL_LEVEL,
  LIBRARY,
  METHOD,
  MIN_POINTS,
  AtRate,
  BdRate,
  Refused,
)
from cae_jax.evaluation.rd.curves import METRICS, Metric
from cae_jax.evaluation.tables import markdown, number

_HEAD = (
  "codec",
  "against",
  "BD-rate",
  "interval",
  "BD-rate of the mean curves",
  "overlap of the curves",
  "convention",
)
_PUBLISHED_WORDS = (
  "Points of the literature, published and not measured here; only their means over the images are "
  "known, so these are BD-rates of the mean curves alone."
)


class Table(NamedTuple):
  """A table of text; without rows the words say what is missing."""

  title: str
  words: str
  head: tuple[str, ...]
  rows: list[tuple[str, ...]]


def section(
  results: Sequence[BdRate | Refused],
  rows: Sequence[AtRate],
  bpp_range: tuple[float, float] | None = None,
) -> str:
  """Writes the part of table.md on rate-distortion; arguments as in `tables`.

  Returns:
    Markdown; with no results it says what they need.
  """
  parts = []
  for table in tables(results, rows, bpp_range):
    parts += [f"### {table.title}", table.words]
    parts += [markdown(table.head, table.rows)] if table.rows else []
  return "\n\n".join(parts) + "\n"


def tables(
  results: Sequence[BdRate | Refused],
  rows: Sequence[AtRate],
  bpp_range: tuple[float, float] | None = None,
) -> list[Table]:
  """Builds three tables: BD-rates, baselines at our rates, BD-rates against published curves.

  Args:
    results: of `bd_rates.compare`.
    rows: of `bd_rates.at_own_rates`.
    bpp_range: as `bd_rates.compare` was given it.
  """
  measured = [_row(result) for result in results if not result.anchor_source]
  published = [_row(result) for result in results if result.anchor_source]
  title = "BD-rates"
  if bpp_range is not None:
    title += " from {:g} to {:g} bits per pixel".format(*bpp_range)
  result = [Table(title, _legend() if results else _needs(), _HEAD, measured)]
  result += _at_rates(rows)
  if published:
    result.append(Table(f"{title} against published curves", _PUBLISHED_WORDS, _HEAD, published))
  return result


def _legend() -> str:
  return (
    "Rate of the codec over that of the other one at equal quality, less one; negative means fewer "
    "bits. Interpolation of the logarithm of the rate over quality: "
    f"`{METHOD}` of {LIBRARY}, over the overlap of the two curves, nothing extrapolated. “BD-rate” "
    f"is the mean of the per-image BD-rates, its interval a {100 * INTERVAL_LEVEL:g} % percentile "
    "bootstrap over the images; the mean curves (mean bpp, mean quality) stand beside it. Rates "
    "are of whole files."
  )


def _needs() -> str:
  return (
    f"None: they need {MIN_POINTS} rate points or more of a codec of ours, and of another one, at "
    "fixed settings."
  )


def _row(result: BdRate | Refused) -> tuple[str, ...]:
  against = label(result.anchor)
  if result.anchor_source:
    against += f" (published: {result.anchor_source})"
  if isinstance(result, Refused):
    words = f"refused ({METRICS[result.metric].words}): {result.reason}"
    return label(result.test), against, words, *("",) * (len(_HEAD) - 3)
  dominated = f"; {result.n_dominated} dominated points left out" if result.n_dominated else ""
  return (
    label(result.test),
    against,
    f"{result.headline_percent:+.1f} %" if result.per_image_percent else "—",
    result.interval,
    f"{result.mean_curve_percent:+.1f} %",
    result.overlap + dominated,
    str(result.convention),
  )


def _at_rates(rows: Sequence[AtRate]) -> list[Table]:
  """A table for each metric; nothing where no baseline reaches any of our rates."""
  result = []
  for metric in dict.fromkeys(row.metric for row in rows):
    of_metric = [row for row in rows if row.metric == metric]
    inside = [row for row in of_metric if set(row.baselines.values()) - {None}]
    if inside:
      codecs = in_order(codec for row in inside for codec in row.baselines)
      head = ("codec", "setting", "bpp", "ours", *map(label, codecs))
      title = f"Baselines interpolated at our rates, {METRICS[metric].words}"
      cells = [_at_rate_row(row, codecs) for row in inside]
      result.append(Table(title, _at_rates_words(METRICS[metric], inside[0].n_images), head, cells))
  return result


def _at_rates_words(metric: Metric, n_images: int) -> str:
  if metric.of_set:
    return (
      f"Of {n_images} images at once, each baseline at our own mean rate ({METHOD} of quality over "
      "the logarithm of the rate); — where that lies outside the baseline's settings."
    )
  mean = f"In{metric.unit}, mean" if metric.unit else "Mean"
  return (
    f"{mean} of {n_images} images, each baseline at our own rate of each image ({METHOD} of "
    "quality over the logarithm of the rate); — where that lies outside the baseline's settings."
  )


def _at_rate_row(row: AtRate, codecs: Sequence[str]) -> tuple[str, ...]:
  digits = METRICS[row.metric].digits
  values = [number(row.baselines.get(codec), digits) for codec in codecs]
  own = number(row.value, digits)
  return label(row.codec), str(row.setting), f"{row.rate_bpp:.4f}", own, *values
