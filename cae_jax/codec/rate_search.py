"""Finds the rate level of a file of a given size or quality with few trials."""

from collections.abc import Callable
from typing import TypeVar

Trial = TypeVar("Trial")
_SECANTS = 6  # trials before plain bisection: real curves are nearly straight


def largest_within(
  trial_at: Callable[[int], Trial],
  value_of: Callable[[Trial], float],
  limit: float,
  *,
  tolerance: float,
  levels: int,
  slope: float,
  start: int,
) -> Trial | None:
  """Finds the trial with a value as large as the limit allows.

  Args:
    trial_at: level in [0, levels] -> trial; values should rise with the level.
    value_of: of a trial.
    limit: what the value must not exceed.
    tolerance: the search ends with a value of at least limit - tolerance.
    levels: the largest level.
    slope: typical rise of the value per level, for the second trial.
    start: the first level to try.
  Returns:
    A trial within the limit (between neighbouring levels the best, if none meets the tolerance);
    None if the value of level 0 is above the limit.
  """
  aim = limit - tolerance / 2
  best: Trial | None = None
  first, last = 0, levels  # of those that may still be the one, or better ones
  level, tried = start, 0
  before: tuple[int, float] | None = None
  while True:
    trial = trial_at(level)
    value, tried = value_of(trial), tried + 1
    if value <= limit:
      best, first = trial, level + 1
      if value >= limit - tolerance:
        return best
    else:
      last = level - 1
    if first > last:
      return best
    if before and (value - before[1]) * (level - before[0]) > 0:
      slope = (value - before[1]) / (level - before[0])
    before = level, value
    guess = level + (aim - value) / slope if tried < _SECANTS else (first + last) / 2
    level = round(min(max(guess, first), last))
