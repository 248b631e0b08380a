"""How programs end: one line for what a user can mend, a traceback for a bug."""

import io
import os
import sys
import traceback

from cae_jax.errors import Error
from cae_jax.paths import shown

BUG_STATUS = 1
USAGE_STATUS = 2
INTERRUPT_STATUS = 130


def accept_any_text() -> None:
  """Lets standard output and error escape what their encoding lacks, instead of failing."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


def is_users(error: BaseException) -> bool:
  """Says whether a user can mend it, by another input, argument or device; else it is a bug."""
  return isinstance(error, (Error, OSError, KeyboardInterrupt)) or _is_out_of_memory(error)


def report(
  error: BaseException, *, debug: bool = False, source: str | os.PathLike[str] | None = None
) -> int:
  """Says on standard error what went wrong, in one line if a user can mend it.

  Args:
    error: what was raised.
    debug: shows the traceback in any case.
    source: the file that was at work, if one was; it is named.
  Returns:
    The exit status that the error calls for: 2, 130 after Ctrl-C, 1 for a bug.
  """
  if debug or not is_users(error):
    traceback.print_exception(error)
  message = _text(error)
  if source is not None:
    name = shown(source)
    message = message.replace(os.fspath(source), name)
    message = message if name in message else f"{name}: {message}"
  lines = (line.strip() for line in message.splitlines())
  print("error:", *filter(None, lines), file=sys.stderr)
  return _status(error)


def _text(error: BaseException) -> str:
  if isinstance(error, KeyboardInterrupt):
    return "interrupted"
  if _is_out_of_memory(error):
    return "not enough memory for it"
  if isinstance(error, OSError) and error.strerror:
    where = "" if error.filename is None else f"{shown(error.filename)}: "
    return f"{where}{error.strerror}"
  name, text = type(error).__name__, str(error)
  if is_users(error):
    return text or name
  return f"internal error ({name}: {text}); please report it with the traceback above"


def _status(error: BaseException) -> int:
  if isinstance(error, KeyboardInterrupt):
    return INTERRUPT_STATUS
  return USAGE_STATUS if is_users(error) else BUG_STATUS


def _is_out_of_memory(error: BaseException) -> bool:
  """Of the host or, as XLA says it, of the device."""
  of_device = isinstance(error, RuntimeError) and str(error).startswith("RESOURCE_EXHAUSTED")
  return of_device or isinstance(error, MemoryError)
