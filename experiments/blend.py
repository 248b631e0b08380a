"""Blends weights that were trained on with those that they started from.

    python -m experiments.blend --weights=runs/eye/weights.safetensors --share=0.8 \
        --start_weights=context2 --source_dir=PHOTOS --output=eye2.safetensors

Each does badly what the other does well, and its loss grows with the square of the distance between
them: giving up a little of what was gained recovers most of what was lost (Wortsman et al. 2022,
WiSE-FT, arXiv:2109.01903). The tables are made anew, for which some photographs are shown to the
network.
"""

import sys
from typing import Any

import jax
import numpy as np

import cae_jax
from cae_jax.codec.calibration import calibrate_weights
from cae_jax.data.sources import load_source
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.models import build_model
from cae_jax.training.variations import Variation
from cae_jax.weights import Weights, save_weights, shipped
from experiments import cli, train_parts
from experiments.program_flags import Args, Flags


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  flags.path("weights", None, "Of the run that went on.", required=True)
  flags.path("start_weights", shipped.DEFAULT, "What it went on from: a shipped name, or a file.")
  flags.number("share", 0.8, "Of the way from one to the other: 0 is the start.", 0, 1)
  flags.string("name", None, "Of the blend; that of --weights if not given.")
  flags.string("dataset", "photos", "Data set of photographs to show, as TFDS names it.")
  flags.string("split", "train", "Its split.")
  flags.path("source_dir", None, "Folder of images or tar shards to read instead of downloading.")
  flags.path("data_dir", None, "Where prepared data sets are kept.")
  flags.path("output", None, "The file to write.", required=True)


def main(args: Args) -> None:
  """Runs the program."""
  start, end = (train_parts.whole_weights(name) for name in (args.start_weights, args.weights))
  if start.config != end.config:
    raise UsageError(
      f"--weights={args.weights}: expected the network of --start_weights, {start.name}, got "
      f"{end.name}"
    )
  name = args.name or end.name
  train_parts.check_name(name)
  source = load_source(args.dataset, args.split, source_dir=args.source_dir, data_dir=args.data_dir)
  images = train_parts.calibration_images(build_model(end.config), source, Variation())
  params = blended(start.params, end.params, args.share)
  card = _card(start, end, args.share)
  save_weights(args.output, calibrate_weights(name, end.config, params, images, card))
  print(f"{args.output}: {args.share:g} of the way from {start.name} to {end.name}")


def blended(start: Any, end: Any, share: float) -> Any:
  """Returns the parameters at a share of the way, of the type of those at its end."""

  def between(a, b):
    a, b = np.asarray(a), np.asarray(b)
    mixed = a.astype(np.float32) + np.float32(share) * (b.astype(np.float32) - a.astype(np.float32))
    return mixed.astype(b.dtype)

  return jax.tree.map(between, start, end)


def _card(start: Weights, end: Weights, share: float) -> dict[str, Any]:
  """Says where the blend comes from."""
  seen = TrainedOn.from_card(start.card) | TrainedOn.from_card(end.card)
  return {
    **end.card,
    **seen.to_card(),
    "blended": {"with": start.name, "hash": start.hash().hex(), "share": share},
    "cae_jax": cae_jax.__version__,
  }


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
