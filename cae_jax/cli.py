"""The `cae` command: compress, decompress, info and compare, for one file or many.

cae compress IN OUT.cae [--quality=Q | --bpp=X | --psnr=X | --ssimulacra2=X | --bytes=N]
cae compress IN OUT.cae --tune=psnr|eye ...
cae compress IN OUT.cae --lossless | --near_lossless=T
cae compress IN-OR-FOLDER ... --output_dir=DIR [--recursive] [--jobs=N] [--skip_existing]
cae decompress IN.cae OUT.png [--look=B] [--region=TOP,LEFT,HEIGHT,WIDTH | --preview] [--salvage]
cae decompress IN.cae-OR-FOLDER ... --output_dir=DIR
cae info IN.cae ...
cae compare IN [--output=PAGE.html] [--quality=Q | --bpp=X | --psnr=X | --bytes=N]
cae completion SHELL

`-` in the place of a file is standard input or output. docs/command-line.md has an example of each.

The exit status is 0, 2 after errors that a user can mend, 1 after a bug, 130 after Ctrl-C.
"""

import argparse
import contextlib
import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import cae_jax
from cae_jax import batch, commands, console, streams
from cae_jax.batch import Job, Outcome
from cae_jax.codec import DEFAULT_MAX_PIXELS
from cae_jax.codec.info import TUNES
from cae_jax.codec.targets import checked_look
from cae_jax.data.listing import is_image
from cae_jax.errors import UsageError
from cae_jax.images.files import FORMATS
from cae_jax.paths import shown, user_path
from cae_jax.streams import Place, Stream
from cae_jax.weights.shipped import tuned

BROKEN_PIPE_STATUS = 141  # as of a program that the signal ends
# Files in folders that are images, too, though Pillow does not read them by itself.
_MORE_IMAGES = (".dcm", ".heic", ".heif")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  console.accept_any_text()
  arguments = _parser().parse_args(_underscored(sys.argv[1:] if argv is None else argv))
  if not arguments.debug:
    console.silence_libraries()
  try:
    with console.few_collections():
      status = arguments.run(arguments)
    if sys.stdout is not None:  # as it is if it was closed
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
    if sys.stdout is not None:
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
  _add_info(add("info", _info, "What .cae files say of themselves."))
  _add_compare(add("compare", _compare, "A page that compares codecs at equal bytes."))
  _add_completion(add("completion", _completion, "A script that completes cae's words by Tab."))
  return parser


