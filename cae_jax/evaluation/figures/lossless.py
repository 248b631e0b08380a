"""Lossless codecs: sizes by data set and by image, and sizes over the error that is allowed."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cae_jax.errors import UsageError
from cae_jax.evaluation.figures import drawing
from cae_jax.evaluation.lossless.standings import Standing, datasets, sizes
from cae_jax.evaluation.names import in_order, is_baseline, label
from cae_jax.evaluation.records import Record, of_last_versions

_OTHERS_SHOWN = 3  # of `image_by_image`, beside ours
_PANEL_COLUMNS = 3
_MOST_PERCENT = 40.0  # larger ones are drawn here, at the edge


def bits_per_sub_pixel(rows: Sequence[Standing]) -> Figure:
  """Draws the mean size of each lossless codec on each data set; shorter is better.

  Pale bars are of codecs that do not take all images of a set: means of others, not to be compared.

  Args:
    rows: of `standings`; those with errors are passed over.
  Raises:
    UsageError: there is no lossless codec.
  """
  rows = [row for row in rows if not row.error_bound]
  if not rows:
    raise UsageError("expected codecs measured without loss, got none")
  names = list(dict.fromkeys(row.dataset for row in rows))
  codecs = in_order(row.codec for row in rows)
  most = {name: max(row.n_images for row in rows if row.dataset == name) for name in names}
  figure = drawing.figure(1.9 + 2.7 * len(names), 1.1 + 0.32 * len(codecs))
  panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
  for axes, name in zip(panels, names):
    found = {row.codec: row for row in rows if row.dataset == name}
    for place, codec in enumerate(codecs):
      if codec in found:
        _bar(axes, place, found[codec], most[name], drawing.style(codec, codecs)[0])
    axes.set_title(f"{name}, {most[name]} images", fontsize=10)
    axes.set_xlim(0, 1.32 * max(row.bpsp for row in found.values()))
    axes.set_yticks(range(len(codecs)), [label(codec) for codec in codecs])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
  panels[0].invert_yaxis()
  figure.supxlabel("bits per sub-pixel, whole files, mean of the images", fontsize=10)
  return figure


def image_by_image(records: Sequence[Record], reference: str) -> Figure | None:
  """Draws how much larger or smaller each image's lossless file is than the reference's.

  Images stand in the order of the reference's size; shown are our codecs and, on each data set, the
  three others that come nearest to the reference or below it. Dotted is the percent of the mean
  sizes, as in the tables. What is larger by more than 40 % stands at the edge.

  Args:
    records: any; lossless ones count.
    reference: the codec at zero.
  Returns:
    None if the reference has no file.
  """
  panels = {}
  for dataset in datasets(records):
    rows = of_last_versions([r for r in records if r.dataset == dataset and r.error_bound == 0])
    by_codec = sizes(rows)
    if reference in by_codec:
      panels[dataset] = _percents(by_codec, reference)
  if not panels:
    return None
  codecs = in_order([codec for of_set in panels.values() for codec in of_set] + [reference])
  figure, grid = _grid(len(panels), 4.6, 3.4)
  for axes, (dataset, of_set) in zip(grid, panels.items()):
    axes.axhline(0, color=drawing.style(reference, codecs)[0], lw=1.4)
    for codec, (percents, of_means) in of_set.items():
      colour, marker = drawing.style(codec, codecs)
      xs = [place for place, value in enumerate(percents) if value is not None]
      ys = [min(value, _MOST_PERCENT) for value in percents if value is not None]
      axes.plot(xs, ys, marker, color=colour, ms=5, mec="white", mew=0.5, label=label(codec))
      height = min(of_means, _MOST_PERCENT)
      axes.axhline(height, color=colour, lw=0.8, ls=":")
      axes.annotate(
        f"{of_means:+.1f} %", (1.01, height), xycoords=("axes fraction", "data"), fontsize=7,
        color=colour, va="center",
      )  # fmt: skip
    axes.set_title(dataset, fontsize=10)
    axes.set_xticks([])
    axes.set_xlabel(f"images, by size as {label(reference)}", fontsize=9)
    axes.grid(axis="y", color="#EEEEEE")
  grid[0].set_ylabel(f"size against {label(reference)} (%)")
  drawing.legend(figure, grid)
  return figure


def near_lossless(rows: Sequence[Standing]) -> Figure | None:
  """Draws the mean size of each near-lossless codec over the largest error it may make.

  Args:
    rows: of `standings`.
  Returns:
    None if no codec was measured at two bounds.
  """
  curves: dict[str, dict[str, list[Standing]]] = {}
  for row in rows:
    curves.setdefault(row.dataset, {}).setdefault(row.codec, []).append(row)
  curves = {name: {c: p for c, p in found.items() if len(p) > 1} for name, found in curves.items()}
  curves = {name: found for name, found in curves.items() if found}
  if not curves:
    return None
  codecs = in_order(codec for found in curves.values() for codec in found)
  figure, grid = _grid(len(curves), 4.0, 3.2)
  for axes, (dataset, found) in zip(grid, curves.items()):
    for codec, points in found.items():
      colour, marker = drawing.style(codec, codecs)
      width = 1.4 if is_baseline(codec) else 2.4
      bounds, bpsp = [p.error_bound for p in points], [p.bpsp for p in points]
      axes.plot(bounds, bpsp, marker=marker, color=colour, lw=width, ms=6, label=label(codec))
    axes.set_title(dataset, fontsize=10)
    axes.set_xticks(sorted({p.error_bound for points in found.values() for p in points}))
    axes.set_xlabel("largest error of a sample (levels)", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.grid(color="#EEEEEE")
  grid[0].set_ylabel("bits per sub-pixel")
  drawing.legend(figure, grid)
  return figure


def _bar(axes: Axes, place: int, row: Standing, most: int, colour: str) -> None:
  strong = not is_baseline(row.codec)
  is_whole = row.n_images == most
  alpha = (1.0 if strong else 0.75) if is_whole else 0.2
  axes.barh(place, row.bpsp, height=0.66, color=colour, alpha=alpha)
  partly = "" if is_whole else f"  ({row.n_images})"
  axes.text(
    row.bpsp, place, f" {row.bpsp:.3f}{partly}", va="center", fontsize=8,
    weight="bold" if strong else "normal",
  )  # fmt: skip


def _percents(
  by_codec: Mapping[str, Mapping[str, float]], reference: str
) -> dict[str, tuple[list[float | None], float]]:
  """By codec to show: the percent of each image of the reference, by its size, and of the means."""
  theirs = by_codec[reference]
  images = sorted(theirs, key=lambda image: theirs[image])
  result = {}
  for codec, found in by_codec.items():
    common = [image for image in images if image in found]
    if codec != reference and common:
      ratio = sum(found[image] for image in common) / sum(theirs[image] for image in common)
      percents = [100 * (found[i] / theirs[i] - 1) if i in found else None for i in images]
      result[codec] = percents, 100 * (ratio - 1)
  nearest = sorted(filter(is_baseline, result), key=lambda codec: result[codec][1])
  own = [codec for codec in result if not is_baseline(codec)]
  return {codec: result[codec] for codec in own + nearest[:_OTHERS_SHOWN]}


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
  """A figure with as many panels, in rows of three."""
  columns = min(count, _PANEL_COLUMNS)
  lines = -(-count // columns)
  figure = drawing.figure(width * columns, height * lines + 0.4)
  grid = list(figure.subplots(lines, columns, squeeze=False).flat)
  for axes in grid[count:]:
    axes.set_visible(False)
  return figure, grid[:count]
