"""How programs end: one line for what a user can mend, a traceback for a bug."""

import atexit
import contextlib
import dataclasses
import gc
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator

from cae_jax.errors import Error
from cae_jax.paths import shown

BUG_STATUS = 1
USAGE_STATUS = 2
INTERRUPT_STATUS = 130
_ALLOCATIONS = 100_000  # from one search for garbage to the next


def prepare_streams() -> None:
  """Lets standard output and error escape what their encoding lacks, instead of failing.

  What goes to a closed standard error is lost, as it should be: `print` would send it to standard
  output, which may be a picture's, and a file that is opened next would be standard error.
  """
  if sys.stderr is None:
    while (number := os.open(os.devnull, os.O_RDWR)) < 2:
      pass
    sys.stderr = os.fdopen(number, "w", encoding="utf-8")
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


def silence_libraries() -> None:
  """Keeps what JAX, XLA and readers of images tell their developers from those who use programs."""
  # Of devices that are not there and the like, of odd metadata.
  warnings.filterwarnings("ignore", module=r"PIL\.")
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  logging.getLogger("jax").setLevel(logging.ERROR)
  for reader in ("pydicom", "tifffile"):
    logging.getLogger(reader).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def few_collections() -> Iterator[None]:
  """Lets Python look for garbage seldom: what a program imports and traces stays till its end.

  And not at its end: with JAX that would take a quarter of a second.
  """
  before = gc.get_threshold()
  atexit.unregister(gc.freeze)
  atexit.register(gc.freeze)
  gc.set_threshold(_ALLOCATIONS, *before[1:])
  try:
    yield
  finally:
    gc.set_threshold(*before)


def is_users_fault(error: BaseException) -> bool:
  """Says whether a user can mend it, by another input, argument or device; else it is a bug."""
  return isinstance(error, (Error, OSError, KeyboardInterrupt)) or _is_out_of_memory(error)


@dataclasses.dataclass(frozen=True)
class Complaint:
  """What a program says of an error.

  Attributes:
    message: one line.
    status: the exit status that the error calls for: 2, 130 after Ctrl-C, 1 for a bug.
    traceback: where a user is to see it, else empty.
  """

  message: str
  status: int
  traceback: str = ""

  def show(self) -> int:
    """Says it on standard error; returns the exit status."""
    print(f"{self.traceback}error: {self.message}", file=sys.stderr)
    return self.status


def complaint(
  error: BaseException, *, debug: bool = False, source: str | os.PathLike[str] | None = None
) -> Complaint:
  """Puts into words what went wrong, in one line if a user can mend it.

  Args:
    error: what was raised.
    debug: with the traceback in any case.
    source: the file that was at work, if one was; it is named.
  """
  trace = "".join(traceback.format_exception(error)) if debug or not is_users_fault(error) else ""
  message = _text(error)
  if source is not None:
    name = shown(source)
    message = message.replace(os.fspath(source), name)
    message = message if name in message else f"{name}: {message}"
  lines = (line.strip() for line in message.splitlines())
  return Complaint(" ".join(filter(None, lines)), _status(error), trace)


def report(error: BaseException, *, debug: bool = False) -> int:
  """Says on standard error what went wrong; returns the exit status. Arguments as `complaint`."""
  return complaint(error, debug=debug).show()


def _text(error: BaseException) -> str:
  if isinstance(error, KeyboardInterrupt):
    return "interrupted"
  if _is_out_of_memory(error):
    return "not enough memory for it"
  if isinstance(error, OSError) and error.strerror:
    where = "" if error.filename is None else f"{shown(error.filename)}: "
    return f"{where}{error.strerror}"
  name, text = type(error).__name__, str(error)
  if is_users_fault(error):
    return text or name
  return f"internal error ({name}: {text}); please report it with the traceback above"


def _status(error: BaseException) -> int:
  if isinstance(error, KeyboardInterrupt):
    return INTERRUPT_STATUS
  return USAGE_STATUS if is_users_fault(error) else BUG_STATUS


def _is_out_of_memory(error: BaseException) -> bool:
  """Of the host or, as XLA says it, of the device."""
  of_device = isinstance(error, RuntimeError) and str(error).startswith("RESOURCE_EXHAUSTED")
  return of_device or isinstance(error, MemoryError)