def _subparser(subparsers, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
  parser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
  parser.set_defaults(run=run)
  parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
  return parser


def _add_compress(parser: argparse.ArgumentParser) -> None:
  _add_files(parser, "OUT.cae")
  _add_weights_or_tune(parser)
  goal = _add_goal(parser)
  goal.add_argument("--lossless", action="store_true", help="every sample comes back")
  goal.add_argument(
    "--near_lossless", type=int, metavar="T", help="no sample differs by more than T"
  )
  parser.add_argument(
    "--effort",
    type=int,
    default=0,
    metavar="E",
    help="0 or 1: files smaller by about 1 %% for some seconds of work on each (%(default)s)",
  )
  parser.add_argument(
    "--keep_hidden_colour",
    action="store_true",
    help="lossless keeps colours under full transparency, too",
  )
  parser.add_argument("--strip", action="store_true", help="leave out colour profile, EXIF and XMP")


def _add_decompress(parser: argparse.ArgumentParser) -> None:
  _add_files(parser, "OUT.png")
  _add_weights(parser)
  parser.add_argument(
    "--format",
    choices=sorted(suffix.removeprefix(".") for suffix in FORMATS),
    metavar="NAME",
    help="of images for --output_dir and -, where no name says it: png (the default), jpg, tif, …",
  )
  parser.add_argument(
    "--max_pixels",
    type=int,
    default=DEFAULT_MAX_PIXELS,
    metavar="N",
    help="refuse larger images (%(default)s)",
  )
  parser.add_argument(
    "--look",
    type=float,
    default=0.0,
    metavar="B",
    help="from 0, closest to the original (%(default)g), to 1, the most real; of lossy files",
  )
  part = parser.add_mutually_exclusive_group()
  part.add_argument("--region", metavar="TOP,LEFT,HEIGHT,WIDTH", help="decode these pixels only")
  part.add_argument(
    "--preview", action="store_true", help="a small picture of an eighth of the size, made quickly"
  )
  parser.add_argument(
    "--salvage", action="store_true", help="write what is left of a damaged file, and say what not"
  )


def _add_weights_or_tune(parser: argparse.ArgumentParser) -> None:
  which = parser.add_mutually_exclusive_group()
  _add_weights(which)
  which.add_argument(
    "--tune",
    choices=TUNES,
    help="make lossy files for the eye (the default, but with --psnr) or for small errors (psnr)",
  )


def _add_weights(parser: argparse._ActionsContainer) -> None:
  parser.add_argument(
    "--weights", metavar="NAME_OR_FILE", type=_path, help="others than the shipped ones"
  )


def _region(text: str | None) -> tuple[int, ...] | None:
  if text is None:
    return None
  numbers = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text, re.ASCII)
  if numbers is None:
    raise UsageError(f"--region={text}: expected TOP,LEFT,HEIGHT,WIDTH in pixels")
  return tuple(map(int, numbers.groups()))


