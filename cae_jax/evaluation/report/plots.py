"""Rate-distortion points of records as the report's plots take them."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from cae_jax.evaluation.figures import drawing
from cae_jax.evaluation.names import in_order, is_baseline, label
from cae_jax.evaluation.rd.curves import (
  METRICS,
  Curve,
  SettingPoint,
  complete_settings,
  mean_points,
)
from cae_jax.evaluation.records import Record

DRAWN = {name: metric for name, metric in METRICS.items() if metric.axis}
MEAN = ""  # the name the mean over the images has among theirs
# Matplotlib's markers, as `drawing.style` gives them, in plotly's words.
_SYMBOLS = {
  "s": "square",
  "D": "diamond",
  "^": "triangle-up",
  "v": "triangle-down",
  "P": "cross",
  "X": "x",
  "<": "triangle-left",
  ">": "triangle-right",
  "p": "pentagon",
  "1": "y-down-open",
  "4": "y-right-open",
  "h": "hexagon",
  "d": "diamond-tall",
}
# Ours are drawn in the page's accent colour, the first one bold, and told apart by these.
_OWN_SYMBOLS = (
  "circle",
  "diamond-open",
  "star-open",
  "square-open",
  "triangle-up-open",
  "cross-open",
  "hexagon-open",
  "pentagon-open",
  "hourglass-open",
  "bowtie-open",
)
_BOLD, _THIN = 3.5, 1.5
_DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")


def plots(records: Sequence[Record], published: Sequence[Curve] = ()) -> dict[str, Any]:
  """Returns every curve under every metric, of the mean and of each image, ready for JSON.

  Args:
    records: with figures; of codecs that lack an image there is no mean (`curves.mean_points`).
    published: curves of the literature.
  Returns:
    axes: metric that some curve has -> title, unit, digits after the point, and whether it is
    reversed as less is better;
    images: their names, sorted; curves: in the order of the legend, each with its look and
    `points`: metric -> name of the image, or `MEAN` -> rate_bpp, value and setting, lists of one
    length in order of rate.
  """
  codecs = in_order(record.codec for record in records)
  means = {metric: mean_points(records, metric) for metric in DRAWN}
  measured = [_measured(records, codec, codecs, means) for codec in codecs]
  curves = [curve for curve in measured if curve["points"]]
  curves += [_published(curve, index) for index, curve in enumerate(published)]
  images = sorted({record.image or "" for record in records})
  axes = {
    name: {
      "title": metric.axis,
      "unit": metric.unit,
      "reversed": metric.sign < 0,
      "digits": metric.digits,
    }
    for name, metric in DRAWN.items()
    if any(name in curve["points"] for curve in curves)
  }
  return {"axes": axes, "images": images, "curves": curves}


def _measured(
  records: Sequence[Record],
  codec: str,
  codecs: Sequence[str],
  means: Mapping[str, Mapping[str, Sequence[SettingPoint]]],
) -> dict[str, Any]:
  own = sorted(name for name in codecs if not is_baseline(name))
  colour, marker = drawing.style(codec, codecs)
  symbol = _OWN_SYMBOLS[own.index(codec) % len(_OWN_SYMBOLS)] if codec in own else _SYMBOLS[marker]
  points = {
    metric: _points(records, codec, metric, means[metric].get(codec, ())) for metric in DRAWN
  }
  return {
    "id": codec,
    "label": label(codec),
    "kind": "baseline" if is_baseline(codec) else "own",
    "color": colour,
    "symbol": symbol,
    "width": _BOLD if codec in own[:1] else _THIN,
    "dash": "solid",
    "source": "",
    "points": {metric: found for metric, found in points.items() if found},
  }


def _published(curve: Curve, index: int) -> dict[str, Any]:
  pairs = zip(curve.mean.rate_bpp, curve.mean.quality)
  points = _columns([SettingPoint(*pair, "") for pair in pairs])
  return {
    "id": f"published {curve.name}",
    "label": f"{curve.name} (published)",
    "kind": "published",
    "color": "",
    "symbol": "circle-open",
    "width": _THIN,
    "dash": _DASHES[index % len(_DASHES)],
    "source": curve.source,
    "points": {curve.convention.metric: {MEAN: points}},
  }


def _points(
  records: Sequence[Record], codec: str, metric: str, means: Sequence[SettingPoint]
) -> dict[str, dict[str, list]]:
  """Of the settings that are measured on all the codec's images; empty if there is none."""
  result = {MEAN: _columns(means)} if means else {}
  if METRICS[metric].of_set:
    return result
  images, settings = complete_settings(records, codec, metric)
  value = METRICS[metric].of
  for image, rows in zip(images, zip(*settings.values())):
    points = [SettingPoint(row.rate_bpp or 0.0, value(row) or 0.0, row.setting) for row in rows]
    result[image] = _columns(points)
  return result


def _columns(points: Sequence[SettingPoint]) -> dict[str, list]:
  ordered = sorted(points, key=operator.itemgetter(0, 1))
  return {
    "rate_bpp": [round(point.rate_bpp, 5) for point in ordered],
    "value": [round(point.value, 6) for point in ordered],
    "setting": [str(point.setting) for point in ordered],
  }
