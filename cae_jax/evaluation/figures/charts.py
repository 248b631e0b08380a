"""Charts: training curves, PSNR of each image, rate-distortion."""

import collections
import statistics
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cae_jax.errors import UsageError
from cae_jax.evaluation.figures import drawing
from cae_jax.evaluation.names import image_stem, in_order, is_baseline, label
from cae_jax.evaluation.rd.curves import METRICS, Curve, mean_points
from cae_jax.evaluation.records import Record
from cae_jax.evaluation.tables import at_target
from cae_jax.metrics_file import read_metrics


def training_curves(metrics_jsonl: str | PathLike) -> Figure:
  """Draws training and validation loss, and PSNR if it was logged, against the step (figure 6).

  Of a lossless model the loss is bits per sub-pixel; of a look there is a discriminator's, too.

  Args:
    metrics_jsonl: one JSON object a line with `step`, `split` ("train" or "valid"), `loss`, and
      perhaps `psnr_db` or `bpsp`; other lines and a broken last line are passed over.
  Raises:
    UsageError: there is no line with a loss.
  """
  lines = [line for line in read_metrics(metrics_jsonl) if line.get("loss") is not None]
  if not lines:
    raise UsageError(f"{metrics_jsonl} has no line with a loss; train for a few steps first")
  words = "bits per sub-pixel" if "bpsp" in lines[0] else "loss"
  names = [("loss", words), ("psnr_db", "PSNR (dB)"), ("texture", "texture distortion")]
  names += [("discriminator_loss", "loss of the discriminator")]
  names = [pair for pair in names if any(line.get(pair[0]) is not None for line in lines)]
  figure = drawing.figure(6.4 * len(names), 4.2)
  for axes, (name, title) in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
    _curve(axes, lines, name)
    axes.set(xlabel="step", ylabel=title)
  return figure


def psnr_per_image(records: Sequence[Record]) -> Figure:
  """Draws the PSNR of each image under each method, all at the same rate (figure 8).

  Matched baselines are drawn at exactly our rate (`Record.psnr_db_at_target`), or hollow where
  none of their files is as large (or as small) as ours.

  Args:
    records: our codec's, and the baselines' matched to it. With several of our settings the one
      nearest to the middle rate is drawn; without ours, each baseline at its middle setting.
  Raises:
    UsageError: there is no record with figures.
  """
  chosen = _one_rate([at_target(r) for r in records if r.mse is not None and r.image is not None])
  if not chosen:
    raise UsageError("expected records with figures, got none")
  images = sorted({record.image or "" for record in chosen})
  codecs = in_order(record.codec for record in chosen)
  figure = drawing.figure(max(6.4, 2.2 + 0.95 * len(images)), 4.8)
  axes = figure.subplots()
  for place, codec in enumerate(codecs):
    of_codec = {record.image: record for record in chosen if record.codec == codec}
    offset = 0.6 * ((place + 0.5) / len(codecs) - 0.5)
    xs = [i + offset for i, image in enumerate(images) if image in of_codec]
    ys = [of_codec[image].psnr_db or 0.0 for image in images if image in of_codec]
    colour, marker = drawing.style(codec, codecs)
    off_size = not all(record.ok for record in of_codec.values())
    edge, face = (colour, "white") if off_size else ("white", colour)
    axes.plot(xs, ys, marker, color=colour, ms=8, mew=0.8, mec=edge, mfc=face, label=label(codec))
  if not all(record.ok for record in chosen):
    axes.set_title("hollow: the codec has no file of that size; the nearest it has", fontsize=9)
  for gap in range(1, len(images)):
    axes.axvline(gap - 0.5, color="#DDDDDD", lw=0.8)
  axes.set_xlim(-0.5, len(images) - 0.5)
  axes.set_xticks(range(len(images)), _image_words(chosen, images))
  axes.set_ylabel("PSNR of RGB (dB)")
  axes.grid(axis="y", color="#EEEEEE")
  drawing.legend(figure, [axes])
  return figure


