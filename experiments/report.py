"""Writes an interactive report of measured records: one HTML file that needs no network.

    python -m experiments.report --records=DIR/records.jsonl --output=report.html

With originals the page shows pictures too, and compares any two codecs at the same size. Decoded
pictures are not in the records, so a few images are encoded again: with --workdir or --weights our
codec and the baselines at the size of its file, or all at --gallery_bpp. --gallery_weights adds
others of ours. With two codecs or more there is a blind test: people choose the better one of each
pair before they see the names, and save what they chose.

    python -m experiments.report --records=DIR/records.jsonl --output=report.html \\
      --workdir=runs/kodak_paper --source_dir=KODAK

--timing shows what experiments.timing measured.
"""

import collections
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cae_jax.data.sources import chosen, image_names, pairs
from cae_jax.errors import UsageError
from cae_jax.evaluation import pictures, report, tables, timing
from cae_jax.evaluation.codecs import baselines, own_codec
from cae_jax.evaluation.codecs.base import FileCodec
from cae_jax.evaluation.rd import published
from cae_jax.evaluation.records import Record, of_last_versions, read_records
from cae_jax.evaluation.report import gallery as report_gallery
from cae_jax.paths import make_folder, user_path
from cae_jax.paths import shown as path_words
from experiments import cli, evaluation_flags
from experiments.program_flags import Args, Flags

Images = Sequence[tuple[str, np.ndarray]]
_BPP = 0.5


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  evaluation_flags.define_flags(flags)
  flags.path("records", None, "A records.jsonl of experiments.evaluate.", required=True)
  flags.path("output", None, "The HTML file to write.", required=True)
  flags.integer("gallery", 4, "Images to show; 0 for none.", lower_bound=0)
  flags.string(
    "gallery_codecs", "jpeg,jpeg2000,webp,avif,bpg", "Baselines to show: all or names with commas."
  )
  flags.string("gallery_weights", "", "Further weights of ours: names or files with commas.")
  flags.number(
    "gallery_bpp",
    None,
    f"Rate of the pictures; if not given that of our file, or {_BPP} without a codec of ours.",
    lower_bound=0.01,
  )
  flags.path("timing", None, "A timing.json of experiments.timing.")
  flags.integer(
    "crop", report_gallery.CROP_SIDE, "Longest side of the pictures shown.", lower_bound=16
  )


def main(args: Args) -> None:
  """Runs the program."""
  report.plotly_js()  # before the pictures, which take a while
  measured = read_records(args.records)
  rows, left_out = of_last_versions(measured), tables.left_out(measured)
  times = timing.read(args.timing) if args.timing else None
  gallery = _gallery(args, rows)
  make_folder(args.output.parent)
  report.write(args.output, rows, _dataset(args, rows), gallery, times)
  size = args.output.stat().st_size / 1e6
  print(*filter(None, [left_out, f"{args.output}: {size:.1f} MB"]), sep="\n")


def _dataset(args: Args, rows: list[Record]) -> str:
  """Returns --dataset, unless nobody gave it and these are other images: empty then."""
  is_kodak = {row.image for row in rows if row.image} <= {*published.KODAK_IMAGES}
  return args.dataset if is_kodak or args["dataset"].present else ""


def _gallery(args: Args, rows: list[Record]) -> list[dict[str, Any]]:
  """Decodes some images again if originals or weights were named; downloads nothing unasked."""
  has_weights = args.workdir is not None or args.weights is not None
  if not args.gallery or not (has_weights or args.source_dir is not None):
    return []
  source, measured = evaluation_flags.images(args), {row.image for row in rows}
  known = [index for index, name in enumerate(image_names(source)) if name in measured]
  if not known:
    raise UsageError(
      f"{args.records} has no image of {args.dataset}; name the data set it was measured on"
    )
  shown = list(pairs(chosen(source, known[: args.gallery])))
  further = [user_path(name) for name in args.gallery_weights.split(",") if name]
  own = _own([evaluation_flags.weights(args), *further] if has_weights else further)
  others = baselines.baselines(args.gallery_codecs, args.bpg_dir, args.avif_speed)
  if has_weights and args.gallery_bpp is None:
    (ours, setting), *_ = own
    found = _at_own_size(ours, setting, [*[codec for codec, _ in own[1:]], *others], shown, rows)
  else:
    every = [*[codec for codec, _ in own], *others]
    found = _at_rate(args.gallery_bpp or _BPP, every, shown, rows)
  return [report_gallery.image(name, x, found[name], args.crop) for name, x in shown]


def _own(weights: Sequence[Path]) -> list[tuple[FileCodec, str]]:
  """Our codecs and the settings to show them at; those of one name have their files in it."""
  loaded = [own_codec.load(path) for path in weights]
  coded = [own_codec.coded(codec) for codec in loaded]
  if len({(codec.name, codec.version) for codec in coded}) < len(coded):
    raise UsageError("--gallery_weights: expected other weights than those of --weights, each once")
  counts = collections.Counter(codec.name for codec in coded)
  named = [
    dataclasses.replace(codec, name=f"{codec.name} ({path_words(path)})")
    if counts[codec.name] > 1
    else codec
    for path, codec in zip(weights, coded)
  ]
  return list(zip(named, map(own_codec.shown_setting, loaded)))


def _at_own_size(
  ours: FileCodec, setting: str, others, shown: Images, rows: list[Record]
) -> dict[str, list[pictures.Picture]]:
  return {
    name: pictures.at_own_size(ours, setting, others, name, x, rows, search=True)
    for name, x in shown
  }


def _at_rate(
  rate_bpp: float, others, shown: Images, rows: list[Record]
) -> dict[str, list[pictures.Picture]]:
  result = {}
  for name, x in shown:
    target_bytes = int(rate_bpp * x.shape[0] * x.shape[1] / 8)
    result[name] = [pictures.at_size(o, name, x, target_bytes, rows, search=True) for o in others]
  return result


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
