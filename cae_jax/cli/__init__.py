"""The `cae` command: compress, decompress, info and compare, for one file or many.

cae compress IN OUT.cae [--quality=Q | --bpp=X | --psnr=X | --ssimulacra2=X | --bytes=N]
cae compress IN OUT.cae --tune=psnr|eye ...
cae compress IN OUT.cae --lossless | --near_lossless=T
cae compress IN-OR-FOLDER ... --output_dir=DIR [--recursive] [--jobs=N] [--skip_existing]
cae decompress IN.cae OUT.png [--look=B] [--region=TOP,LEFT,HEIGHT,WIDTH | --preview] [--salvage]
cae decompress IN.cae-OR-FOLDER ... --output_dir=DIR
cae info IN.cae ...
cae compare IN [--output=PAGE.html] [--quality=Q | --bpp=X | --psnr=X | --ssimulacra2=X | --bytes=N]
cae completion SHELL

`-` in the place of a file is standard input or output. docs/command-line.md has an example of each.

The exit status is 0, 2 after errors that a user can mend, 1 after a bug, 130 after Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from cae_jax import console

BROKEN_PIPE_STATUS = 141  # as of a program that the signal ends


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  console.prepare_streams()
  arguments = argparse.Namespace(debug=False)
  try:
    arguments = _parsed(sys.argv[1:] if argv is None else argv)
    if not arguments.debug:
      console.silence_libraries()
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


def _parsed(given: Sequence[str]) -> argparse.Namespace:
  # Imported under the eyes of `main`: it takes a while, in which somebody may press Ctrl-C.
  from cae_jax.cli import options
  from cae_jax.cli.parser import make_parser

  return make_parser().parse_args(options.spelled(given))


def _drop_output() -> None:
  """Forgets what standard output does not take, or Python would try again and fail at its end."""
  try:
    if sys.stdout is not None:
      sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
