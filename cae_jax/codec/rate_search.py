"""Finds the rate level of a file of a given size or quality with few trials."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

Trial = TypeVar("Trial")
_GUESSES = 7  # trials before plain bisection: real curves are nearly straight
_APART = 64  # levels; over fewer, a slope is mostly chance
_CLOSE = 8  # levels; files of closer ones differ by half a per cent, and by chance


class _Point(NamedTuple):
  """The value of a trial at a level."""

  level: int
  value: float


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
    slope: likely rise of the value per level, for the second trial.
    start: the first level to try.
  Returns:
    A trial within the limit, at a level near to the best one's if none meets the tolerance; None
    if the value of level 0 is above the limit.
  """
  aim = limit - tolerance / 2
  best: Trial | None = None
  below: _Point | None = None  # the highest level within the limit, and the lowest above it
  above: _Point | None = None
  level, tried = start, list[_Point]()
  while True:
    trial = trial_at(level)
    point = _Point(level, value_of(trial))
    if point.value <= limit:
      best, below = trial, point
      if point.value >= limit - tolerance:
        return best
    else:
      above = point
    # Of levels that may still be the one, or better ones.
    first, last = below.level + 1 if below else 0, above.level - 1 if above else levels
    if first > last or (below and above and last - first < _CLOSE):
      return best
    tried.append(point)
    if len(tried) >= _GUESSES:
      guess = (first + last) / 2
    elif below and above:
      guess = _crossing(below, above, aim)
    else:
      guess = level + (aim - point.value) / _slope(point, tried, slope)
    least_step = min(_CLOSE, (last - first) // 2)
    guess = max(guess, first + least_step) if below else max(guess, first)
    guess = min(guess, last - least_step) if above else min(guess, last)
    level = round(guess)


def _crossing(a: _Point, b: _Point, value: float) -> float:
  """Returns the level at which the line through two points has a value."""
  return a.level + (value - a.value) * (b.level - a.level) / (b.value - a.value)


def _slope(point: _Point, tried: Sequence[_Point], likely: float) -> float:
  """Returns the slope from a point to the last one that is far enough away to tell, or a likely."""
  for other in reversed(tried):
    apart, rise = other.level - point.level, other.value - point.value
    if abs(apart) >= _APART and rise * apart > 0:
      return rise / apart
  return likely
