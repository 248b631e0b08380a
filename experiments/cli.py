"""How every program here starts and fails."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from cae_jax import console
from cae_jax.errors import UsageError

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Parses flags and runs `main`; what a user can mend is one line, with its exit status."""

  def guarded(argv: Sequence[str]) -> None:
    logging.set_verbosity(logging.INFO if _DEBUG.value else logging.WARNING)
    try:
      if argv[1:]:
        raise UsageError(f"unexpected argument {argv[1]!r}; flags have the form --name=value")
      main(argv)
    except (Exception, KeyboardInterrupt) as error:
      if not console.is_users(error):
        raise
      sys.exit(console.report(error, debug=_DEBUG.value))

  console.accept_any_text()
  app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    sys.exit(console.report(UsageError(str(error))))
