"""`cae info`: what .cae files say of themselves."""

import argparse

from cae_jax import batch, streams
from cae_jax.batch import Job
from cae_jax.cli import options, running
from cae_jax.commands import describing
from cae_jax.errors import UsageError
from cae_jax.streams import Stream


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `cae info`."""
  parser.add_argument(
    "files", nargs="+", metavar="FILE.cae", type=options.place, help="- is standard input"
  )
  options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
  """Runs `cae info`; returns its exit status."""
  if sum(isinstance(place, Stream) for place in arguments.files) > 1:
    raise UsageError(f"{Stream.INPUT.value} can be read once; expected one - at most")
  for place in arguments.files:
    streams.check(place)
  work = batch.Work(describing.describe_file, debug=arguments.debug)
  return running.run_jobs(work, [Job(place) for place in arguments.files], arguments)
