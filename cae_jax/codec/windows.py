"""Analysis and synthesis of images of any size in windows, with bounded memory.

Windows overlap by what the networks can see, so that no seam shows: what comes out equals the
networks' output on the whole image, up to float rounding.
"""

from typing import NamedTuple

import numpy as np

from cae_jax.codec import threads
from cae_jax.codec.coders.base import LatentCoder
from cae_jax.codec.regions import covering, overlap, relative, scaled
from cae_jax.codec.tiles import Tile
from cae_jax.images.tiling import Window, best_size, split_axis

# Sides of windows in pixels, where programs are compiled: few sizes are few programs. An axis takes
# the one that covers it with the least work; photographs up to the largest are one window.
WINDOW_SIDES = (768, 1024, 1536)
# Where nothing is compiled, any size up to this: wider windows overlap less, and take more memory.
HOST_SIDE = 2304


def analyse(coder: LatentCoder, image: np.ndarray) -> np.ndarray:
  """Analyses uint8 [H, W, 3]: y [ceil(H / stride), ceil(W / stride), M] float32."""
  s = coder.stride
  shape = tuple(-(-side // s) for side in image.shape[:2])
  # One window after the other, each by all threads: they take much memory.
  with threads.helpers() as apply:
    pieces = (
      ((rows, columns), coder.analyse(image[_pixels(rows, s), _pixels(columns, s)], apply))
      for rows, columns in _windows(coder, *shape)
    )
    return _assemble(pieces, shape, 1)


def refine(
  coder: LatentCoder, image: np.ndarray, y: np.ndarray, rate_level: int
) -> tuple[np.ndarray, np.ndarray]:
  """Makes latents y [h, w, M] of `analyse` better for a rate level, and finds their aims."""
  s = coder.stride

  def refined(rows: Window, columns: Window) -> np.ndarray:
    part = y[rows.start : rows.stop, columns.start : columns.stop]
    window = image[_pixels(rows, s), _pixels(columns, s)]
    return np.concatenate(coder.refine(window, part, rate_level), axis=-1)

  found = _windows(coder, *y.shape[:2], compiled=True)
  pieces = (((r, c), refined(r, c)) for r, c in found)
  y, aim = np.split(_assemble(pieces, y.shape[:2], 1), 2, axis=-1)
  return y, aim


class Plan(NamedTuple):
  """Which windows give an area of an image; they are those that give the whole image.

  Attributes:
    windows: over the latents of the whole image.
    seen: positions of the latents that the windows look at.
    kept: positions whose pixels they give, together.
    area: of the image, in pixels.
  """

  windows: list[tuple[Window, Window]]
  seen: Tile
  kept: Tile
  area: Tile


def plan(coder: LatentCoder, shape: tuple[int, int], area: Tile) -> Plan:
  """Finds the windows for an area, in pixels, of an image of h x w latent positions."""
  wanted = covering(area, coder.stride)
  found = [pair for pair in _windows(coder, *shape) if overlap(_kept(pair), wanted)]
  ends = lambda name: [[getattr(window, name) for window in axis] for axis in zip(*found)]
  seen, kept = (
    tuple(
      slice(min(starts), min(max(stops), side))
      for starts, stops, side in zip(ends(f"{kind}start"), ends(f"{kind}stop"), shape)
    )
    for kind in ("", "inner_")
  )
  return Plan(found, (seen[0], seen[1]), (kept[0], kept[1]), area)


def synthesise(
  coder: LatentCoder, y_hat: np.ndarray, rate_level: int, height: int, width: int
) -> np.ndarray:
  """Synthesises y_hat [h, w, M]: uint8 [height, width, 3], cropped to the image."""
  whole = slice(0, height), slice(0, width)
  return synthesise_area(coder, y_hat, rate_level, plan(coder, y_hat.shape[:2], whole))


def synthesise_area(
  coder: LatentCoder, y_hat: np.ndarray, rate_level: int, plan: Plan
) -> np.ndarray:
  """Synthesises an area of an image.

  Args:
    coder: the model.
    y_hat: [h, w, M], latents of the positions that `plan.seen` names.
    rate_level: of the file.
    plan: of the area.
  Returns:
    uint8 [height, width, 3], the pixels of `plan.area`: the same as of the whole image.
  """
  crop = relative(plan.area, scaled(plan.kept, coder.stride))
  # Nothing is kept of what lies beyond the image.
  stops = crop[0].stop, crop[1].stop
  with threads.helpers() as apply:
    pieces = (
      (
        (_moved(rows, plan.kept[0]), _moved(columns, plan.kept[1])),
        coder.synthesise(y_hat[relative(_seen((rows, columns)), plan.seen)], rate_level, apply),
      )
      for rows, columns in plan.windows
    )
    return _assemble(pieces, stops, coder.stride)[crop]


def _seen(pair: tuple[Window, Window]) -> Tile:
  return slice(pair[0].start, pair[0].stop), slice(pair[1].start, pair[1].stop)


def _kept(pair: tuple[Window, Window]) -> Tile:
  rows, columns = (slice(window.inner_start, window.inner_stop) for window in pair)
  return rows, columns


def _moved(window: Window, origin: slice) -> Window:
  return Window(*(end - origin.start for end in window))


def _windows(
  coder: LatentCoder, height: int, width: int, *, compiled: bool = False
) -> list[tuple[Window, Window]]:
  """Windows over h x w latent positions, the lower right ones reaching into the padding.

  Args:
    coder, height, width: of the latents.
    compiled: whether programs are, for what is done, even where a coder works on the host.
  """
  on_host = coder.works_on_host and not compiled
  align = max(1, coder.multiple // coder.stride)
  axes = []
  for side in (height, width):
    padded = -(-side // align) * align
    size = best_size(padded, _sizes(coder, align, on_host), coder.margin, align)
    axes.append(split_axis(padded, size, coder.margin, align))
  return [(rows, columns) for rows in axes[0] for columns in axes[1]]


def _sizes(coder: LatentCoder, align: int, on_host: bool) -> list[int]:
  """Sides of windows in latent positions: of each at least half is kept, however wide margins."""
  least = max(-(-4 * coder.margin // align), 1) * align
  if on_host:
    return list(range(least, max(HOST_SIDE // coder.stride, least) + 1, align))
  return [max(pixels // coder.stride, least) for pixels in WINDOW_SIDES]


def _pixels(window: Window, stride: int) -> slice:
  return slice(window.start * stride, window.stop * stride)


def _assemble(pieces, shape: tuple[int, int], scale: int) -> np.ndarray:
  """Puts the interiors of windows, `scale` elements a position, into one array [*shape, C]."""
  result = None
  for (rows, columns), piece in pieces:
    if result is None:
      result = np.empty((*shape, piece.shape[-1]), piece.dtype)
    inside = piece[_interior(rows, scale), _interior(columns, scale)]
    top, left = rows.inner_start * scale, columns.inner_start * scale
    target = result[top : top + inside.shape[0], left : left + inside.shape[1]]
    target[...] = inside[: target.shape[0], : target.shape[1]]
  assert result is not None
  return result


def _interior(window: Window, scale: int) -> slice:
  start, stop = window.inner_start - window.start, window.inner_stop - window.start
  return slice(start * scale, stop * scale)
