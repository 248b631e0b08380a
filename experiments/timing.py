"""Times trained weights and classical codecs side by side, on one image.

    python -m experiments.timing --weights= --source_dir=PHOTOS --dataset=photos --output=DIR

Writes timing.json and timing.md: encoding and decoding, warm and in processes of their own, largest
memory, and the networks' multiplications. Let nothing else run meanwhile.
"""

from collections.abc import Sequence

from absl import flags

from cae_jax.evaluation import timing
from cae_jax.evaluation.comparison import Comparison
from experiments import cli
from experiments.evaluation_flags import BPG_DIR, images, weights

CODECS = flags.DEFINE_string("codecs", "all", "Baselines: all, none, or names with commas.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)
IMAGE = flags.DEFINE_integer("image", 0, "Number of the image in the split.", lower_bound=0)
REPEATS = flags.DEFINE_integer("repeats", 7, "Calls of each kind.", lower_bound=1)
COLD_REPEATS = flags.DEFINE_integer("cold_repeats", 3, "Processes of each kind.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
  """Runs the program with the parsed flags."""
  del argv
  what = Comparison(weights(), CODECS.value, BPG_DIR.value)
  examples = images()
  if IMAGE.value >= len(examples):
    raise ValueError(f"--image={IMAGE.value}: the split has {len(examples)} images, from 0 on")
  name, x_uint8 = examples[IMAGE.value]
  height, width, _ = x_uint8.shape
  timings = timing.measure(what, x_uint8, REPEATS.value, COLD_REPEATS.value)
  print(timing.write(OUTPUT.value, timings, name, f"{width} x {height} pixels"))


if __name__ == "__main__":
  cli.run(main)
