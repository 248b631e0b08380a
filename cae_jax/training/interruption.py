"""Ending a run in good order when asked to."""

import math
import signal
import threading
import time
from types import FrameType

import jax

from cae_jax.training import sharding

# Two SIGINTs within this are one: `timeout -s INT` and some shells tell a process and its group.
_AT_ONCE = 1.0  # seconds


class Interruption:
  """While entered, what asks a process to end only sets a flag; a second Ctrl-C later on raises.

  That is SIGTERM, Ctrl-C, SIGHUP (a closed terminal; where it is ignored, as under nohup, it stays
  so), and the warnings of cluster schedulers before their limits: SIGUSR1, SIGUSR2, SIGXCPU.

  Signal handlers exist in the main thread alone; entered elsewhere (a notebook's worker, say) it
  changes nothing.
  """

  _NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")

  def __init__(self):
    self.requested = False
    self._interrupted = -math.inf  # when first, if a Ctrl-C came before all else
    self._previous: dict[int, object] = {}

  def __enter__(self) -> "Interruption":
    if threading.current_thread() is threading.main_thread():
      numbers = [signal.Signals[name] for name in self._NAMES]
      if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
      self._previous = {number: signal.signal(number, self._handle) for number in numbers}
    return self

  def __exit__(self, *exception) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)  # type: ignore[arg-type]

  def agreed(self, check: bool) -> bool:
    """Says whether to stop now, the same on every process.

    One process looks at its flag at every call. Several have to talk about it, and do so only
    where `check` is set; it has to be the same on all of them.
    """
    if jax.process_count() == 1:
      return self.requested
    return check and sharding.any_process(self.requested)

  def _handle(self, number: int, frame: FrameType | None) -> None:
    del frame
    if number == signal.SIGINT:
      now = time.monotonic()
      if self.requested and now > self._interrupted + _AT_ONCE:
        raise KeyboardInterrupt
      if not self.requested:
        self._interrupted = now
    self.requested = True
