"""`cae decompress`: .cae files back to image files."""

import argparse
import functools
import re
from pathlib import Path

from cae_jax.cli import options, running
from cae_jax.codec import DEFAULT_MAX_PIXELS
from cae_jax.codec.targets import checked_look
from cae_jax.commands import decompressing
from cae_jax.commands.results import SUFFIX
from cae_jax.errors import UsageError
from cae_jax.images.files import FORMATS
from cae_jax.paths import shown


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `cae decompress`."""
  options.add_files(parser, "OUT.png")
  options.add_weights(parser)
  parser.add_argument(
    "--format",
    type=lambda text: text.lower().removeprefix("."),
    choices=sorted(suffix.removeprefix(".") for suffix in FORMATS),
    metavar="NAME",
    help="image format for --output_dir and -: png (the default), jpg, tif, …",
  )
  parser.add_argument(
    "--max_pixels",
    type=options.positive,
    default=DEFAULT_MAX_PIXELS,
    metavar="N",
    help="refuse larger images (%(default)s)",
  )
  parser.add_argument(
    "--look",
    type=float,
    default=0.0,
    metavar="B",
    help="texture for lossy files, from 0, closest to the original (the default), to 1, the most",
  )
  part = parser.add_mutually_exclusive_group()
  part.add_argument("--region", metavar="TOP,LEFT,HEIGHT,WIDTH", help="decode these pixels only")
  part.add_argument(
    "--preview", action="store_true", help="decode quickly to an eighth of the width and height"
  )
  parser.add_argument(
    "--salvage",
    action="store_true",
    help="write what is left of a damaged file, and say what is lost",
  )


def run(arguments: argparse.Namespace) -> int:
  """Runs `cae decompress`; returns its exit status."""
  _check_options(arguments)
  image_format = arguments.format or "png"
  command = functools.partial(
    decompressing.decompress_file,
    weights=options.weights_of(arguments),
    max_pixels=arguments.max_pixels,
    region=_region(arguments.region),
    preview=arguments.preview,
    salvage=arguments.salvage,
    look=checked_look(arguments.look),
    image_format=image_format,
    overwrite=arguments.force,
  )
  check = functools.partial(_check_target, arguments)
  jobs = running.plan(arguments, f".{image_format}", _is_compressed, check)
  return running.write_files(command, jobs, arguments)


def _check_options(arguments: argparse.Namespace) -> None:
  """Raises what is wrong with the options, once, and not for each file."""
  if arguments.preview and arguments.salvage:
    raise UsageError("--preview is of whole files; for what is left of one give --salvage alone")
  if arguments.preview and arguments.look:
    raise UsageError("--preview is made without what a look changes; leave --look out")
  options.check_weights(arguments)


def _is_compressed(name: str) -> bool:
  return name.lower().endswith(SUFFIX)


def _check_target(arguments: argparse.Namespace, target: Path) -> None:
  """Raises UsageError unless the name of a target says what image file it is to be."""
  if target.suffix.lower() in ("", SUFFIX):
    raise UsageError(
      f"{shown(target)} is no name of an image file; expected IN{SUFFIX} OUT.png, or "
      "--output_dir for many files"
    )
  if target.suffix.lower() not in FORMATS:
    raise UsageError(
      f"{shown(target)}: no image file is written with the suffix {target.suffix}; expected "
      f"{', '.join(FORMATS)}"
    )
  if arguments.format is not None and len(arguments.files) > 1:
    raise UsageError(
      f"--format is for --output_dir and -; the name {shown(target)} says its format"
    )


def _region(text: str | None) -> tuple[int, ...] | None:
  if text is None:
    return None
  numbers = re.fullmatch(",".join([r"(\d{1,18})"] * 4), text, re.ASCII)
  if numbers is None:
    raise UsageError(f"--region={text}: expected TOP,LEFT,HEIGHT,WIDTH in pixels")
  return tuple(map(int, numbers.groups()))
