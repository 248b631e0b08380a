"""Tables of an image's colours: counted, in an order that codes well, and with fewer of them."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cae_jax.codec.lossless.excerpts import excerpt

MAX_COLOURS = 1 << 16  # of a table
_MOST_DRAWN, _MOST_PIXELS = 1 << 14, 1 << 25  # of a drawing; to count more takes gigabytes
_MOST_DISTINCT = 0.75  # share of an excerpt's pixels; of more the rest need not be counted
_FEWEST_EACH = 4  # pixels that each of them has, on average
_HUE = 4  # weight of differences to green, or grey letters get tints
_AREA = 2**-14  # share of an image's pixels that are within one


class Counted(NamedTuple):
  """The colours of an image: [n, C]; the number of each pixel's, [H * W]; how often each occurs."""

  colours: np.ndarray
  numbers: np.ndarray
  counts: np.ndarray


def numbered(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields tables of an image's colours [n, C], in some orders, and numbers [H, W, 1].

  Numbers are uint8 up to 256 colours, and uint16 above. There is no table of too many colours.

  Args:
    x: uint8 or uint16 [H, W, C].
  """
  found = _count(x)
  if found is None or not 1 < len(found.colours) <= min(MAX_COLOURS, found.numbers.size // 2):
    return
  colours, few = found.colours, len(found.colours) <= 256
  for order in (
    _by_brightness(colours),
    _by_nearness(colours) if few else np.argsort(-found.counts),
  ):
    ranks = np.empty(len(colours), np.uint8 if few else np.uint16)
    ranks[order] = np.arange(len(colours))
    yield colours[order], ranks[found.numbers].reshape(*x.shape[:2], 1)


def are_few(x: np.ndarray) -> bool:
  """Says whether an image [H, W, C] has so few colours as a drawing."""
  return _count_few(x) is not None


def fewer(x: np.ndarray, largest_error: int) -> np.ndarray:
  """Draws a drawing with fewer colours, such as LZ codes well: shades become colours that stay.

  The colours of areas, however small, stay, so that two areas never run together; of the rest, from
  the most frequent on, those that are not near to one that stays. Each of the others becomes the
  nearest one.

  Args:
    x: uint8 or uint16 [H, W, C]; values of an opacity lie farther apart than the error.
    largest_error: that a sample may have.
  Returns:
    The drawing; the image itself if it is none, or no error is allowed.
  """
  found = _count_few(x) if largest_error else None
  if found is None:
    return x
  order = np.argsort(-found.counts, kind="stable")
  colours = found.colours[order].astype(np.int64)
  stays = _within_areas(found, x.shape[:2])[order] >= _AREA * found.numbers.size
  nearest, least = np.arange(len(order)), np.full(len(order), np.inf)
  is_near = np.zeros(len(order), bool)  # to a colour that stays
  # Only colours that are near in one channel can be near: few, where there are many colours.
  channel = colours[:, _middle(colours)]
  by_channel = np.argsort(channel, kind="stable")
  starts = np.searchsorted(channel[by_channel], channel - largest_error, "left")
  stops = np.searchsorted(channel[by_channel], channel + largest_error, "right")
  for number, colour in enumerate(colours):
    if is_near[number] and not stays[number]:
      continue
    about = by_channel[starts[number] : stops[number]]
    near = about[np.abs(colours[about] - colour).max(axis=1) <= largest_error]
    distances = _distances(colours[near], colour)
    is_closer = distances < least[near]
    closer = near[is_closer]
    nearest[closer], least[closer] = number, distances[is_closer]
    is_near[near] = True
  drawn = np.empty_like(found.colours)
  drawn[order] = found.colours[order[nearest]]
  return drawn[found.numbers].reshape(x.shape)


def _distances(colours: np.ndarray, colour: np.ndarray) -> np.ndarray:
  """Squared distances, [n], to which differences of hue add more than those of brightness."""
  differences = colours - colour
  middle = _middle(differences)
  of_hue = differences[:, : 2 * middle + 1] - differences[:, [middle]]
  return np.square(differences).sum(axis=1) + _HUE * np.square(of_hue).sum(axis=1)


def _middle(colours: np.ndarray) -> int:
  """The channel of green, or the only one but for opacity."""
  return int(colours.shape[1] >= 3)


def _within_areas(found: Counted, shape: tuple[int, int]) -> np.ndarray:
  """How many pixels of each colour equal both their left and their upper neighbours."""
  numbers = found.numbers.reshape(shape)
  here = numbers[1:, 1:]
  inside = here[(here == numbers[1:, :-1]) & (here == numbers[:-1, 1:])]
  return np.bincount(inside, minlength=len(found.counts))


def _count_few(x: np.ndarray) -> Counted | None:
  """None unless they are as few as those of a drawing."""
  found = _count(x) if math.prod(x.shape[:2]) <= _MOST_PIXELS else None
  if found is None or len(found.colours) > min(_MOST_DRAWN, found.numbers.size // _FEWEST_EACH):
    return None
  return found


def _count(x: np.ndarray) -> Counted | None:
  """None if there seem to be too many colours for a table."""
  return _count_values(x) if x.shape[2] == 1 else _count_colours(x)


def _count_values(x: np.ndarray) -> Counted:
  """The values [n, 1] of one channel, in their order."""
  counts = np.bincount(x.ravel())
  values = np.flatnonzero(counts)
  numbers = np.zeros(len(counts), np.uint16)
  numbers[values] = np.arange(len(values))
  return Counted(values[:, None].astype(x.dtype), numbers[x.ravel()], counts[values])


def _count_colours(x: np.ndarray) -> Counted | None:
  some = _keys(excerpt(x, 0))
  if some.size < x.size // x.shape[2] and np.unique(some).size > _MOST_DISTINCT * some.size:
    return None
  _, first, inverse, counts = np.unique(
    _keys(x), return_index=True, return_inverse=True, return_counts=True
  )
  return Counted(x.reshape(-1, x.shape[2])[first], inverse.ravel(), counts)


def _keys(x: np.ndarray) -> np.ndarray:
  """Each colour as one number, [H, W]."""
  bits = 8 * x.itemsize
  keys: Any = x[..., 0].astype(np.uint32 if bits * x.shape[2] <= 32 else np.uint64)
  for channel in range(1, x.shape[2]):
    keys = keys << keys.dtype.type(bits) | x[..., channel]
  return keys


def _by_brightness(colours: np.ndarray) -> np.ndarray:
  weights = np.array([2, 5, 1, 0]) if colours.shape[1] >= 3 else np.array([8, 1])
  return np.argsort(colours @ weights[: colours.shape[1]], kind="stable")


def _by_nearness(colours: np.ndarray) -> np.ndarray:
  """From the darkest on, each followed by the nearest one that is left."""
  places = colours.astype(np.int64)
  here, left = int(places.sum(axis=1).argmin()), np.ones(len(places), bool)
  order = []
  for _ in places:
    order.append(here)
    left[here] = False
    distances = np.abs(places - places[here]).sum(axis=1)
    here = int(np.where(left, distances, np.iinfo(np.int64).max).argmin())
  return np.array(order)
