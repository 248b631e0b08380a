"""How every program here starts and fails."""

import contextlib
import copy
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import logging as absl_logging
from absl.logging import converter

from cae_jax import console
from experiments import program_flags
from experiments.program_flags import Args, Definer

_HELP = frozenset({"-h", "--help", "--helpshort", "--helpfull"})


def run(
  main: Callable[[Args], None], define_flags: Definer, arguments: Sequence[str] | None = None
) -> int:
  """Runs a program; errors of usage or input are one line on standard error.

  Args:
    main: the program.
    define_flags: its flags.
    arguments: those of this process if None.
  Returns:
    The exit status: 0, 2 after an error that a user can mend, 130 after an interruption.
  """
  console.prepare_streams()
  arguments = sys.argv[1:] if arguments is None else arguments
  if _HELP.intersection(arguments):
    print(
      sys.modules[main.__module__].__doc__, program_flags.defined(define_flags).get_help(), sep="\n"
    )
    return 0
  debug = False
  try:
    args = program_flags.parse(define_flags, arguments)
    debug = args.debug
    with _log_on_stderr(logging.INFO if debug else logging.WARNING):
      main(args)
  except (Exception, KeyboardInterrupt) as error:
    if not console.is_users_fault(error):
      raise
    return console.report(error, debug=debug)
  return 0


@contextlib.contextmanager
def _log_on_stderr(level: int) -> Iterator[None]:
  """Shows what Python's log and absl's (of JAX, Orbax, TFDS) say while the program runs."""
  root, handler = logging.getLogger(), logging.StreamHandler()
  before, absl_before = root.level, absl_logging.get_verbosity()
  # absl's log sets one up where it is used while a library is imported; lines would come twice.
  others = [other for other in root.handlers if type(other) is logging.StreamHandler]
  handler.setFormatter(_LogFormatter(level <= logging.INFO))
  root.handlers = [handler, *(other for other in root.handlers if other not in others)]
  root.setLevel(level)
  absl_logging.set_verbosity(converter.standard_to_absl(level))
  try:
    yield
  finally:
    absl_logging.set_verbosity(absl_before)
    root.setLevel(before)
    root.handlers = [*others, *(other for other in root.handlers if other is not handler)]


class _LogFormatter(logging.Formatter):
  """Lines such as "warning: what happened"; tracebacks only for those who ask for them."""

  def __init__(self, debug: bool):
    super().__init__()
    self._debug = debug

  def format(self, record: logging.LogRecord) -> str:
    if not self._debug:
      record = copy.copy(record)  # others may show it, too
      record.exc_info = record.exc_text = record.stack_info = None
    return f"{record.levelname.lower()}: {super().format(record)}"
