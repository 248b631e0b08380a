"""What `experiments.evaluate --lossless` does."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cae_jax import api
from cae_jax import codec as codecs
from cae_jax.atomic import replace_atomically
from cae_jax.data.sources import pairs
from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.errors import UsageError
from cae_jax.evaluation import figures, records
from cae_jax.evaluation.codecs import lossless_codecs, own_codec
from cae_jax.evaluation.codecs.base import FileCodec
from cae_jax.evaluation.lossless import measuring, standings, tables
from cae_jax.evaluation.lossless.image_sets import ExactImages
from cae_jax.evaluation.names import LOSSLESS_LABELS
from cae_jax.evaluation.records import Record
from cae_jax.images.pixels import to_rgb
from cae_jax.paths import user_path
from experiments import evaluation_flags
from experiments.program_flags import Args, Flags

_SHIPPED = Path(api.LOSSLESS)


def define_flags(flags: Flags) -> None:
  """Defines the flags of this part."""
  flags.boolean("lossless", False, "Compare lossless codecs instead, on images of any depth.")
  flags.string(
    "sets", "", "Lossless: the data sets, name=folder with commas; if not given --dataset."
  )
  flags.integers(
    "near_lossless",
    [],
    "Lossless: largest errors of a sample to measure besides 0.",
    1,
    lossless_codecs.MAX_BOUND,
  )
  flags.string("reference", standings.REFERENCE, "Lossless: the codec to compare the others with.")
  flags.boolean("ours", True, "Lossless: measure our codec, not the others alone.")
  flags.paths("records", [], "Lossless: records.jsonl of other runs, whose records join these.")


def main(args: Args) -> None:
  """Runs the evaluation."""
  _check(args)
  others = lossless_codecs.lossless_codecs(args.codecs, args.near_lossless)
  image_sets = _image_sets(args)
  own = [_own(args, image_sets)] if args.ours else []
  log = args.output / "records.jsonl"
  args.output.mkdir(parents=True, exist_ok=True)
  done = _joined(records.resume_records(log), args.records)
  rows = measuring.run(
    [*own, *others],
    image_sets,
    done=done,
    on_record=functools.partial(records.append_record, log),
  )
  records.write_records(log, rows)
  _write(args.output, rows, args.reference)


def _check(args: Args) -> None:
  if args.jobs != 1 or args.efforts:
    raise UsageError("--lossless: one process and one effort; leave --jobs and --efforts out")
  if args.reference not in LOSSLESS_LABELS:
    raise UsageError(
      f"--reference: expected one of {', '.join(LOSSLESS_LABELS)}, got {args.reference!r}"
    )


def _own(args: Args, image_sets: measuring.ImageSets) -> FileCodec:
  named = args.workdir is not None or args.weights is not None
  codec = codecs.load(evaluation_flags.weights(args) if named else _SHIPPED)
  if isinstance(codec, codecs.Codec):
    raise UsageError(f"--lossless: the weights {codec.weights.name!r} are of a lossy model")
  trained_on = TrainedOn.from_card(codec.weights.card)
  for dataset, images in image_sets.items():
    for name, x in images:
      if x.dtype == np.uint8 and trained_on.has(name, pixel_digest(to_rgb(x))):
        raise UsageError(f"the weights were trained on {name} of {dataset}; take it out of the set")
  return own_codec.lossless(codec, args.near_lossless)


def _image_sets(args: Args) -> measuring.ImageSets:
  if args.sets:
    return {name: ExactImages(folder) for name, folder in _folders(args.sets).items()}
  if args.source_dir is not None:
    return {args.dataset: ExactImages(args.source_dir)}
  return {args.dataset: pairs(evaluation_flags.images(args))}


def _folders(sets: str) -> dict[str, Path]:
  """The folders of --sets, by the names of the data sets."""
  result: dict[str, Path] = {}
  for item in sets.split(","):
    name, equals, folder = item.partition("=")
    if not (name and equals and folder) or name in result:
      raise UsageError(f"--sets: expected name=folder with commas, names once each, got {item!r}")
    result[name] = user_path(folder)
  return result


def _joined(done: Sequence[Record], others: Sequence[Path]) -> list[Record]:
  """Records of this output, then those of other files that it has not got."""
  key = lambda r: (r.dataset, r.codec, r.setting, r.image, r.version)
  result = {key(record): record for record in done}
  for path in others:
    for record in records.read_records(path):
      if record.error_bound is None and record.image is not None:
        raise UsageError(f"--records: {path} has rows that --lossless did not write")
      if record.mse is not None:
        result.setdefault(key(record), record)
  return list(result.values())


def _write(output: Path, rows: Sequence[Record], reference: str) -> None:
  results = standings.standings(rows, reference)
  if not results:
    raise UsageError("no codec has figures: all are missing, or take none of the images")
  extra = {"reference": reference, "datasets": standings.to_json(results)}
  records.write_summary(output / "summary.json", [], extra)
  text = tables.text(rows, reference)
  with replace_atomically(output / "table.md") as temporary:
    temporary.write_text(text, encoding="utf-8")
  drawn = {
    "bits_per_sub_pixel": figures.bits_per_sub_pixel(results),
    "image_by_image": figures.image_by_image(rows, reference),
    "near_lossless": figures.near_lossless(results),
  }
  for name, figure in drawn.items():
    if figure is not None:
      figures.save(figure, output / "figures" / f"{name}.png")
  print(text)
