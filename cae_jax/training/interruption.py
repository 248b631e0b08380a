"""Ending a run in good order when asked to."""

import signal
from types import FrameType

import jax

from cae_jax.training import sharding


class Interruption:
  """While entered, SIGTERM and the first Ctrl-C only set a flag; a second Ctrl-C raises.

  Signal handlers exist in the main thread alone; entered elsewhere (a notebook's worker, say) it
  changes nothing.
  """

  _SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self):
    self.requested = False
    self._previous: dict[int, object] = {}

  def __enter__(self) -> "Interruption":
    try:
      self._previous = {s: signal.signal(s, self._handle) for s in self._SIGNALS}
    except ValueError:  # not the main thread
      self._previous = {}
    return self

  def __exit__(self, *exception) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)  # type: ignore[arg-type]

  def agreed(self, check: bool) -> bool:
    """Whether to stop now, the same answer on every process.

    One process looks at its flag at every call. Several have to talk about it, and do so only
    where `check` is set; it has to be the same on all of them.
    """
    if jax.process_count() == 1:
      return self.requested
    return check and sharding.any_process(self.requested)

  def _handle(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self.requested and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.requested = True
