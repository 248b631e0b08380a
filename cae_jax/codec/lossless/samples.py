"""From an image to the integers that are coded, and back."""

import dataclasses

import numpy as np

from cae_jax.codec import hidden
from cae_jax.codec.kinds import alpha_of, as_array, kind_of
from cae_jax.codec.lossless.layout import Layout
from cae_jax.coding.bitstream import Header, Kind
from cae_jax.coding.errors import BitstreamError
from cae_jax.models.lossless.phases import CHANNEL_ORDER

_AT_ONCE = 1 << 20  # samples; as indexes they take eight times their memory
# Integers are counted if no more than this share of them occurs, each so many times on average.
_MOST_OCCURRING, _FEWEST_EACH = 0.75, 8


@dataclasses.dataclass(frozen=True)
class Samples:
  """An image taken apart.

  Attributes:
    kind: of the image.
    colours: [C, H, W] of unsigned integers, channels in the order of coding; C is 1 or 3.
    alpha: [H, W], or None where the kind has none.
    layout: of the colours.
    seen: bool [H, W], whose colours count; None if all do.
    occurring: where integers are counted: uint8 [2^bits of a sample], 1 for values that occur.
  """

  kind: Kind
  colours: np.ndarray
  alpha: np.ndarray | None
  layout: Layout
  seen: np.ndarray | None = None
  occurring: np.ndarray | None = None


def take_apart(image: np.ndarray, largest_error: int = 0, keep_hidden: bool = True) -> Samples:
  """Takes an image apart.

  Args:
    image: uint8 or uint16, [H, W] grey, [H, W, 2] grey and alpha, [H, W, 3] RGB, [H, W, 4] RGBA; of
      NumPy or JAX.
    largest_error: that colours may have.
    keep_hidden: colours under full transparency are kept; otherwise they become what is cheap.
  Raises:
    UsageError: another type or shape.
  """
  image = as_array(image)
  kind = kind_of(image, (np.uint8, np.uint16))
  channels = image[..., None] if image.ndim == 2 else image
  alpha, seen = alpha_of(image), None
  if alpha is not None:
    channels = channels[..., :-1]
    if not keep_hidden:
      seen = alpha > 0
      channels = hidden.flat(channels, seen)
  grey = channels.shape[2] == 3 and _equal(channels)
  x = planes(channels[..., :1] if grey else channels)
  offset, gap = _lattice(x)
  if (offset, gap) != (0, 1):
    x = (x - x.dtype.type(offset)) // x.dtype.type(gap)
  # Of 8 bits all values are expected, of more those that there are.
  largest = 255 if x.dtype == np.uint8 and gap == 1 else max(int(x.max()), 1)
  # Smaller errors than the gap are none.
  layout = Layout(largest_error if largest_error >= gap else 0, offset, gap, largest, grey)
  return Samples(kind, x, alpha, layout, seen)


def counted(taken: Samples) -> Samples | None:
  """Numbers the integers that occur, if many do not though there are enough samples; else None.

  Rescaled and windowed images leave out values between others, which nobody could predict.
  """
  x, layout = taken.colours, taken.layout
  occurring = _occurring(x)
  count = int(occurring.sum())
  if count < 2 or count > _MOST_OCCURRING * layout.largest or x.size < _FEWEST_EACH * count:
    return None
  numbers = (np.cumsum(occurring, dtype=np.int64) - 1).astype(x.dtype)
  layout = dataclasses.replace(layout, largest=count - 1, counted=True)
  return dataclasses.replace(taken, colours=numbers[x], layout=layout, occurring=occurring)


def uncounted(x: np.ndarray, occurring: np.ndarray, layout: Layout) -> np.ndarray:
  """Inverts `counted`; raises BitstreamError if the values that occur are others than expected."""
  values = np.flatnonzero(occurring)
  if len(values) != layout.largest + 1 or occurring.max() > 1:
    raise BitstreamError("sections", 0, f"{len(values)} values occur, not {layout.largest + 1}")
  if layout.offset + layout.gap * int(values[-1]) > np.iinfo(x.dtype).max:
    raise BitstreamError("sections", 0, f"the value {values[-1]} is too large to occur")
  return values.astype(x.dtype)[x]


def put_together(kind: Kind, colours: np.ndarray, alpha: np.ndarray | None, layout: Layout):
  """Inverts `take_apart`: uint8 or uint16 of the kind's shape."""
  image = np.empty((*colours.shape[1:], kind.channels), kind.dtype)
  order = _order(len(colours)) * (kind.colours // len(colours))
  for channel, number in enumerate(order):  # without copies of the image on the way
    out = image[..., channel]
    out[...] = colours[number]
    if (layout.offset, layout.gap) != (0, 1):
      out *= image.dtype.type(layout.gap)
      out += image.dtype.type(layout.offset)
  if alpha is not None:
    image[..., -1] = alpha
  return image[..., 0] if kind.channels == 1 else image


def interleaved(x: np.ndarray) -> np.ndarray:
  """Makes [H, W, C], in the usual order, of channels in that of coding [C, H, W]."""
  return np.ascontiguousarray(np.moveaxis(x[list(_order(len(x)))], 0, 2))


def planes(x: np.ndarray) -> np.ndarray:
  """Inverts `interleaved`."""
  # Both orders are their own inverses.
  return np.ascontiguousarray(np.moveaxis(x, 2, 0)[list(_order(x.shape[2]))])


def _order(channels: int) -> tuple[int, ...]:
  return CHANNEL_ORDER if channels == 3 else tuple(range(channels))


def coded_channels(header: Header, layout: Layout) -> int:
  """Says how many channels are coded; raises BitstreamError if the layout is not of the kind."""
  colours = header.kind.colours
  limit = np.iinfo(header.kind.dtype).max
  # Of the integers that are counted, the largest may not be known yet, but is no less.
  if (layout.grey and colours != 3) or layout.offset + layout.gap * layout.largest > limit:
    raise BitstreamError("parameters", 0, f"they are none of a {header.kind.name} image")
  return 1 if layout.grey else colours


def _equal(channels: np.ndarray) -> bool:
  first = channels[..., 0]
  # A row first, since most images are coloured.
  return all((channels[:1, :, c] == first[:1]).all() for c in (1, 2)) and all(
    (channels[..., c] == first).all() for c in (1, 2)
  )


def _occurring(x: np.ndarray) -> np.ndarray:
  """Says which integers occur: uint8 [2^bits of a sample], 1 for those."""
  occurring, flat = np.zeros(1 << 8 * x.itemsize, np.uint8), x.reshape(-1)
  for start in range(0, x.size, _AT_ONCE):
    occurring[flat[start : start + _AT_ONCE]] = 1
  return occurring


def _lattice(x: np.ndarray) -> tuple[int, int]:
  """The smallest value, and the largest gap that divides all differences to it."""
  used = np.flatnonzero(_occurring(x))
  if used.size == 1:
    return 0, max(int(used[0]), 1)
  gap = int(np.gcd.reduce(used - used[0]))
  if gap == 1 and x.dtype == np.uint8:
    return 0, 1
  return int(used[0]), gap
