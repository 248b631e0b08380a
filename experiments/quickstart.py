"""Shows the package at work: a photograph through the codec, then the paper's network in training.

    python -m experiments.quickstart

Needs no download and takes about two minutes on two CPU cores. It fills runs/quickstart:

    coffee.png, coffee.cae   a photograph of scikit-image's wheel, and the file made of it
    coffee_decoded.png       that file, decoded
    coffee_compared.png      both, beside a JPEG of the same size
    paper/                   a training run of flags/sample_paper.flags: curves.png,
                             reconstructions.png, table.md, weights.safetensors

Started again, the program compresses the photograph anew and goes on with the training.
"""

import sys
from pathlib import Path

import numpy as np

import cae_jax
from cae_jax.data.sources import load_source
from cae_jax.evaluation import figures, pictures
from cae_jax.evaluation.codecs import baselines
from cae_jax.images.files import write_image
from cae_jax.images.metrics import psnr_db
from cae_jax.paths import make_folder
from experiments import cli, program_flags, train
from experiments.program_flags import Args, Flags

PHOTOGRAPH = "coffee"
RATE_BPP = 0.3
_FLAGFILE = Path(__file__).parent / "flags" / "sample_paper.flags"


def define_flags(flags: Flags) -> None:
  """Defines the program's flags."""
  flags.path("output", "runs/quickstart", "Folder to write to.")
  flags.path("data_dir", None, "Where prepared data sets are kept.")
  flags.integer("steps", 1000, "Length of the training.", 1)


def main(args: Args) -> None:
  """Runs the program."""
  print(show_codec(args.output, _photograph(args.data_dir)), flush=True)
  run = args.output / "paper"
  arguments = [f"--flagfile={_FLAGFILE}", f"--workdir={run}", f"--steps={args.steps}"]
  arguments += [f"--data_dir={args.data_dir}"] if args.data_dir else []
  train.main(program_flags.parse(train.define_flags, arguments))
  shown = f"{PHOTOGRAPH}_compared.png", "paper/curves.png", "paper/reconstructions.png"
  print(f"to look at in {args.output}: {', '.join(shown)}")


def show_codec(folder: Path, image: np.ndarray) -> str:
  """Compresses and decompresses an image, and writes it, its file and both pictures to a folder.

  Args:
    folder: made if it is not there.
    image: uint8 [H, W, 3].
  Returns:
    What was done, in one line.
  """
  make_folder(folder)
  codec = cae_jax.load()
  data = codec.compress(image, bpp=RATE_BPP)
  decoded = codec.decompress(data)
  write_image(folder / f"{PHOTOGRAPH}.png", image)
  (folder / f"{PHOTOGRAPH}.cae").write_bytes(data)
  write_image(folder / f"{PHOTOGRAPH}_decoded.png", decoded)
  ours = f"{8 * len(data) / image[..., 0].size:.2f} bpp, {psnr_db(image, decoded):.2f} dB"
  [jpeg] = baselines.baselines("jpeg")
  other = pictures.at_size(jpeg, PHOTOGRAPH, image, len(data), search=True)
  methods = {"cae_jax": (decoded, ours), "JPEG": (other.x_hat, other.words)}
  shown = {method: {PHOTOGRAPH: picture} for method, picture in methods.items()}
  figure = figures.methods_on_images({PHOTOGRAPH: image}, shown)
  figures.save(figure, folder / f"{PHOTOGRAPH}_compared.png")
  return f"{folder / PHOTOGRAPH}.cae: {len(data)} bytes, {ours}; JPEG of that size: {other.words}"


def _photograph(data_dir: Path | None) -> np.ndarray:
  """The test photograph `PHOTOGRAPH` of `sample_photos`."""
  source = load_source("sample_photos", "test", data_dir=data_dir)
  return next(example["image"] for example in source if example["name"] == PHOTOGRAPH)


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
