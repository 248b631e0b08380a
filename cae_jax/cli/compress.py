"""`cae compress`: image files to .cae files."""

import argparse
import functools
from pathlib import Path

from cae_jax.cli import options, running
from cae_jax.commands import compressing
from cae_jax.commands.results import SUFFIX
from cae_jax.data.listing import is_image
from cae_jax.errors import UsageError
from cae_jax.paths import shown


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `cae compress`."""
  options.add_files(parser, "OUT.cae")
  options.add_weights_or_tune(parser)
  goal = options.add_goal(parser)
  goal.add_argument("--lossless", action="store_true", help="give back every sample")
  goal.add_argument(
    "--near_lossless", type=int, metavar="T", help="change no sample by more than T"
  )
  parser.add_argument(
    "--effort",
    type=int,
    default=0,
    metavar="E",
    help="0 or 1, with --tune=psnr or --psnr: 1 saves about 1 %% of the bits at equal PSNR and "
    "takes some seconds more, the first time 20 or more (%(default)s)",
  )
  parser.add_argument(
    "--keep_hidden_colour",
    action="store_true",
    help="in lossless and near-lossless files keep colours under full transparency, too",
  )
  parser.add_argument(
    "--keep_suffix",
    action="store_true",
    help="in --output_dir make a.png.cae of a.png, so that a.jpg may lie beside it",
  )
  parser.add_argument("--strip", action="store_true", help="leave out colour profile, EXIF and XMP")


def run(arguments: argparse.Namespace) -> int:
  """Runs `cae compress`; returns its exit status."""

  def check(target: Path) -> None:
    if target.name.lower() == SUFFIX:
      raise UsageError(f"{shown(target)} is a suffix alone; expected IN OUT{SUFFIX}")
    if target.suffix.lower() != SUFFIX:
      raise UsageError(
        f"{shown(target)} does not end in {SUFFIX}; expected IN OUT{SUFFIX}, or "
        "--output_dir for many files"
      )

  asked = {
    "weights": options.weights_of(arguments),
    "tune": arguments.tune,
    "lossless": arguments.lossless,
    "near_lossless": arguments.near_lossless,
    "effort": arguments.effort,
    **options.goal_of(arguments),
  }
  options.check_weights(arguments)
  compressing.check_options(**asked)  # once, and not for each file
  command = functools.partial(
    compressing.compress_file,
    strip=arguments.strip,
    keep_hidden_colour=arguments.keep_hidden_colour,
    overwrite=arguments.force,
    **asked,
  )
  jobs = running.plan(arguments, SUFFIX, is_image, check)
  return running.write_files(command, jobs, arguments)