def rate_distortion(records: Sequence[Record], published: Sequence[Curve] = ()) -> Figure:
  """Draws means of every metric against the mean rate, a curve for each codec that has it.

  Args:
    records: at fixed settings; matched rows are left out, and so are settings and codecs that
      were not measured on all images (`curves.mean_points`).
    published: curves of the literature of the same images, drawn dashed in their metric's panel.
  Raises:
    UsageError: there is no record with figures.
  """
  if not any(r.ok and r.image is not None and r.matched_to is None for r in records):
    raise UsageError("expected records with figures at fixed settings, got none")
  found = {name: mean_points(records, name) for name in METRICS if METRICS[name].axis}
  names = [name for name in found if found[name]] or ["psnr_db"]
  columns = min(len(names), 2)
  rows = -(-len(names) // columns)
  figure = drawing.figure(7.0 * columns, 5.2 * rows + 0.4)
  panels = list(figure.subplots(rows, columns, squeeze=False).flat)
  codecs = in_order(codec for name in names for codec in found[name])
  for axes, name in zip(panels, names):
    for codec in in_order(found[name]):
      xs, ys, _ = zip(*found[name][codec])
      colour, marker = drawing.style(codec, codecs)
      width = 1.4 if is_baseline(codec) else 2.4
      axes.plot(xs, ys, marker=marker, color=colour, lw=width, ms=5, label=label(codec))
    axes.set_xscale("log")
    axes.set_xlabel("rate (bits per pixel, whole file)")
    axes.set_ylabel(f"mean {METRICS[name].axis}")
    if METRICS[name].sign < 0:
      axes.invert_yaxis()
    axes.grid(which="both", color="#EEEEEE")
    drawing.plain_ticks(axes.xaxis)
  for curve, (grey, dash) in zip(published, drawing.dashed_styles(len(published))):
    style = {"color": grey, "ls": dash, "lw": 1.3, "label": f"{curve.name} (published)"}
    for axes, name in zip(panels, names):
      if name == curve.convention.metric:
        axes.plot(curve.mean.rate_bpp, curve.mean.quality, **style)
  for axes in panels[len(names) :]:
    axes.remove()
  drawing.legend(figure, panels[: len(names)])
  return figure


def _curve(axes: Axes, lines: Sequence[Mapping[str, Any]], name: str) -> None:
  styles = {"train": ("#0072B2", "", "training"), "valid": ("#D55E00", "o", "validation")}
  for split, (colour, marker, words) in styles.items():
    points = [
      (line["step"], line[name])
      for line in lines
      if line.get("split") == split and line.get(name) is not None
    ]
    if points:
      steps, values = zip(*sorted(points))
      axes.plot(steps, values, marker=marker, ms=4, lw=1.4, color=colour, label=words)
      _log_if_wide(axes, name, values)
  axes.grid(color="#EEEEEE")
  axes.legend(frameon=False)


def _log_if_wide(axes: Axes, name: str, values: Sequence[float]) -> None:
  if name == "loss" and min(values) > 0 and max(values) > 10 * min(values):
    axes.set_yscale("log")
    drawing.plain_ticks(axes.yaxis)


def _one_rate(records: Sequence[Record]) -> list[Record]:
  """Our codec at one setting and the baselines at its sizes; or each baseline at its middle."""
  fixed = [record for record in records if record.matched_to is None]
  own = [record for record in fixed if not is_baseline(record.codec)]
  goals = {(record.matched_to, record.matched_setting) for record in records}
  chosen = [record for record in own if (record.codec, record.setting) in goals] or own
  if not chosen:
    codecs = in_order(record.codec for record in fixed)
    middles = {_middle([r for r in fixed if r.codec == codec]) for codec in codecs}
    return [record for record in fixed if (record.codec, record.setting) in middles]
  goal = _middle(chosen)
  same = [record for record in chosen if (record.codec, record.setting) == goal]
  return same + [r for r in records if (r.matched_to, r.matched_setting) == goal]


def _middle(records: Sequence[Record]) -> tuple[str, Any]:
  """Codec and setting of the middle mean rate."""
  rates: dict[tuple[str, Any], list[float]] = {}
  for record in records:
    rates.setdefault((record.codec, record.setting), []).append(record.rate_bpp or 0.0)
  ordered = sorted(rates, key=lambda group: statistics.fmean(rates[group]))
  return ordered[(len(ordered) - 1) // 2]


def _image_words(records: Sequence[Record], images: Sequence[str]) -> list[str]:
  """Names and rates of images; folder and suffix only where they tell images apart."""
  stems = {record.image or "": image_stem(record) for record in records}
  counts = collections.Counter(stems.values())
  names = [stems[image] if counts[stems[image]] == 1 else image for image in images]
  return [
    f"{name}\n{_rate_words([r.rate_bpp or 0.0 for r in records if r.image == image])}"
    for name, image in zip(names, images)
  ]


def _rate_words(rates: Sequence[float]) -> str:
  low, high = f"{min(rates):.2f}", f"{max(rates):.2f}"
  return f"{low} bpp" if low == high else f"{low}–{high} bpp"
