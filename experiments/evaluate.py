"""Measures trained weights against classical codecs on real files.

    python -m experiments.evaluate --workdir=runs/kodak_paper --source_dir=KODAK --output=DIR

Writes records.jsonl (a line for every codec, setting and image), summary.json, table.md and
figures/. Each baseline is measured at fixed settings and, but for --nomatch, at the size of each of
our files. With four or more settings of ours there are BD-rates against every baseline, and on all
24 Kodak images published curves beside them. --metrics=all measures SSIMULACRA2 as well, and
Butteraugli, DISTS, Wasserstein distortion and KID where what they need is installed
(docs/metrics.md). The same command goes on after an
interruption; --jobs=N measures N images at a time. Images that the weights were trained on are left
out.

    python -m experiments.evaluate --lossless --sets=kodak=KODAK,scans=FOLDER --output=DIR

--lossless compares lossless codecs instead, on images of 8 to 16 bits, grey or colour, with or
without alpha: bits per sub-pixel of whole files, each decoded and compared sample by sample.
--near_lossless=1,2 measures files with errors of at most 1 and 2 levels, too.

--records=FILE,… joins records of other runs on the same images, so that a codec can be added
without running the others again; their seconds are then of another run. Those of the README on
Kodak are docs/records/kodak.jsonl.gz.
"""

import functools
import sys
from pathlib import Path

from matplotlib.figure import Figure

from cae_jax import locks
from cae_jax.atomic import write_text
from cae_jax.codec import Codec
from cae_jax.codec.targets import FINEST_QUALITY, MAX_EFFORT
from cae_jax.data.sources import ImageSource, image_names, pairs
from cae_jax.errors import UsageError
from cae_jax.evaluation import (
  comparison,
  figures,
  perceptual,
  pictures,
  records,
  run_report,
  set_metrics,
  tables,
)
from cae_jax.evaluation.codecs import baselines, own_codec
from cae_jax.evaluation.codecs.base import Missing
from cae_jax.evaluation.paper import table_1
from cae_jax.evaluation.rd import bd_rates, published
from cae_jax.evaluation.rd import tables as rd_tables
from cae_jax.evaluation.records import Record
from experiments import cli, evaluate_lossless, evaluation_flags
from experiments.program_flags import Args, Flags

_METRICS = ",".join(perceptual.NAMES)
# What only evaluations of one kind use.
_OF_LOSSLESS = ("sets", "near_lossless", "reference", "ours")
_OF_LOSSY = ("match", "efforts", "looks", "qualities", "metrics", "bpp_range", "jobs", "avif_speed")
_FEATURES = "features"  # a folder in --output


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  evaluation_flags.define_flags(flags)
  flags.string("codecs", "all", "Baselines: all, none, or names with commas.")
  flags.boolean(
    "match", True, "Measure every baseline also at the size of each of our files; takes long."
  )
  flags.integers(
    "efforts", [], "Efforts to measure our codec at besides 0; takes long.", 1, MAX_EFFORT
  )
  flags.numbers("looks", [], "Looks to measure our codec with besides 0.", 0, 1)
  flags.numbers(
    "qualities",
    [],
    "Qualities to measure our codec at, in place of nine from 0 to 100.",
    0,
    FINEST_QUALITY,
  )
  flags.string("metrics", "none", f"Further metrics, which take time: all, none, or {_METRICS}.")
  flags.numbers(
    "bpp_range",
    [],
    "LOW,HIGH: BD-rates where both curves have these bits per pixel.",
    0,
    form="LOW,HIGH",
  )
  flags.integer("jobs", 1, "Processes; with more than one no times are measured.", lower_bound=1)
  flags.paths(
    "records", [], "records.jsonl of other runs on these images, which join those of this one."
  )
  flags.path("output", None, "Folder to write to.", required=True)
  evaluate_lossless.define_flags(flags)


def main(args: Args) -> None:
  """Runs the program."""
  _check_used(args)
  if args.lossless:
    evaluate_lossless.main(args)
  else:
    _evaluate(args)


def _check_used(args: Args) -> None:
  """Raises UsageError if a flag was given that would be passed over."""
  for when, is_so, names in (
    ("without --lossless", not args.lossless, _OF_LOSSLESS),
    ("with --lossless", args.lossless, _OF_LOSSY),
    ("with --sets", args.sets, ("dataset", "source_dir", "split")),
    ("with --lossless and --source_dir", args.source_dir and args.lossless, ("split",)),
    ("with --noours", not args.ours, ("workdir", "weights")),
  ):
    given = [f"--{name}" for name in names if args[name].value != args[name].default]
    if is_so and given:
      flags = " and ".join(given)
      raise UsageError(f"{flags}: not used {when}; leave {flags} out")


