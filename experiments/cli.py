"""How every program here starts and fails."""

import sys
from collections.abc import Callable, Sequence

import jax
from absl import flags as absl_flags
from absl import logging

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
    _log_to_stderr(logging.INFO if debug else logging.WARNING)
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


def _log_to_stderr(verbosity: int) -> None:
  """Shows the log of absl, which JAX, Orbax and TFDS use, too."""
  absl_flags.FLAGS.mark_as_parsed()  # the log's own settings stay as they are
  logging.use_absl_handler()
  logging.set_verbosity(verbosity)
