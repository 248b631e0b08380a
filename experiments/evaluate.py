"""Measures trained weights against classical codecs on real files.

    python -m experiments.evaluate --workdir=runs/kodak_paper --source_dir=KODAK --output=DIR

Writes records.jsonl (a line for every codec, setting and image), summary.json, table.md and
figures/. Each baseline is measured at fixed settings and, but for --nomatch, at the size of each of
our files. With four or more settings of ours there are BD-rates against every baseline, and on all
24 Kodak images published curves beside them. The same command goes on after an interruption. Images
that the weights were trained on are left out.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from cae_jax import codec as codecs
from cae_jax.data.sources import load_source
from cae_jax.evaluation import (
  baselines,
  evaluate,
  figures,
  own_codec,
  published,
  rate_distortion,
  rd_curves,
  rd_tables,
  records,
  tables,
)
from cae_jax.evaluation.report_run import draw_reconstructions
from cae_jax.images.files import replace_atomically
from experiments import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished training run.")
WEIGHTS = flags.DEFINE_string(
  "weights", None, "Shipped weights by name, or a weights file, instead of --workdir."
)
DATASET = flags.DEFINE_string("dataset", "kodak", "Data set, as TFDS names it.")
SPLIT = flags.DEFINE_string("split", "test", "Its split.")
SOURCE_DIR = flags.DEFINE_string(
  "source_dir", None, "Folder of images or tar shards to read instead of downloading."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data sets are kept.")
CODECS = flags.DEFINE_string("codecs", "all", "Baselines: all, none, or names with commas.")
BPG_DIR = flags.DEFINE_string("bpg_dir", None, "Folder of bpgenc and bpgdec; else the PATH.")
MATCH = flags.DEFINE_bool(
  "match", True, "Measure every baseline also at the size of each of our files, which takes long."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)

Images = list[tuple[str, np.ndarray]]


def main(argv: Sequence[str]) -> None:
  """Runs the program with the parsed flags."""
  del argv
  codec = codecs.load(_weights())
  images = _images(codec)
  output = Path(OUTPUT.value)
  output.mkdir(parents=True, exist_ok=True)
  log = output / "records.jsonl"
  keep = functools.partial(records.append_record, log)
  done = records.resume_records(log)
  own, *alone = own_codec.file_codecs(codec)
  rows = evaluate.run(alone, images, done=done, on_record=keep, progress=False)
  others = [] if CODECS.value == "none" else baselines.baselines(CODECS.value, BPG_DIR.value)
  if MATCH.value:
    rows = evaluate.run(others, images, match_codec=own, done=rows, on_record=keep)
  else:
    rows = evaluate.run([own, *others], images, done=rows, on_record=keep)
  _write(output, codec, images, rows)


def _weights() -> str | Path:
  if (WORKDIR.value is None) == (WEIGHTS.value is None):
    raise ValueError("give either --workdir or --weights")
  if WORKDIR.value is None:
    return WEIGHTS.value or ""
  path = Path(WORKDIR.value) / "weights.safetensors"
  if not path.exists():
    raise FileNotFoundError(
      f"{path} is not there; finish the run: python -m experiments.train with its flags"
    )
  return path


def _images(codec: codecs.Codec) -> Images:
  """The images of the split that the weights have not been trained on."""
  source = load_source(
    DATASET.value, SPLIT.value, source_dir=SOURCE_DIR.value, data_dir=DATA_DIR.value
  )
  trained_on = set(codec.weights.card.get("trained_on", ()))
  examples = [source[i] for i in range(len(source))]
  unseen = [(e["name"], e["image"]) for e in examples if e["name"] not in trained_on]
  if len(unseen) < len(examples):
    print(f"{len(examples) - len(unseen)} of {len(examples)} images left out: trained on")
  if not unseen:
    raise ValueError(f"the weights were trained on all of {DATASET.value} {SPLIT.value}")
  return unseen


def _write(output: Path, codec, images: Images, rows: list[records.Record]) -> None:
  records.write_records(output / "records.jsonl", rows)
  literature = published.load_for(DATASET.value, [name for name, _ in images])
  compared = rate_distortion.compare(rows, literature)
  bd_rates = [rate_distortion.to_json(result) for result in compared]
  records.write_summary(output / "summary.json", rows, {"bd_rates": bd_rates})
  at_rates = [x for metric in rd_curves.METRICS for x in rate_distortion.at_own_rates(rows, metric)]
  section = rd_tables.section(compared, at_rates)
  table = "\n".join([tables.paper_table(rows), tables.table(rows), section])
  with replace_atomically(output / "table.md") as temporary:
    temporary.write_text(table + "\n", encoding="utf-8")
  folder = output / "figures"
  folder.mkdir(exist_ok=True)
  draw_reconstructions(folder / "reconstructions.png", codec, images, rows)
  figures.psnr_per_image(rows, folder / "psnr_per_image.png")
  figures.rate_distortion(rows, folder / "rate_distortion.png", literature)
  _draw_methods(folder / "methods.png", codec, images[:3], rows)
  print("\n".join([tables.table(rows), section]))


def _draw_methods(path: Path, codec, images: Images, rows: list[records.Record]) -> None:
  """Figure 7: three images under our codec and the baselines at its size."""
  present = baselines.baselines("jpeg,jpeg2000,bpg", BPG_DIR.value)
  shown = {codec.weights.name: {n: _own_picture(codec, n, x, rows) for n, x in images}}
  for other in present:
    shown[other.name] = {n: _matched_picture(codec, other, n, x, rows) for n, x in images}
  figures.methods_on_images(dict(images), shown, path)


def _own_picture(codec, name: str, x: np.ndarray, rows):
  ours, setting = own_codec.coded(codec), own_codec.shown_setting(codec)
  row = next(r for r in rows if (r.codec, r.image, r.setting) == (ours.name, name, setting))
  return ours.decode(ours.encode(x, setting)), _caption(row)


def _matched_picture(codec, other, name: str, x: np.ndarray, rows):
  if isinstance(other, baselines.Missing):
    return None, other.status
  setting = own_codec.shown_setting(codec)
  found = [
    r
    for r in rows
    if (r.codec, r.image, r.matched_setting) == (other.name, name, setting) and r.matched_to
  ]
  if not found:
    return None, "not measured"
  row = found[0]
  return other.decode(other.encode(x, row.setting)), _caption(row)


def _caption(row: records.Record) -> str:
  return f"{row.rate_bpp:.2f} bpp, {row.psnr_db:.2f} dB"


if __name__ == "__main__":
  cli.run(main)