def _evaluate(args: Args) -> None:
  if args.bpp_range and args.bpp_range[0] >= args.bpp_range[1]:
    raise UsageError(f"{args['bpp_range'].serialize()}: expected the smaller rate first")
  weights = evaluation_flags.weights(args)
  codec = own_codec.load(weights)
  # Fails now if it has no such ones.
  own_codec.file_codecs(codec, args.efforts, args.looks, args.qualities)
  features = args.output / _FEATURES
  for metric in perceptual.by_names(args.metrics, features):
    if isinstance(metric, Missing):
      print(f"{metric.name} {metric.status}")
  what = comparison.Comparison(
    weights,
    args.codecs,
    args.bpg_dir,
    args.avif_speed,
    args.match,
    tuple(args.efforts),
    tuple(args.looks),
    tuple(args.qualities),
    args.metrics,
    features,
  )
  source = evaluation_flags.unseen_images(args, codec)
  with locks.locked(args.output, "evaluation", "--output", print):
    _write(args, codec, source, _measured(args, what, codec, source))


def _measured(
  args: Args, what: comparison.Comparison, codec: Codec, source: ImageSource
) -> list[Record]:
  """Measures what no earlier run has; returns all records."""
  names = {"": {*image_names(source)}}
  others = evaluation_flags.other_records(args.records, names, lossless=False)
  log = args.output / "records.jsonl"
  done = records.resume_records(log)
  evaluation_flags.check_images(log, done, names)
  # Of each codec the version asked for last counts: of ours, that of these weights and this look.
  asked_for = {own_codec.version_of(codec, look) for look in (0, 1)}
  asked_for |= {x.version for x in comparison.others(what) if not isinstance(x, Missing)}
  done = sorted(records.joined(done, others), key=lambda record: record.version in asked_for)
  keep = functools.partial(records.append_record, log)
  rows = comparison.run(what, pairs(source), done=done, on_record=keep, jobs=args.jobs)
  # Of the last versions alone: baselines at the sizes of older files would count among the images.
  shown = set_metrics.with_kid(records.of_last_versions(rows), args.output / _FEATURES)
  return records.last_measured([*rows, *shown])


def _write(args: Args, codec: Codec, source: ImageSource, rows: list[Record]) -> None:
  images, output = pairs(source), args.output
  records.write_records(output / "records.jsonl", rows)
  left_out = tables.left_out(rows)
  rows = records.of_last_versions(rows)
  literature = published.load_for(args.dataset, image_names(source))
  bpp_range = tuple(args.bpp_range) or None
  compared = bd_rates.compare(rows, literature, bpp_range)
  bd_rates_json = [bd_rates.to_json(result) for result in compared]
  records.write_summary(
    output / "summary.json", rows, {"bd_rates": bd_rates_json, "bpp_range": bpp_range}
  )
  section = rd_tables.section(compared, bd_rates.at_own_rates(rows), bpp_range)
  said = "\n".join(filter(None, [tables.table(rows), section, left_out]))
  paper = table_1.paper_table(rows)
  write_text(output / "table.md", f"{paper}\n{said}\n" if paper else f"{said}\n")
  folder = output / "figures"
  drawn = {
    "reconstructions": run_report.reconstructions(codec, images),
    "psnr_per_image": figures.psnr_per_image(rows),
    "rate_distortion": figures.rate_distortion(rows, literature),
    "methods": _methods(codec, images[:3], rows, args.bpg_dir),
  }
  for name, figure in drawn.items():
    figures.save(figure, folder / f"{name}.png")
  print(said)


def _methods(codec: Codec, images, rows: list[Record], bpg_dir: Path | None) -> Figure:
  """Draws figure 7: three images under our codec and the baselines at its size."""
  present = baselines.baselines("jpeg,jpeg2000,bpg", bpg_dir)
  ours, setting = own_codec.coded(codec), own_codec.shown_setting(codec)
  shown: dict[str, dict] = {}
  for name, x in images:
    for picture in pictures.at_own_size(ours, setting, present, name, x, rows):
      shown.setdefault(picture.record.codec, {})[name] = picture.x_hat, picture.words
  return figures.methods_on_images(dict(images), shown)


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
