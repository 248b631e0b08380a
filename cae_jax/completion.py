"""Scripts that complete the words of a command in a shell, made by shtab.

They stand for themselves: completing starts no Python, which would take longer than typing does.
"""

import argparse
from collections.abc import Callable, Collection, Iterator
from typing import Any

from cae_jax.errors import MissingExtraError

_FOLDER = "_dir"  # names of arguments end so


def script(
  parser: argparse.ArgumentParser, shell: str, paths: Collection[Callable[[str], Any]]
) -> str:
  """Writes a script that completes a parser's commands, options and names of files.

  Args:
    parser: of the command.
    shell: bash, zsh or tcsh.
    paths: types of arguments that are files, or folders where the argument's name says so.
  Raises:
    MissingExtraError: shtab is not installed.
  """
  try:
    import shtab
  except ModuleNotFoundError as error:
    raise MissingExtraError(
      'completion needs shtab, which is not installed: pip install "cae_jax[completion]"'
    ) from error
  for action in _actions(parser):
    if action.type in paths:
      kind = shtab.DIRECTORY if action.dest.endswith(_FOLDER) else shtab.FILE
      action.complete = kind  # type: ignore[attr-defined]
  return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
  for action in parser._actions:
    yield action
    if isinstance(action, argparse._SubParsersAction):
      for command in action.choices.values():
        yield from _actions(command)
