"""How every program here starts and fails."""

import sys
from collections.abc import Callable, Sequence

import jax
from absl import app, flags, logging

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")

# What bad input raises; anything else is a bug and shows its traceback.
_INPUT_ERRORS = (ValueError, OSError, RuntimeError, ModuleNotFoundError)
USAGE_STATUS = 2
INTERRUPT_STATUS = 130


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Parses flags and runs `main`; errors of usage or input are one line and exit status 2."""

  def guarded(argv: Sequence[str]) -> None:
    logging.set_verbosity(logging.INFO if _DEBUG.value else logging.WARNING)
    try:
      if argv[1:]:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags have the form --name=value")
      main(argv)
    except KeyboardInterrupt:
      sys.exit(INTERRUPT_STATUS)
    except _INPUT_ERRORS as error:
      if _DEBUG.value or isinstance(error, jax.errors.JaxRuntimeError):
        raise
      _fail(str(error))

  app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    return _fail(str(error))


def _fail(message: str):
  first_line, *_ = message.strip().splitlines() or ["unknown error"]
  print(f"error: {first_line}", file=sys.stderr)
  sys.exit(USAGE_STATUS)
