"""How every program here starts and fails."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

import jax
from absl import logging as absl_logging
from absl.logging import converter

from cae_jax.errors import Error
from experiments import program_flags
from experiments.program_flags import Args, Definer

# What bad input raises; anything else is a bug and shows its traceback.
_INPUT_ERRORS = (Error, ValueError, OSError, RuntimeError, ModuleNotFoundError)
_HELP = frozenset({"-h", "--help", "--helpshort", "--helpfull"})
USAGE_STATUS = 2
INTERRUPT_STATUS = 130


def run(
  main: Callable[[Args], None], define_flags: Definer, arguments: Sequence[str] | None = None
) -> int:
  """Runs a program; errors of usage or input are one line on standard error.

  Args:
    main: the program.
    define_flags: its flags.
    arguments: those of this process if None.
  Returns:
    The exit status: 0, 2 after an error, 130 after an interruption.
  """
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
  except KeyboardInterrupt:
    return INTERRUPT_STATUS
  except _INPUT_ERRORS as error:
    if debug or isinstance(error, jax.errors.JaxRuntimeError):
      raise
    first_line, *_ = str(error).strip().splitlines() or ["unknown error"]
    print(f"error: {first_line}", file=sys.stderr)
    return USAGE_STATUS
  return 0


@contextlib.contextmanager
def _log_on_stderr(level: int) -> Iterator[None]:
  """Shows what Python's log and absl's (of JAX, Orbax, TFDS) say while the program runs."""
  root, handler = logging.getLogger(), logging.StreamHandler()
  before, absl_before = root.level, absl_logging.get_verbosity()
  handler.setFormatter(_LogFormatter())
  root.addHandler(handler)
  root.setLevel(level)
  absl_logging.set_verbosity(converter.standard_to_absl(level))
  try:
    yield
  finally:
    absl_logging.set_verbosity(absl_before)
    root.setLevel(before)
    root.removeHandler(handler)


class _LogFormatter(logging.Formatter):
  """Lines such as "warning: what happened"."""

  def format(self, record: logging.LogRecord) -> str:
    return f"{record.levelname.lower()}: {super().format(record)}"
