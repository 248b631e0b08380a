"""The flags that say which weights to measure, and on which images."""

import dataclasses
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from cae_jax.codec import Codec, LosslessCodec
from cae_jax.data.sources import (
  ImageSource,
  SplitError,
  chosen,
  image_digests,
  image_names,
  load_source,
)
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.evaluation.codecs import baselines
from cae_jax.evaluation.records import Record, read_records
from cae_jax.weights import shipped
from experiments.program_flags import Args, Flags

# The images that are measured, by data set as records have it.
Names = Mapping[str, Set[str]]

_SPLIT = "test"


def define_flags(flags: Flags) -> None:
  """Defines them."""
  flags.path("workdir", None, "Folder of a finished training run, whose weights are measured.")
  flags.path(
    "weights",
    None,
    "Shipped weights by name, or a weights file; context2 if neither is given.",
  )
  flags.string("dataset", "kodak", "Data set, as TFDS names it.")
  flags.string(
    "split", None, f"Its split; if not given {_SPLIT}, or all images where there is no such split."
  )
  flags.path("source_dir", None, "Folder of images or tar shards to read instead of downloading.")
  flags.path("data_dir", None, "Where prepared data sets are kept.")
  flags.path("bpg_dir", None, "Folder of bpgenc and bpgdec; else the PATH.")
  flags.integer(
    "avif_speed",
    baselines.AVIF_SPEED,
    "Of AVIF's encoder; 2 takes three times as long as 4 and saves 2 to 5 % of its bits.",
    lower_bound=0,
    upper_bound=10,
  )


def weights(args: Args) -> Path:
  """Finds the weights: of --workdir or --weights, else those that are shipped.

  Raises:
    UsageError: both flags were given, or the run has not been finished.
    WeightsError: there are no weights of that name.
  """
  if args.workdir is not None and args.weights is not None:
    raise UsageError("--workdir and --weights: expected one of them, got both")
  if args.workdir is None:
    return shipped.find(args.weights)
  path = args.workdir / "weights.safetensors"
  if not path.exists():
    raise UsageError(
      f"--workdir: {path} is not there; finish the run: python -m experiments.train with its flags"
    )
  return path


def images(args: Args) -> ImageSource:
  """Opens the split; if none was asked for and there is no test split, all images."""
  where = {"source_dir": args.source_dir, "data_dir": args.data_dir}
  if args.split is not None:
    return load_source(args.dataset, args.split, **where)
  try:
    source = load_source(args.dataset, _SPLIT, **where)
    print(f"{args.dataset}: the {len(source)} images of split {_SPLIT!r}; --split=all takes all")
  except SplitError:
    source = load_source(args.dataset, "all", **where)
    print(f"{args.dataset} has no split {_SPLIT!r}: all of its {len(source)} images are taken")
  return source


def other_records(paths: Iterable[Path], names: Names, *, lossless: bool) -> list[Record]:
  """Reads the records of --records, of images; says how many there are.

  Args:
    paths: records.jsonl of other runs.
    names: what is measured; other images of these data sets are left out.
    lossless: whether they are to be of --lossless.
  Raises:
    UsageError: there is no such file, or it has records of the other kind.
  """
  result: list[Record] = []
  for path in paths:
    if not path.is_file():
      raise UsageError(f"--records: expected a records.jsonl of another run, found no file {path}")
    found = [record for record in read_records(path) if record.image is not None]
    if any((record.error_bound is not None) != lossless for record in found):
      kind, way = ("lossy", "without") if lossless else ("lossless", "with")
      raise UsageError(f"--records: {path} is of {kind} codecs; join it to a run {way} --lossless")
    result += found
  joining = [record for record in result if not _is_of_others(record, names)]
  if result:
    print(f"{len(joining)} of the {len(result)} records of other runs join these")
  if len(joining) < len(result):
    return [dataclasses.replace(record, kid=None) for record in joining]  # was of more images
  return joining


def check_images(log: Path, done: Iterable[Record], names: Names) -> None:
  """Raises UsageError if there are records of other images, which would count in every mean.

  Args:
    log: the records' file.
    done: the records.
    names: what is measured.
  """
  others = sorted({record.image or "" for record in done if _is_of_others(record, names)})
  if others:
    raise UsageError(
      f"{log} has records of {len(others)} images that are not measured now ({others[0]} …); give "
      "another --output, or the data set that it was made of"
    )


def _is_of_others(record: Record, names: Names) -> bool:
  """Whether a record is of an image that is not measured, of a data set that is."""
  return record.image not in names.get(record.dataset, {record.image})


def unseen_images(args: Args, codec: Codec) -> ImageSource:
  """Opens the images that the weights have not been trained on."""
  source = images(args)
  known = zip(image_names(source), image_digests(source), strict=True)
  return chosen(source, unseen(trained_on(codec), known))


def trained_on(codec: Codec | LosslessCodec) -> TrainedOn:
  """Reads what the weights, and their look, were trained on; says if they do not list it all."""
  result = TrainedOn.from_card(codec.weights.card)
  if isinstance(codec, Codec) and codec.look is not None:
    result |= TrainedOn.from_card(codec.look.card)
  if result.unlisted:
    print(
      f"the weights were trained on {result.unlisted} images that their card does not list; "
      "whether some of them are among these cannot be told"
    )
  return result


def unseen(seen: TrainedOn, known: Iterable[tuple[str, bytes]], of: str = "") -> list[int]:
  """Lists the indexes of images that weights were not trained on; says how many are left out.

  Args:
    seen: of `trained_on`.
    known: name and `pixel_digest` of each image.
    of: more words on the images, for what is said.
  Raises:
    UsageError: no image is left.
  """
  are_seen = [seen.has(*image) for image in known]
  by_names = " (by their names: the card of these weights has no more)" if seen.names else ""
  if any(are_seen):
    print(f"{sum(are_seen)} of {len(are_seen)} images{of} left out: trained on{by_names}")
  if all(are_seen):
    raise UsageError(f"the weights were trained on all {len(are_seen)} images{of}{by_names}")
  return [index for index, is_seen in enumerate(are_seen) if not is_seen]
