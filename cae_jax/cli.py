"""The `cae` command: compress, decompress and info, for one file or many.

cae compress IN OUT.cae [--quality=Q | --bpp=X | --psnr=X | --bytes=N]
cae compress IN OUT.cae --lossless | --near_lossless=T
cae compress IN IN ... --output_dir=DIR
cae decompress IN.cae OUT.png
cae decompress IN.cae IN.cae ... --output_dir=DIR
cae info IN.cae ...

The exit status is 0, 2 after errors that a user can mend, 1 after a bug, 130 after Ctrl-C.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import cae_jax
from cae_jax import commands, console
from cae_jax.backend import BackendError
from cae_jax.codec import DEFAULT_MAX_PIXELS
from cae_jax.errors import UsageError
from cae_jax.paths import shown, user_path

BROKEN_PIPE_STATUS = 141  # as of a program that the signal ends

Job = tuple[Path, Path]


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  console.accept_any_text()
  arguments = _parser().parse_args(_underscored(sys.argv[1:] if argv is None else argv))
  # JAX and XLA speak of devices that are not there and the like, readers of images of odd metadata.
  if not arguments.debug:
    warnings.filterwarnings("ignore", module=r"PIL\.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("jax").setLevel(logging.ERROR)
    for reader in ("pydicom", "tifffile"):
      logging.getLogger(reader).setLevel(logging.CRITICAL)
  try:
    status = arguments.run(arguments)
    sys.stdout.flush()
    return status
  except BrokenPipeError:  # of standard output: nobody reads on, as with `| head`
    _drop_output()
    return BROKEN_PIPE_STATUS
  except (Exception, KeyboardInterrupt) as error:
    _drop_output()
    return console.report(error, debug=arguments.debug)


def _drop_output() -> None:
  """Forgets what standard output does not take, or Python would try again and fail at its end."""
  try:
    sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _underscored(arguments: Sequence[str]) -> list[str]:
  """Spells options as the parser knows them: --output-dir as --output_dir."""
  end = [*arguments, "--"].index("--")
  return [*map(_underscored_option, arguments[:end]), *arguments[end:]]


def _underscored_option(argument: str) -> str:
  name, equals, value = argument.partition("=")
  return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one line."""

  def error(self, message: str) -> NoReturn:
    print(f"error: {message}; {self.prog} --help explains", file=sys.stderr)
    sys.exit(console.USAGE_STATUS)


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="cae", description=cae_jax.__doc__, allow_abbrev=False)
  parser.add_argument("--version", action="version", version=f"cae_jax {cae_jax.__version__}")
  parser.set_defaults(debug=False)
  subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
  add = lambda name, run, text: _subparser(subparsers, name, run, text)
  _add_compress(add("compress", _compress, "Image files to .cae files."))
  _add_decompress(add("decompress", _decompress, "The .cae files back to image files."))
  info = add("info", _info, "What .cae files say of themselves.")
  info.add_argument("files", nargs="+", metavar="FILE.cae", type=_path)
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
  goal.add_argument("--psnr", type=float, metavar="X", help="at least X dB; inf is lossless")
  goal.add_argument("--bytes", type=int, metavar="N", help="a file of at most N bytes")
  parser.add_argument(
    "--effort",
    type=int,
    default=0,
    metavar="E",
    help="0 to 9: smaller files by longer work on each, from seconds to minutes (%(default)s)",
  )
  goal.add_argument("--lossless", action="store_true", help="every sample comes back")
  goal.add_argument(
    "--near_lossless", type=int, metavar="T", help="no sample differs by more than T"
  )
  parser.add_argument(
    "--keep_hidden_colour",
    action="store_true",
    help="lossless keeps colours under full transparency, too",
  )
  parser.add_argument("--strip", action="store_true", help="leave out colour profile, EXIF and XMP")


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
    "files", nargs="+", metavar="FILE", type=_path, help=f"IN {out}, or many IN and --output_dir"
  )
  parser.add_argument("--output_dir", metavar="DIR", type=_path, help="write there, by IN's names")
  parser.add_argument(
    "--weights", metavar="NAME_OR_FILE", type=_path, help="others than the shipped ones"
  )
  parser.add_argument("--force", action="store_true", help="overwrite files")


