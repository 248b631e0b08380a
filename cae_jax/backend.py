"""Whether JAX can work in this process, and is worth its while; a word of the way out if not."""

import contextlib
import functools
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from cae_jax.errors import Error

_started = False  # by `require`, in this process
_forked = False  # from a process in which JAX had started


class BackendError(Error, RuntimeError):
  """JAX cannot work in this process or on this machine as it was told to."""


def require() -> None:
  """Starts JAX on its devices, unless that was done.

  Raises:
    BackendError: there are no such devices, or this process is a fork of one that used JAX.
  """
  global _started
  if _forked:
    raise BackendError(
      "JAX hangs in a process forked from one that has used it; start processes with "
      "multiprocessing.get_context('spawn'), or use the codec in the forked ones only"
    )
  if _started:
    return
  with _signals_held():
    import jax

  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    raise BackendError(_way_out(platforms, str(error))) from error
  _started = True


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
  """Holds back what Ctrl-C and SIGTERM raise.

  JAX's import does not bear that: the process aborts, or goes on as if nothing had been raised.
  """
  in_main = threading.current_thread() is threading.main_thread()
  numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM) if in_main else ()
  handlers = {number: signal.getsignal(number) for number in numbers}
  raising = {number: handler for number, handler in handlers.items() if callable(handler)}
  held: list[tuple[int, Any]] = []
  for number in raising:
    signal.signal(number, lambda *given: held.append(given))
  try:
    yield
  finally:
    for number, handler in raising.items():
      signal.signal(number, handler)
    for number, frame in held[:1]:
      raising[number](number, frame)


def imported_jax() -> Any:
  """Returns JAX if this process has imported it, else None."""
  if "jax" not in sys.modules:
    return None
  import jax  # waits for a thread that is at it

  return jax


def has_accelerator() -> bool:
  """Says whether JAX would compute on something else than a CPU.

  Where nothing is installed that JAX could use one by, JAX is not imported to find out: it takes
  longer to do that than to decode a photograph. A process forked from one that used JAX has none.

  Raises:
    BackendError: there may be one, and JAX cannot start.
  """
  if _forked:
    return False
  platforms = _platforms()
  if platforms:
    return platforms.split(",")[0] != "cpu"  # the first one is the default
  if not (_backends() or _has_plugin()):
    return False
  require()
  import jax

  return jax.default_backend() != "cpu"


def _platforms() -> str | None:
  """What JAX was told to use."""
  jax = imported_jax()
  if jax is not None:
    return jax.config.jax_platforms
  return os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")


def _backends() -> Any:
  """What JAX has started, if it has; a program may have done so without `require`."""
  return getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None)


@functools.cache
def _has_plugin() -> bool:
  """Whether any package is installed that JAX would look for an accelerator in."""
  packages = "jax_plugins", "libtpu"
  variables = "TPU_LIBRARY_PATH", "PJRT_NAMES_AND_LIBRARY_PATHS"
  return any(map(importlib.util.find_spec, packages)) or any(map(os.environ.get, variables))


def _way_out(platforms: str | None, reason: str) -> str:
  if not platforms:
    return f"JAX cannot start: {reason}"
  reason = reason.partition(" (set JAX_PLATFORMS")[0] or "none is visible"
  return (
    f"JAX_PLATFORMS={platforms}: JAX finds no such device ({reason}); install its plugin, such as "
    'pip install "jax[cuda13]", see that the driver shows the device, or unset JAX_PLATFORMS, and '
    "JAX takes what there is"
  )


def _after_fork() -> None:
  global _forked
  _forked = _forked or _started or bool(_backends())


os.register_at_fork(after_in_child=_after_fork)
