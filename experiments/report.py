"""Writes an interactive report of measured records: one HTML file that needs no network.

    python -m experiments.report --records=DIR/records.jsonl --output=report.html

With originals the page shows pictures too, and compares any two codecs at the same size. Decoded
pictures are not in the records, so a few images are encoded again: with --workdir or --weights our
codec and the baselines at the size of its file, with --source_dir alone the baselines at
--gallery_bpp.

    python -m experiments.report --records=DIR/records.jsonl --output=report.html \\
      --workdir=runs/kodak_paper --source_dir=KODAK

--timing shows what experiments.timing measured.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from cae_jax import codec as codecs
from cae_jax.evaluation import pictures, report, timing
from cae_jax.evaluation.codecs import baselines, own_codec
from cae_jax.evaluation.records import Record, of_last_versions, read_records
from cae_jax.evaluation.report import gallery as report_gallery
from experiments import cli
from experiments.evaluation_flags import (
  BPG_DIR,
  DATASET,
  SOURCE_DIR,
  WEIGHTS,
  WORKDIR,
  Images,
  images,
  weights,
)

RECORDS = flags.DEFINE_string(
  "records", None, "A records.jsonl of experiments.evaluate.", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "The HTML file to write.", required=True)
GALLERY = flags.DEFINE_integer("gallery", 4, "Images to show; 0 for none.", lower_bound=0)
GALLERY_CODECS = flags.DEFINE_string(
  "gallery_codecs", "jpeg,jpeg2000,webp,avif,bpg", "Baselines to show: all or names with commas."
)
GALLERY_BPP = flags.DEFINE_float(
  "gallery_bpp", 0.5, "Rate of the pictures where there is no codec of ours.", lower_bound=0.01
)
TIMING = flags.DEFINE_string("timing", None, "A timing.json of experiments.timing.")
CROP = flags.DEFINE_integer(
  "crop", report_gallery.CROP_SIDE, "Longest side of the pictures shown.", lower_bound=16
)


def main(argv: Sequence[str]) -> None:
  """Runs the program with the parsed flags."""
  del argv
  report.plotly_js()  # before the pictures, which take a while
  rows = of_last_versions(read_records(RECORDS.value))
  times = timing.read(TIMING.value) if TIMING.value else None
  report.write(OUTPUT.value, rows, DATASET.value, _gallery(rows), times)
  size = Path(OUTPUT.value).stat().st_size / 1e6
  print(f"{OUTPUT.value}: {size:.1f} MB")


def _gallery(rows: list[Record]) -> list[dict[str, Any]]:
  """Empty unless originals, or weights, were named: nothing is downloaded unasked."""
  has_weights = WORKDIR.value is not None or WEIGHTS.value is not None
  if not GALLERY.value or not (has_weights or SOURCE_DIR.value is not None):
    return []
  measured = {row.image for row in rows}
  shown = [(name, x) for name, x in images() if name in measured][: GALLERY.value]
  if not shown:
    raise ValueError(
      f"{RECORDS.value} has no image of {DATASET.value}; name the data set it was measured on"
    )
  others = baselines.baselines(GALLERY_CODECS.value, BPG_DIR.value)
  found = _at_own_size(others, shown, rows) if has_weights else _at_rate(others, shown, rows)
  return [report_gallery.image(name, x, found[name], CROP.value) for name, x in shown]


def _at_own_size(others, shown: Images, rows: list[Record]) -> dict[str, list[pictures.Picture]]:
  codec = codecs.load(weights())
  ours, setting = own_codec.coded(codec), own_codec.shown_setting(codec)
  return {
    name: pictures.at_own_size(ours, setting, others, name, x, rows, search=True)
    for name, x in shown
  }


def _at_rate(others, shown: Images, rows: list[Record]) -> dict[str, list[pictures.Picture]]:
  result = {}
  for name, x in shown:
    target_bytes = int(GALLERY_BPP.value * x.shape[0] * x.shape[1] / 8)
    result[name] = [pictures.at_size(o, name, x, target_bytes, rows, search=True) for o in others]
  return result


if __name__ == "__main__":
  cli.run(main)