def _add_info(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "files", nargs="+", metavar="FILE.cae", type=_place, help="- is standard input"
  )
  _add_json(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("photograph", metavar="IN", type=_path, help="any image; seen as 8-bit RGB")
  parser.add_argument(
    "--output", type=_path, metavar="PAGE.html", help="what to write; IN's name with _compared.html"
  )
  _add_goal(parser)
  parser.add_argument(
    "--codecs", default="all", metavar="NAMES", help="all, or some such as jpeg,avif (%(default)s)"
  )
  parser.add_argument(
    "--bpg_dir", type=_path, metavar="DIR", help="folder of bpgenc and bpgdec; else the PATH"
  )
  _add_weights_or_tune(parser)
  parser.add_argument("--no_open", action="store_true", help="leave the browser alone")
  parser.add_argument("--force", action="store_true", help="overwrite the page")


def _add_completion(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to complete in")


def _add_goal(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
  goal = parser.add_mutually_exclusive_group()
  goal.add_argument("--quality", type=float, metavar="Q", help="0 to 100; 50 if nothing is given")
  goal.add_argument("--bpp", type=float, metavar="X", help="at most X bits per pixel")
  goal.add_argument("--psnr", type=float, metavar="X", help="at least X dB; inf is lossless")
  goal.add_argument(
    "--ssimulacra2", type=float, metavar="X", help="a score of at least X; 90 hardly differs"
  )
  goal.add_argument("--bytes", type=int, metavar="N", help="a file of at most N bytes")
  return goal


def _goal(arguments: argparse.Namespace) -> dict[str, Any]:
  """The options of `_add_goal`, as the codecs call them."""
  targets = {name: getattr(arguments, name) for name in ("quality", "bpp", "psnr", "ssimulacra2")}
  return {**targets, "size_bytes": arguments.bytes}


def _add_files(parser: argparse.ArgumentParser, out: str) -> None:
  parser.add_argument(
    "files",
    nargs="+",
    metavar="FILE",
    type=_place,
    help=f"IN {out}, of which - is standard input or output; or many IN and --output_dir",
  )
  parser.add_argument(
    "--output_dir", metavar="DIR", type=_path, help="write there, by IN's names; IN may be folders"
  )
  parser.add_argument(
    "--recursive", action="store_true", help="take folders in folders, too, and keep them apart"
  )
  parser.add_argument(
    "--jobs", type=_positive, default=1, metavar="N", help="so many files at once (%(default)s)"
  )
  present = parser.add_mutually_exclusive_group()
  present.add_argument("--force", action="store_true", help="overwrite files")
  present.add_argument(
    "--skip_existing", action="store_true", help="leave out what there is a file of already"
  )
  _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--json", action="store_true", help="print an object a line for each file")


def _path(text: str) -> Path:
  return _parsed(user_path, text)


def _place(text: str) -> Place:
  return _parsed(streams.place, text)


def _parsed(function: Callable[[str], Any], text: str) -> Any:
  try:
    return function(text)
  except UsageError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
  return int(text)


def _compress(arguments: argparse.Namespace) -> int:
  def takes(name: str) -> bool:
    return is_image(name) or name.lower().endswith(_MORE_IMAGES)

  def check(target: Path) -> None:
    if target.suffix.lower() != commands.SUFFIX:
      raise UsageError(
        f"{shown(target)} does not end in {commands.SUFFIX}; expected IN OUT{commands.SUFFIX}, or "
        "--output_dir for many files"
      )

  if arguments.tune is not None:
    tuned(arguments.tune)  # is an error once, not for each file
  command = functools.partial(
    commands.compress_file,
    weights=_weights(arguments),
    tune=arguments.tune,
    strip=arguments.strip,
    lossless=arguments.lossless,
    near_lossless=arguments.near_lossless,
    keep_hidden_colour=arguments.keep_hidden_colour,
    effort=arguments.effort,
    overwrite=arguments.force,
    **_goal(arguments),
  )
  return _write_files(command, _jobs(arguments, commands.SUFFIX, takes, check), arguments)


def _decompress(arguments: argparse.Namespace) -> int:
  def takes(name: str) -> bool:
    return name.lower().endswith(commands.SUFFIX)

  def check(target: Path) -> None:
    if target.suffix.lower() in ("", commands.SUFFIX):
      raise UsageError(
        f"{shown(target)} is no name of an image file; expected IN{commands.SUFFIX} OUT.png, or "
        "--output_dir for many files"
      )
    if arguments.format is not None:
      raise UsageError(
        f"--format is for --output_dir and -; the name {shown(target)} says its format"
      )

  if arguments.preview and arguments.salvage:
    raise UsageError("--preview is of whole files; for what is left of one give --salvage alone")
  if arguments.preview and arguments.look:
    raise UsageError("--preview is made without what a look changes; leave --look out")
  image_format = arguments.format or "png"
  command = functools.partial(
    commands.decompress_file,
    weights=_weights(arguments),
    max_pixels=arguments.max_pixels,
    region=_region(arguments.region),
    preview=arguments.preview,
    salvage=arguments.salvage,
    look=checked_look(arguments.look),
    image_format=image_format,
    overwrite=arguments.force,
  )
  return _write_files(command, _jobs(arguments, f".{image_format}", takes, check), arguments)


def _info(arguments: argparse.Namespace) -> int:
  if sum(isinstance(place, Stream) for place in arguments.files) > 1:
    raise UsageError(f"{Stream.INPUT.value} can be read once; expected one - at most")
  for place in arguments.files:
    streams.check(place)
  work = batch.Work(commands.describe_file, debug=arguments.debug)
  return _run(work, [Job(place) for place in arguments.files], arguments)


def _compare(arguments: argparse.Namespace) -> int:
  source = arguments.photograph
  target = arguments.output or Path(f"{source.stem}_compared.html")
  exists = UsageError(f"{shown(target)} exists; --force overwrites it")
  if target.is_file() and not arguments.force:
    raise exists
  lines = commands.compare_file(
    source,
    target,
    weights=_weights(arguments),
    tune=arguments.tune,
    codecs=arguments.codecs,
    bpg_dir=arguments.bpg_dir,
    overwrite=arguments.force,
    **_goal(arguments),
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


def _completion(arguments: argparse.Namespace) -> int:
  from cae_jax import completion

  print(completion.script(_parser(), arguments.shell, (_path, _place)))
  return 0


def _weights(arguments: argparse.Namespace) -> str | None:
  return None if arguments.weights is None else str(arguments.weights)


def _jobs(
  arguments: argparse.Namespace,
  suffix: str,
  takes: Callable[[str], bool],
  check: Callable[[Path], None],
) -> list[Job]:
  """Plans which files to make: of suffix those in --output_dir, else one that passes a check."""
  files, folder = arguments.files, arguments.output_dir
  if folder is not None:
    return batch.into_folder(files, folder, suffix, takes, recursive=arguments.recursive)
  if arguments.recursive:
    raise UsageError("--recursive is for folders; give --output_dir")
  job = batch.one(files)
  if isinstance(job.target, Path):
    check(job.target)
  elif arguments.json:
    raise UsageError(f"--json and - both need {Stream.OUTPUT.value}; expected one of them")
  return [job]


def _write_files(
  command: commands.Command, jobs: Sequence[Job], arguments: argparse.Namespace
) -> int:
  """Runs a command that writes files, never over others unless --force says so."""
  folder = arguments.output_dir
  work = batch.Work(
    command,
    overwrite=arguments.force,
    skip_existing=arguments.skip_existing,
    makes_folders=folder is not None,
    debug=arguments.debug,
  )
  if folder is None:
    return _run(work, jobs, arguments)
  folder.mkdir(parents=True, exist_ok=True)
  totals, started = batch.Totals(), time.monotonic()
  try:
    return _run(work, jobs, arguments, totals)
  finally:
    if totals.files:
      print(totals.line(time.monotonic() - started), file=sys.stderr)


def _run(
  work: batch.Work,
  jobs: Sequence[Job],
  arguments: argparse.Namespace,
  totals: batch.Totals | None = None,
) -> int:
  """Does all jobs, and tells of each; a bad file does not stop the others."""
  from tqdm import tqdm

  status = 0
  # None: only where a person watches.
  bar = tqdm(total=len(jobs), unit="file", disable=True if len(jobs) == 1 else None)
  count = getattr(arguments, "jobs", 1)
  with bar, contextlib.closing(batch.run(work, jobs, count)) as outcomes:
    for outcome in outcomes:
      if totals is not None:
        totals.add(outcome)  # before it is told: what Ctrl-C follows is counted
      with tqdm.external_write_mode():
        status = _worse(status, _tell(outcome, arguments.json))
      bar.update()
  return status


def _tell(outcome: Outcome, as_json: bool) -> int:
  """Prints what came of a file; returns the exit status that it calls for."""
  job, result = outcome.job, outcome.result
  # Standard output is the file's own, if it is there.
  output = sys.stderr if job.target is Stream.OUTPUT else sys.stdout
  if as_json:
    print(json.dumps(_object(outcome), allow_nan=False), file=output, flush=True)
  elif result is not None:
    print(result.words, file=output, flush=True)
  elif outcome.complaint is None and job.target is not None:
    there = streams.name_of(job.target)
    print(f"{streams.name_of(job.source)}: skipped, {there} is there", file=output, flush=True)
  return 0 if outcome.complaint is None else outcome.complaint.show()


def _object(outcome: Outcome) -> dict[str, Any]:
  """What --json says of a file."""
  places = {"input": outcome.job.source, "output": outcome.job.target}
  return {
    **{key: streams.argument_of(place) for key, place in places.items() if place is not None},
    "status": outcome.status,
    **({} if outcome.complaint is None else {"error": outcome.complaint.message}),
    **({} if outcome.result is None else outcome.result.fields),
  }


def _worse(status: int, other: int) -> int:
  return console.BUG_STATUS if console.BUG_STATUS in (status, other) else status or other


if __name__ == "__main__":
  sys.exit(main())
