"""The `cae` command: compress, decompress and info, for one file or many.

cae compress IN OUT.cae [--quality=Q | --bpp=X | --psnr=X | --bytes=N]
cae compress IN IN ... --output_dir=DIR
cae decompress IN.cae OUT.png
cae decompress IN.cae IN.cae ... --output_dir=DIR
cae info IN.cae ...
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import cae_jax
from cae_jax import commands
from cae_jax.codec import DEFAULT_MAX_PIXELS

USAGE_STATUS = 2
INTERRUPT_STATUS = 130
# What bad input raises; anything else is a bug and shows its traceback.
INPUT_ERRORS = (ValueError, OSError, RuntimeError, ModuleNotFoundError, MemoryError)

Job = tuple[Path, Path]


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status: 0, or 2 after errors of usage or input."""
  arguments = _parser().parse_args(argv)
  # JAX and XLA speak of devices that are not there and the like.
  if not arguments.debug:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("jax").setLevel(logging.ERROR)
  try:
    return arguments.run(arguments)
  except KeyboardInterrupt:
    return INTERRUPT_STATUS
  except INPUT_ERRORS as error:
    _complain(error, arguments.debug)
    return USAGE_STATUS


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one line."""

  def error(self, message: str) -> NoReturn:
    print(f"error: {message}; {self.prog} --help explains", file=sys.stderr)
    sys.exit(USAGE_STATUS)


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="cae", description=cae_jax.__doc__, allow_abbrev=False)
  parser.add_argument("--version", action="version", version=f"cae_jax {cae_jax.__version__}")
  parser.set_defaults(debug=False)
  subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
  add = lambda name, run, text: _subparser(subparsers, name, run, text)
  _add_compress(add("compress", _compress, "Image files to .cae files."))
  _add_decompress(add("decompress", _decompress, "The .cae files back to image files."))
  info = add("info", _info, "What .cae files say of themselves.")
  info.add_argument("files", nargs="+", metavar="FILE.cae", type=Path)
  return parser


def _subparser(subparsers, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
  parser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
  parser.set_defaults(run=run)
  parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
  return parser


def _add_compress(parser: argparse.ArgumentParser) -> None:
  _add_files(parser, "OUT.cae")
  goal = parser.add_mutually_exclusive_group()
  goal.add_argument("--quality", type=float, metavar="Q", help="0 to 100; 50 if nothing is given")
  goal.add_argument("--bpp", type=float, metavar="X", help="at most X bits per pixel")
  goal.add_argument("--psnr", type=float, metavar="X", help="at least X dB")
  goal.add_argument("--bytes", type=int, metavar="N", help="a file of at most N bytes")
  parser.add_argument(
    "--effort",
    type=int,
    default=0,
    metavar="E",
    help="0 to 9: smaller files by longer work on each, from seconds to minutes (%(default)s)",
  )
  parser.add_argument("--strip", action="store_true", help="leave out colour profile and EXIF")


def _add_decompress(parser: argparse.ArgumentParser) -> None:
  _add_files(parser, "OUT.png")
  parser.add_argument(
    "--max_pixels",
    type=int,
    default=DEFAULT_MAX_PIXELS,
    metavar="N",
    help="refuse larger images (%(default)s)",
  )


def _add_files(parser: argparse.ArgumentParser, out: str) -> None:
  parser.add_argument(
    "files", nargs="+", metavar="FILE", type=Path, help=f"IN {out}, or many IN and --output_dir"
  )
  parser.add_argument(
    "--output_dir", "--output-dir", metavar="DIR", type=Path, help="write there, by IN's names"
  )
  parser.add_argument("--weights", metavar="NAME_OR_FILE", help="others than the shipped ones")
  parser.add_argument("--force", action="store_true", help="overwrite files")


def _compress(arguments: argparse.Namespace) -> int:
  jobs = _jobs(arguments, commands.SUFFIX)
  if arguments.output_dir is None and jobs[0][1].suffix.lower() != commands.SUFFIX:
    raise ValueError(
      f"{jobs[0][1]} does not end in {commands.SUFFIX}; expected IN OUT{commands.SUFFIX}, or "
      "--output_dir for many files"
    )
  command = lambda source, target: commands.compress_file(
    source,
    target,
    weights=arguments.weights,
    strip=arguments.strip,
    effort=arguments.effort,
    quality=arguments.quality,
    bpp=arguments.bpp,
    psnr=arguments.psnr,
    size_bytes=arguments.bytes,
  )
  return _run(jobs, command, arguments)


def _decompress(arguments: argparse.Namespace) -> int:
  jobs = _jobs(arguments, ".png")
  if arguments.output_dir is None and jobs[0][1].suffix.lower() in ("", commands.SUFFIX):
    raise ValueError(
      f"{jobs[0][1]} is no name of an image file; expected IN{commands.SUFFIX} OUT.png, or "
      "--output_dir for many files"
    )
  command = lambda source, target: commands.decompress_file(
    source, target, weights=arguments.weights, max_pixels=arguments.max_pixels
  )
  return _run(jobs, command, arguments)


def _info(arguments: argparse.Namespace) -> int:
  jobs = [(path, path) for path in arguments.files]
  return _run_all(jobs, lambda source, _: commands.describe_file(source), arguments.debug)


def _jobs(arguments: argparse.Namespace, suffix: str) -> list[Job]:
  """IN and OUT of every file; without --output_dir there are exactly these two."""
  files, folder = arguments.files, arguments.output_dir
  if folder is None:
    if len(files) != 2:
      raise ValueError(
        f"expected IN and OUT, got {len(files)} name{'s' * (len(files) > 1)}; for many files give "
        "--output_dir"
      )
    return [(files[0], files[1])]
  jobs = [(path, folder / f"{path.stem}{suffix}") for path in files]
  sources: dict[Path, Path] = {}
  for source, target in jobs:
    if target in sources:
      raise ValueError(f"{sources[target]} and {source} would both become {target}; rename one")
    sources[target] = source
  return jobs


def _run(jobs: list[Job], command: commands.Command, arguments: argparse.Namespace) -> int:
  """Runs a command that writes files, never over others unless --force says so."""

  def guarded(source: Path, target: Path) -> str:
    if target.exists() and not arguments.force:
      raise FileExistsError(f"{target} exists; --force overwrites it")
    if not target.parent.is_dir():
      raise FileNotFoundError(f"{target.parent}: no such folder")
    return command(source, target)

  if arguments.output_dir is not None:
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
  return _run_all(jobs, guarded, arguments.debug)


def _run_all(jobs: list[Job], command: commands.Command, debug: bool) -> int:
  """One file after the other; a bad one does not stop the others."""
  from tqdm import tqdm

  status = 0
  # None: only where a person watches.
  for source, target in tqdm(jobs, unit="file", disable=True if len(jobs) == 1 else None):
    try:
      line = command(source, target)
    except INPUT_ERRORS as error:
      status = USAGE_STATUS
      with tqdm.external_write_mode():
        _complain(error, debug, source)
    else:
      tqdm.write(line)
  return status


def _complain(error: BaseException, debug: bool, source: Path | None = None) -> None:
  """One line on standard error, after the traceback if that is wanted."""
  if debug:
    traceback.print_exception(error)
  message, *_ = _message(error).strip().splitlines() or [type(error).__name__]
  known = source is None or str(source) in message
  print(f"error: {message}" if known else f"error: {source}: {message}", file=sys.stderr)


def _message(error: BaseException) -> str:
  if isinstance(error, OSError) and error.filename is not None:
    return f"{error.filename}: {error.strerror}"
  return str(error)


if __name__ == "__main__":
  sys.exit(main())
