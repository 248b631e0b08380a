"""Whether JAX can work in this process, and a word of the way out where it cannot."""

import os
import sys

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
  import jax

  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    raise BackendError(_way_out(platforms, str(error))) from error
  _started = True


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
  # JAX keeps its backends there; a program may have started them without `require`.
  bridge = sys.modules.get("jax._src.xla_bridge")
  _forked = _forked or _started or bool(getattr(bridge, "_backends", None))


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
  os.register_at_fork(after_in_child=_after_fork)
