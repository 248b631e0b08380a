"""Options that several commands have, and their types."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cae_jax import streams
from cae_jax.codec.info import TUNES
from cae_jax.errors import UsageError
from cae_jax.paths import user_path
from cae_jax.streams import Place
from cae_jax.weights import shipped
from cae_jax.weights.files import read_metadata


def spelled(arguments: Sequence[str]) -> list[str]:
  """Spells arguments as the parser knows them: --output-dir as --output_dir, -- -name as ./-name.

  Versions of Python differ in what their parsers make of `--`, so none gets to see it.
  """
  end = [*arguments, "--"].index("--")
  return [*map(_underscored_option, arguments[:end]), *map(_name_as_path, arguments[end + 1 :])]


def _underscored_option(argument: str) -> str:
  name, equals, value = argument.partition("=")
  return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


def _name_as_path(name: str) -> str:
  return f"./{name}" if name.startswith("-") and name != streams.DASH else name


def add_files(parser: argparse.ArgumentParser, out: str) -> None:
  """Adds IN and OUT, or many IN, and what becomes of files that are there."""
  parser.add_argument(
    "files",
    nargs="+",
    metavar="FILE",
    type=place,
    help=f"IN {out}, where - is standard input or output; or IN alone, after which OUT is named; "
    "or many IN with --output_dir",
  )
  parser.add_argument(
    "--output_dir",
    metavar="DIR",
    type=path,
    help="folder to write to, under the names of IN, which may be folders",
  )
  parser.add_argument(
    "--recursive", action="store_true", help="take sub-folders, too, and keep them in the output"
  )
  parser.add_argument(
    "--jobs", type=positive, default=1, metavar="N", help="files to work on at once (%(default)s)"
  )
  present = parser.add_mutually_exclusive_group()
  present.add_argument("--force", action="store_true", help="overwrite existing files")
  present.add_argument("--skip_existing", action="store_true", help="skip files that exist already")
  add_json(parser)


def add_goal(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
  """Adds what a lossy file can be asked for; returns the group, for more of the kind."""
  goal = parser.add_mutually_exclusive_group()
  goal.add_argument(
    "--quality",
    type=float,
    metavar="Q",
    help="0 to 100, up to 175 for copies closer still (50 if nothing is asked for)",
  )
  goal.add_argument("--bpp", type=float, metavar="X", help="at most X bits per pixel")
  goal.add_argument("--psnr", type=float, metavar="X", help="at least X dB; inf is lossless")
  goal.add_argument(
    "--ssimulacra2",
    type=float,
    metavar="X",
    help="a score of at least X; at 90 a difference is hardly seen",
  )
  goal.add_argument("--bytes", type=int, metavar="N", help="a file of at most N bytes")
  return goal


def goal_of(arguments: argparse.Namespace) -> dict[str, Any]:
  """Returns the options of `add_goal`, as the codecs call them."""
  targets = {name: getattr(arguments, name) for name in ("quality", "bpp", "psnr", "ssimulacra2")}
  return {**targets, "size_bytes": arguments.bytes}


def add_weights_or_tune(parser: argparse.ArgumentParser) -> None:
  """Adds the choice of weights, by name or by what they are tuned for."""
  which = parser.add_mutually_exclusive_group()
  add_weights(which)
  which.add_argument(
    "--tune",
    choices=TUNES,
    help="make lossy files for the eye (the default without --psnr) or for small errors (psnr)",
  )


def add_weights(parser: argparse._ActionsContainer) -> None:
  """Adds the choice of weights by name."""
  parser.add_argument(
    "--weights",
    metavar="NAME_OR_FILE",
    type=path,
    help="weights of the package by name, or a file (the package's that fit)",
  )


def weights_of(arguments: argparse.Namespace) -> str | None:
  """Returns the weights that were asked for; None if none were."""
  return None if arguments.weights is None else str(arguments.weights)


def check_weights(arguments: argparse.Namespace) -> None:
  """Raises WeightsError unless the weights that were asked for are there."""
  if arguments.weights is not None:
    read_metadata(shipped.find(arguments.weights))


def add_json(parser: argparse.ArgumentParser) -> None:
  """Adds --json."""
  parser.add_argument("--json", action="store_true", help="print a line of JSON for each file")


def path(text: str) -> Path:
  """Reads a file's name, as a type of arguments."""
  return _parsed(user_path, text)


def place(text: str) -> Place:
  """Reads a file's name or -, as a type of arguments."""
  return _parsed(streams.place, text)


def _parsed(function: Callable[[str], Any], text: str) -> Any:
  try:
    return function(text)
  except UsageError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
  """Reads a number from 1 on, as a type of arguments."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
  return int(text)
