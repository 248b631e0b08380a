"""How long a run is: so many steps, or so many minutes."""

import time
from collections.abc import Callable
from typing import Any, Protocol


class Span(Protocol):
  """What a schedule runs along."""

  def fraction(self, step: int) -> float:
    """Tells how much of the run is over, from 0 on, before a dispatch that begins here."""
    ...

  def finished(self, step: int) -> bool:
    """Tells whether the run is over after this step."""
    ...

  def get_state(self) -> Any: ...

  def set_state(self, state: Any) -> None: ...


class Steps(Span):
  """A run of so many steps."""

  def __init__(self, steps: int):
    self._steps = steps

  def fraction(self, step: int) -> float:
    return step / self._steps

  def finished(self, step: int) -> bool:
    return step >= self._steps

  def get_state(self) -> None:
    return None

  def set_state(self, state: Any) -> None:
    del state  # the step says it all


class Minutes(Span):
  """A run that is over when its time is.

  It ends before a dispatch that would last into the time after. A resumed run has the time that was
  left; the time between does not count.
  """

  def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
    self._seconds = 60 * minutes
    self._clock = clock
    self._begin = clock()
    self._before = 0.0  # seconds of earlier calls
    self._last = 0.0

  def fraction(self, step: int) -> float:
    del step
    self._last = self._elapsed()
    return self._last / self._seconds

  def finished(self, step: int) -> bool:
    del step
    now = self._elapsed()
    return now + (now - self._last) > self._seconds

  def get_state(self) -> dict[str, float]:
    return {"elapsed": self._elapsed(), "seconds": self._seconds}

  def set_state(self, state: Any) -> None:
    self._before, self._seconds = state["elapsed"], state["seconds"]
    self._begin = self._clock()
    self._last = self._before

  def _elapsed(self) -> float:
    return self._before + self._clock() - self._begin
