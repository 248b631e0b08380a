"""What `experiments.evaluate --lossless` does."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cae_jax import locks
from cae_jax.atomic import write_text
from cae_jax.codec import LosslessCodec
from cae_jax.data.sources import pairs
from cae_jax.data.views import pixel_digest
from cae_jax.errors import UsageError
from cae_jax.evaluation import figures, records
from cae_jax.evaluation.codecs import lossless_codecs, own_codec
from cae_jax.evaluation.codecs.base import FileCodec, Missing
from cae_jax.evaluation.lossless import measuring, standings, tables
from cae_jax.evaluation.lossless.image_sets import ExactImages, Some
from cae_jax.evaluation.names import LOSSLESS_LABELS
from cae_jax.evaluation.records import Record
from cae_jax.images.pixels import to_rgb
from cae_jax.paths import user_path
from cae_jax.weights import shipped
from experiments import evaluation_flags
from experiments.program_flags import Args, Flags

_SHIPPED = Path(shipped.LOSSLESS)


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


def main(args: Args) -> None:
  """Runs the evaluation."""
  if args.reference not in LOSSLESS_LABELS:
    raise UsageError(
      f"--reference: expected one of {', '.join(LOSSLESS_LABELS)}, got {args.reference!r}"
    )
  others = lossless_codecs.lossless_codecs(args.codecs, args.near_lossless)
  image_sets, own = _image_sets(args), []
  if args.ours:
    codec = own_codec.load_lossless(_weights(args))
    image_sets = _unseen(codec, image_sets)
    own = [own_codec.lossless(codec, args.near_lossless)]
  with locks.locked(args.output, "evaluation", "--output", print):
    _write(args.output, _measured(args, [*own, *others], image_sets), args.reference)


def _measured(
  args: Args, codecs: Sequence[FileCodec | Missing], image_sets: measuring.ImageSets
) -> list[Record]:
  """Measures what no earlier run has; returns all records."""
  names = {dataset: {name for name, _ in images} for dataset, images in image_sets.items()}
  others = evaluation_flags.other_records(args.records, names, lossless=True)
  log = args.output / "records.jsonl"
  done = records.resume_records(log)
  evaluation_flags.check_images(log, done, names)
  keep = functools.partial(records.append_record, log)
  rows = measuring.run(codecs, image_sets, done=records.joined(done, others), on_record=keep)
  records.write_records(log, rows)
  return rows


def _weights(args: Args) -> Path:
  named = args.workdir is not None or args.weights is not None
  return evaluation_flags.weights(args) if named else _SHIPPED


def _unseen(codec: LosslessCodec, image_sets: measuring.ImageSets) -> measuring.ImageSets:
  """The images of all sets that the weights have not been trained on."""
  trained_on = evaluation_flags.trained_on(codec)
  result: dict[str, Some] = {}
  for dataset, images in image_sets.items():
    unseen = evaluation_flags.unseen(trained_on, map(_known, images), f" of {dataset}")
    result[dataset] = Some(images, unseen)
  return result


def _known(image: tuple[str, np.ndarray]) -> tuple[str, bytes]:
  """Name and digest of an image, as a card lists them: those that were trained on had 8 bits."""
  name, x = image
  return name, pixel_digest(to_rgb(x)) if x.dtype == np.uint8 else b""


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


def _write(output: Path, rows: Sequence[Record], reference: str) -> None:
  results = standings.standings(rows, reference)
  if not results:
    raise UsageError("no codec has figures: all are missing, or take none of the images")
  extra = {"reference": reference, "datasets": standings.to_json(results)}
  records.write_summary(output / "summary.json", [], extra)
  text = tables.text(rows, reference)
  write_text(output / "table.md", text)
  drawn = {
    "bits_per_sub_pixel": figures.bits_per_sub_pixel(results),
    "image_by_image": figures.image_by_image(rows, reference),
    "near_lossless": figures.near_lossless(results),
  }
  for name, figure in drawn.items():
    if figure is not None:
      figures.save(figure, output / "figures" / f"{name}.png")
  print(text)