def _path(text: str) -> Path:
  try:
    return user_path(text)
  except UsageError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def _compress(arguments: argparse.Namespace) -> int:
  jobs = _jobs(arguments, commands.SUFFIX)
  if arguments.output_dir is None and jobs[0][1].suffix.lower() != commands.SUFFIX:
    raise UsageError(
      f"{shown(jobs[0][1])} does not end in {commands.SUFFIX}; expected IN OUT{commands.SUFFIX}, "
      "or --output_dir for many files"
    )
  command = lambda source, target: commands.compress_file(
    source,
    target,
    weights=_weights(arguments),
    strip=arguments.strip,
    lossless=arguments.lossless,
    near_lossless=arguments.near_lossless,
    keep_hidden_colour=arguments.keep_hidden_colour,
    effort=arguments.effort,
    overwrite=arguments.force,
    quality=arguments.quality,
    bpp=arguments.bpp,
    psnr=arguments.psnr,
    size_bytes=arguments.bytes,
  )
  return _run(jobs, command, arguments)


def _decompress(arguments: argparse.Namespace) -> int:
  jobs = _jobs(arguments, ".png")
  if arguments.output_dir is None and jobs[0][1].suffix.lower() in ("", commands.SUFFIX):
    raise UsageError(
      f"{shown(jobs[0][1])} is no name of an image file; expected IN{commands.SUFFIX} OUT.png, or "
      "--output_dir for many files"
    )
  command = lambda source, target: commands.decompress_file(
    source,
    target,
    weights=_weights(arguments),
    max_pixels=arguments.max_pixels,
    overwrite=arguments.force,
  )
  return _run(jobs, command, arguments)


def _info(arguments: argparse.Namespace) -> int:
  jobs = [(path, path) for path in arguments.files]
  return _run_all(jobs, lambda source, _: commands.describe_file(source), arguments.debug)


def _weights(arguments: argparse.Namespace) -> str | None:
  return None if arguments.weights is None else str(arguments.weights)


def _jobs(arguments: argparse.Namespace, suffix: str) -> list[Job]:
  """IN and OUT of every file; without --output_dir there are exactly these two."""
  files, folder = arguments.files, arguments.output_dir
  if folder is None:
    if len(files) != 2:
      raise UsageError(
        f"expected IN and OUT, got {len(files)} name{'s' * (len(files) > 1)}; for many files give "
        "--output_dir"
      )
    return [(files[0], files[1])]
  jobs = [(path, folder / f"{path.stem}{suffix}") for path in files]
  sources: dict[Path, Path] = {}
  for source, target in jobs:
    if target in sources:
      both = f"{shown(sources[target])} and {shown(source)}"
      raise UsageError(f"{both} would both become {shown(target)}; rename one")
    sources[target] = source
  return jobs


def _run(jobs: list[Job], command: commands.Command, arguments: argparse.Namespace) -> int:
  """Runs a command that writes files, never over others unless --force says so."""

  def guarded(source: Path, target: Path) -> str:
    if not target.parent.is_dir():
      raise UsageError(f"{shown(target.parent)}: no such folder")
    try:
      # Seen before the work, if it can be; what is no regular file holds nothing to be lost.
      if target.is_file() and not arguments.force:
        raise FileExistsError
      return command(source, target)
    except FileExistsError as error:
      raise UsageError(f"{shown(target)} exists; --force overwrites it") from error

  if arguments.output_dir is not None:
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
  return _run_all(jobs, guarded, arguments.debug)


def _run_all(jobs: list[Job], command: commands.Command, debug: bool) -> int:
  """One file after the other; a bad one, or a bug that it shows, does not stop the others."""
  from tqdm import tqdm

  status = 0
  # None: only where a person watches.
  for source, target in tqdm(jobs, unit="file", disable=True if len(jobs) == 1 else None):
    try:
      line = command(source, target)
    except BackendError:
      raise  # it would be the same for every file
    except Exception as error:
      with tqdm.external_write_mode():
        found = console.report(error, debug=debug, source=source)
      status = console.BUG_STATUS if console.BUG_STATUS in (found, status) else found
    else:
      tqdm.write(line)
  return status


if __name__ == "__main__":
  sys.exit(main())
