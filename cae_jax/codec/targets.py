"""What can be asked of a codec: targets, efforts and looks."""

import contextlib
import math
import operator
from collections.abc import Mapping
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from cae_jax.errors import UsageError

DEFAULT_QUALITY = 50.0
MAX_QUALITY = 100.0  # of what models are trained for
FINEST_QUALITY = 175.0  # of models of many rates: beyond 100 steps become finer, down to a quarter
MAX_SSIMULACRA2 = 100.0  # of equal pictures
MAX_ERROR = 32767  # of near-lossless files, in grey levels
MAX_EFFORT = 1
_GONE_EFFORT = 9  # there were as many


class OutOfReach(UsageError):
  """A target that this codec cannot meet, though another might.

  Attributes:
    size_bytes: of the smallest file, where that is too large; else None.
  """

  def __init__(self, message: str, size_bytes: int | None = None):
    super().__init__(message)
    self.size_bytes = size_bytes


def too_small(limit_bytes: float, pixels: int, size_bytes: int, how: str) -> OutOfReach:
  """Makes the error that says that no file of an image has so few bytes.

  Args:
    limit_bytes: that were asked for.
    pixels: of the image.
    size_bytes: of the smallest file.
    how: that one was made.
  """
  asked, found = (f"{8 * size / pixels:.4g} bpp" for size in (limit_bytes, size_bytes))
  return OutOfReach(
    f"{limit_bytes:.4g} bytes ({asked}) cannot be met: this image takes {size_bytes} bytes "
    f"({found}) {how}",
    size_bytes,
  )


class TooManyPixels(UsageError):
  """An image that is larger than is allowed to be decoded."""


def one_target(asked: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what was asked for, one thing at most; None stands for nothing.

  Raises:
    UsageError: it is more than one.
  """
  given = {name: value for name, value in asked.items() if value is not None}
  if len(given) > 1:
    raise UsageError(f"expected one target, got {' and '.join(given)}; leave out all but one")
  return given


def checked_target(name: str, value: SupportsFloat) -> float:
  """Returns the value as a number.

  Args:
    name: of the target.
    value: a number, of NumPy or JAX, too.
  Raises:
    UsageError: it is no number, or none that such a target can have.
  """
  number = _as_number(name, value)
  if name == "quality":
    if not 0 <= number <= FINEST_QUALITY:
      raise UsageError(f"quality {number:g}: expected 0 to {FINEST_QUALITY:g}")
  elif name == "ssimulacra2" and number > MAX_SSIMULACRA2:
    raise UsageError(f"ssimulacra2 {number:g}: expected a score of at most {MAX_SSIMULACRA2:g}")
  elif not 0 < number < math.inf:
    raise UsageError(f"{name} {number:g}: expected a positive number")
  return number


def checked_effort(effort: SupportsIndex) -> int:
  """Returns the effort as an integer; raises UsageError unless it is 0 or 1."""
  gone = ""
  with contextlib.suppress(TypeError):
    index = operator.index(effort)
    if not isinstance(effort, bool) and 0 <= index <= MAX_EFFORT:
      return index
    if not isinstance(effort, bool) and MAX_EFFORT < index <= _GONE_EFFORT:
      gone = "; higher ones were removed, since they made files no smaller"
  raise UsageError(f"effort {effort!r}: expected 0 or {MAX_EFFORT}{gone}")


def checked_error(value: SupportsIndex) -> int:
  """Returns a largest error as an integer; raises UsageError unless it is one from 0 to 32767."""
  with contextlib.suppress(TypeError):
    number = operator.index(value)
    if not isinstance(value, bool) and 0 <= number <= MAX_ERROR:
      return number
  raise UsageError(
    f"near_lossless {value!r}: expected a whole number of grey levels, 0 to {MAX_ERROR}"
  )


def checked_look(look: SupportsFloat) -> float:
  """Returns the look as a number; raises UsageError unless it is one from 0 to 1."""
  number = _as_number("look", look)
  if not 0 <= number <= 1:
    raise UsageError(f"look {number:g}: expected a number from 0, closest to the original, to 1")
  return number


def checked_max_pixels(value: SupportsFloat) -> float:
  """Returns the most pixels that are decoded, as a number; raises UsageError if it is none."""
  number = _as_number("max_pixels", value)
  if math.isnan(number):
    raise UsageError("max_pixels nan: expected a number of pixels")
  return number


def _as_number(name: str, value: Any) -> float:
  with contextlib.suppress(TypeError, ValueError, OverflowError):
    if not isinstance(value, (bool, np.bool_, str)) and np.ndim(value) == 0:
      return float(value)
  raise UsageError(f"{name} {value!r}: expected a number, got {type(value).__name__}")
