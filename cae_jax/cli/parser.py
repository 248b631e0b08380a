"""The parser of `cae`: its commands, each of which is a module."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

import cae_jax
from cae_jax import console
from cae_jax.cli import compare, completion, compress, decompress, info

_COMMANDS = {
  "compress": (compress, "Compress image files to .cae files."),
  "decompress": (decompress, "Turn .cae files back into image files."),
  "info": (info, "Show what .cae files contain."),
  "compare": (compare, "Make a page that compares codecs at equal size."),
  "completion": (completion, "Print a script with which Tab completes cae's commands."),
}


# As Python's parsers tell options from files: these may also be numbers, or have a space within.
_OPTION = re.compile(r"-(?!\d*\.?\d+$)[^ ]+")


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one line."""

  def error(self, message: str) -> NoReturn:
    print(f"error: {message}; {self.prog} --help explains", file=sys.stderr)
    sys.exit(console.USAGE_STATUS)


class _CommandParser(_Parser):
  """Takes files before, between and after options."""

  _inside = False

  def parse_known_args(self, args=None, namespace=None):
    if self._inside:
      return super().parse_known_args(args, namespace)
    self._refuse([word for word in args if self._is_unknown(word)])
    self._inside = True
    try:
      found, unknown = self.parse_known_intermixed_args(args, namespace)
    finally:
      self._inside = False
    self._refuse(unknown)
    return found, unknown

  def _is_unknown(self, word: str) -> bool:
    name = word.partition("=")[0]
    return _OPTION.fullmatch(word) is not None and name not in self._option_string_actions

  def _refuse(self, words: Sequence[str]) -> None:
    """Ends the program if there are words that stand for nothing."""
    dashed = next((word for word in words if re.match("-[^-]", word)), None)
    way_out = "" if dashed is None else f" (if it is a file: ./{dashed})"
    if words:
      self.error(f"unrecognized arguments: {' '.join(words)}{way_out}")


def make_parser() -> argparse.ArgumentParser:
  """Makes the parser; of what it parses, `run` is the command's function of all arguments."""
  parser = _Parser(prog="cae", description=cae_jax.__doc__, allow_abbrev=False)
  parser.add_argument("--version", action="version", version=f"cae_jax {cae_jax.__version__}")
  parser.set_defaults(debug=False)
  commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_CommandParser)
  for name, (module, text) in _COMMANDS.items():
    command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.set_defaults(run=module.run)
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    module.add_options(command)
  return parser
