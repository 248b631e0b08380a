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
  start: int | None = None,
) -> Trial | None:
  """Finds the trial with a value as large as the limit allows.

  Args:
    trial_at: level in [0, levels] -> trial; values should rise with the level.
    value_of: of a trial.
    limit: what the value must not exceed.
    tolerance: the search ends with a value of at least limit - tolerance.
    levels: the largest level.
    slope: typical rise of the value per level, for the second trial.
    start: the first level to try; the middle one if None.
  Returns:
    A trial within the limit (between neighbouring levels the best, if none meets the tolerance);
    None if the value of level 0 is above the limit.
  """
  aim = limit - tolerance / 2
  best: Trial | None = None
  low: tuple[int, float] | None = None
  high: tuple[int, float] | None = None
  level, tried = levels // 2 if start is None else start, 0
  before: tuple[int, float] | None = None
  while True:
    trial = trial_at(level)
    value, tried = value_of(trial), tried + 1
    if before and (value - before[1]) * (level - before[0]) > 0:
      slope = (value - before[1]) / (level - before[0])
    before = level, value
    if value <= limit:
      best, low = trial, (level, value)
      if value >= limit - tolerance or level == levels:
        return best
    else:
      high = (level, value)
      if level == 0:
        return None
    if low and high and high[0] - low[0] <= 1:
      return best
    level = _next_level(low, high, aim, levels, slope, bisect=tried >= _SECANTS)


def _next_level(low, high, aim: float, levels: int, slope: float, bisect: bool) -> int:
  """A level strictly between those known to be below and above the limit."""
  first = low[0] + 1 if low else 0
  last = high[0] - 1 if high else levels
  if bisect:
    return (first + last) // 2
  if low and high:
    share = (aim - low[1]) / max(high[1] - low[1], 1e-12)
    guess = low[0] + share * (high[0] - low[0])
  else:
    level, value = low or high
    guess = level + (aim - value) / slope
  return min(max(round(guess), first), last)
