"""`cae completion`: a script that completes cae's words by Tab."""

import argparse

from cae_jax.cli import options


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `cae completion`."""
  parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to complete in")


def run(arguments: argparse.Namespace) -> int:
  """Runs `cae completion`; returns its exit status."""
  from cae_jax import completion
  from cae_jax.cli.parser import make_parser  # which knows this command, too

  print(completion.script(make_parser(), arguments.shell, (options.path, options.place)))
  return 0
