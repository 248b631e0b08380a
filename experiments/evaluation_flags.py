"""The flags that say which weights to measure, and on which images."""

from pathlib import Path

from cae_jax.codec import Codec
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
from cae_jax.weights import shipped
from experiments.program_flags import Args, Flags

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
    return load_source(args.dataset, _SPLIT, **where)
  except SplitError:
    source = load_source(args.dataset, "all", **where)
    print(f"{args.dataset} has no split {_SPLIT!r}: all of its {len(source)} images are taken")
    return source


def unseen_images(args: Args, codec: Codec) -> ImageSource:
  """Opens the images that the weights have not been trained on."""
  source = images(args)
  trained_on = TrainedOn.from_card(codec.weights.card)
  if codec.look is not None:
    trained_on |= TrainedOn.from_card(codec.look.card)
  by_names = " (by their names: the card of these weights has no more)" if trained_on.names else ""
  if trained_on.unlisted:
    print(
      f"the weights were trained on {trained_on.unlisted} images that their card does not list; "
      "whether some of them are among these cannot be told"
    )
  known = zip(image_names(source), image_digests(source), strict=True)
  unseen = [index for index, image in enumerate(known) if not trained_on.has(*image)]
  left_out = len(source) - len(unseen)
  if left_out:
    print(f"{left_out} of {len(source)} images left out: trained on{by_names}")
  if not unseen:
    raise UsageError(f"the weights were trained on all {len(source)} images{by_names}")
  return chosen(source, unseen)
