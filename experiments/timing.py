"""Times trained weights and classical codecs side by side, on one image.

    python -m experiments.timing --dataset=photos --source_dir=PHOTOS --output=DIR

Writes timing.json and timing.md: encoding and decoding, warm and in processes of their own, largest
memory, and the networks' multiplications. Let nothing else run meanwhile.
"""

import sys

from cae_jax.errors import UsageError
from cae_jax.evaluation import timing
from cae_jax.evaluation.comparison import Comparison
from experiments import cli, evaluation_flags
from experiments.program_flags import Args, Flags


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  evaluation_flags.define_flags(flags)
  flags.string("codecs", "all", "Baselines: all, none, or names with commas.")
  flags.path("output", None, "Folder to write to.", required=True)
  flags.integer("image", 0, "Number of the image in the split.", lower_bound=0)
  flags.integer("repeats", 7, "Calls of each kind.", lower_bound=1)
  flags.integer("cold_repeats", 3, "Processes of each kind.", lower_bound=1)


def main(args: Args) -> None:
  """Runs the program."""
  what = Comparison(evaluation_flags.weights(args), args.codecs, args.bpg_dir, args.avif_speed)
  source = evaluation_flags.images(args)
  if args.image >= len(source):
    raise UsageError(f"--image={args.image}: there are {len(source)} images, from 0 on")
  example = source[args.image]
  height, width, _ = example["image"].shape
  timings = timing.measure(what, example["image"], args.repeats, args.cold_repeats)
  print(timing.write(args.output, timings, example["name"], f"{width} x {height} pixels"))


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
