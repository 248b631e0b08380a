"""Drawn parts of a picture, such as text on plain ground: a layer over what networks make of it.

    image -> blocks that are drawn -> layer: their samples, and an opacity that says where they are

Networks know photographs, and spend many bits on the edges of letters; a dictionary coder knows
what it has seen before (codec/lossless/plain.py), and spends many on photographs. A page has both.
"""

import numpy as np

from cae_jax.codec.hidden import block_sums
from cae_jax.codec.lossless.colours import fewer
from cae_jax.codec.small import shrink
from cae_jax.errors import UsageError

_BLOCK = 16  # pixels
_BANDS_APART = 8  # rows of blocks for a first look
_CLOSE = 4  # levels; shades of photographs and gradients differ by this, those of letters by more
_STRONG = 64  # levels; the edge of a stroke
# Of the differences between neighbours in a drawn block: how many are 0, and how many close to it.
_LEAST_EQUAL, _MOST_CLOSE = 0.5, 0.05
_LEAST_STROKES = 2**-9  # strong differences in drawn blocks, for each pixel of the image
_LEAST_DRAWN = 2**-4  # of all pixels
_OPAQUE = 255


def drawn_layer(image: np.ndarray, largest_error: int) -> np.ndarray | None:
  """Returns the layer of an image's drawn parts, with fewer colours.

  Args:
    image: uint8 [H, W, C], grey or RGB, or with alpha.
    largest_error: that samples of the layer may have.
  Returns:
    uint8 [H, W, 2] or [H, W, 4]: colours where the last channel is 255, and zeros where it is 0;
    None if next to nothing is drawn, or nothing else is there.
  """
  colours = image if image.shape[2] % 2 else image[..., :-1]
  rows = np.arange(len(colours)) // _BLOCK
  if _drawn_pixels(colours[rows % _BANDS_APART == 0], _LEAST_STROKES / 4) is None:
    return None  # a photograph, at little cost
  is_drawn = _drawn_pixels(colours, _LEAST_STROKES)
  if is_drawn is None:
    return None
  if image.shape[2] % 2 == 0:
    is_drawn &= image[..., -1] > 0
  if is_drawn.all() or is_drawn.mean() < _LEAST_DRAWN:
    return None
  opacity = np.where(is_drawn, _OPAQUE, 0).astype(np.uint8)
  layer = np.dstack([np.where(is_drawn[..., None], colours, 0), opacity])
  return fewer(layer, largest_error)


def check_layer(layer: np.ndarray, image: np.ndarray) -> None:
  """Raises UsageError unless a layer is one for an image of this shape."""
  channels = 4 if image.ndim == 3 and image.shape[2] > 2 else 2
  expected = *image.shape[:2], channels
  if layer.dtype != np.uint8 or layer.shape != expected:
    raise UsageError(
      f"expected a layer of uint8 {list(expected)}; got {layer.dtype} {list(layer.shape)}"
    )


def lay_over(rgb: np.ndarray, layer: np.ndarray) -> np.ndarray:
  """Puts a layer [H, W, 2 or 4] over a picture [H, W, 3]; grey becomes three equal channels."""
  return np.where(layer[..., -1:] > 0, layer[..., :-1], rgb)


def lay_over_preview(rgb: np.ndarray, layer: np.ndarray, factor: int) -> np.ndarray:
  """Puts a layer over a picture that is smaller by a factor, as far as it covers each pixel."""
  covers = layer[..., -1:] > 0
  colours = shrink(np.where(covers, layer[..., :-1], 0), factor).astype(np.float32)
  covered = shrink(np.where(covers, _OPAQUE, 0).astype(np.uint8), factor) / np.float32(_OPAQUE)
  return np.clip(np.rint(rgb * (1 - covered) + colours), 0, 255).astype(np.uint8)


def _drawn_pixels(colours: np.ndarray, least_strokes: float) -> np.ndarray | None:
  """Says which pixels lie in drawn blocks, [H, W]; None if these have too few strokes."""
  across, down = _differences(colours, 1), _differences(colours, 0)
  equal = _shares(across == 0, down == 0)
  close = _shares(*((of > 0) & (of <= _CLOSE) for of in (across, down)))
  blocks = _closed((equal >= _LEAST_EQUAL) & (close <= _MOST_CLOSE))
  rows, columns = (np.arange(side) // _BLOCK for side in across.shape)
  is_drawn = blocks[rows][:, columns]
  strokes = is_drawn & (np.maximum(across, down) > _STRONG)
  return is_drawn if strokes.mean() >= least_strokes else None


def _closed(blocks: np.ndarray) -> np.ndarray:
  """Adds blocks between two others, which are full of strokes as a rule."""
  around = np.pad(blocks, 1)
  beside = around[1:-1, :-2] & around[1:-1, 2:]
  return blocks | beside | (around[:-2, 1:-1] & around[2:, 1:-1])


def _differences(colours: np.ndarray, axis: int) -> np.ndarray:
  """Largest difference of any channel to the pixel before, [H, W]; 0 where there is none."""
  x = np.moveaxis(colours, axis, 0)
  differences = np.zeros(x.shape[:2], np.uint8)
  for channel in np.moveaxis(x, -1, 0):
    after, before = channel[1:], channel[:-1]
    difference = np.maximum(after, before) - np.minimum(after, before)
    np.maximum(differences[1:], difference, out=differences[1:])
  return np.moveaxis(differences, 0, axis)


def _shares(across: np.ndarray, down: np.ndarray) -> np.ndarray:
  """Share of what is true in each block, [ceil(H / 16), ceil(W / 16)]."""
  x = across.astype(np.float32) + down
  return block_sums(x, _BLOCK) / (2 * block_sums(np.ones_like(x), _BLOCK))
