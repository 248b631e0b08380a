"""`cae compare`: a page that compares codecs at equal bytes."""

import argparse
import sys
from pathlib import Path

from cae_jax.atomic import check_allowed
from cae_jax.cli import options
from cae_jax.commands import comparing
from cae_jax.errors import UsageError
from cae_jax.paths import shown


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `cae compare`."""
  parser.add_argument(
    "photograph", metavar="IN", type=options.path, help="any image; read as 8-bit RGB"
  )
  parser.add_argument(
    "--output",
    type=options.path,
    metavar="PAGE.html",
    help="page to write (IN's name with _compared.html)",
  )
  options.add_goal(parser)
  parser.add_argument(
    "--codecs", default="all", metavar="NAMES", help="all, or some, such as jpeg,avif (%(default)s)"
  )
  parser.add_argument(
    "--bpg_dir", type=options.path, metavar="DIR", help="folder of bpgenc and bpgdec (the PATH)"
  )
  options.add_weights_or_tune(parser)
  parser.add_argument("--no_open", action="store_true", help="do not open the page in the browser")
  parser.add_argument("--force", action="store_true", help="overwrite the page")


def run(arguments: argparse.Namespace) -> int:
  """Runs `cae compare`; returns its exit status."""
  source = arguments.photograph
  target = arguments.output or Path(f"{source.stem}_compared.html")
  if target.suffix.lower() not in (".html", ".htm"):
    raise UsageError(f"{shown(target)} is no name of a page; expected --output=PAGE.html")
  if not target.parent.is_dir():
    raise UsageError(f"{shown(target.parent)}: no such folder")
  exists = UsageError(f"{shown(target)} exists; --force overwrites it")
  if target.is_file() and not arguments.force:
    raise exists
  check_allowed(target)
  lines = comparing.compare_file(
    source,
    target,
    weights=options.weights_of(arguments),
    tune=arguments.tune,
    codecs=arguments.codecs,
    bpg_dir=arguments.bpg_dir,
    overwrite=arguments.force,
    **options.goal_of(arguments),
  )
  try:
    for line in lines:
      print(line, flush=True)
  except FileExistsError as error:
    raise exists from error
  print(shown(target), flush=True)
  import webbrowser

  if not arguments.no_open and not webbrowser.open(target.resolve().as_uri()):
    print(f"no browser was found that could show {shown(target)}", file=sys.stderr)
  return 0
