"""The passes that latents are coded in: which channels and positions, one after the other."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.entropy_stack import Cells, Layer
from cae_jax.models.layers import depth_to_space

# The positions of each step, by number of steps: everywhere; the colours of a checkerboard; the
# corners of 2x2 cells; these for a grid of half the resolution first, then for the whole.
_CORNERS = (0, 0), (1, 1), (0, 1), (1, 0)
PATTERNS = {
  1: (Cells(2, _CORNERS),),
  2: (Cells(2, _CORNERS[:2]), Cells(2, _CORNERS[2:])),
  4: tuple(Cells(2, (corner,)) for corner in _CORNERS),
  7: (
    *(Cells(4, ((2 * row, 2 * column),)) for row, column in _CORNERS),
    *(Cells(2, (corner,)) for corner in _CORNERS[1:]),
  ),
}


class Pass(NamedTuple):
  """Channels start to stop of a level, at the positions of kind `step` out of `steps`."""

  start: int
  stop: int
  step: int
  steps: int

  @property
  def known(self) -> int:
    """How many channels this pass can know something of."""
    return self.stop if self.step else self.start

  @property
  def cells(self) -> Cells:
    """Its positions."""
    return PATTERNS[self.steps][self.step]


class Level(NamedTuple):
  """How the latents of one resolution are coded.

  Attributes:
    passes: number of the pass among those of all levels -> the pass, in coding order.
    channels: the level's.
    features: that the passes see of what was coded before the level.
    value_channels: whose values the passes see, the first ones; of the others only the sizes.
    kernel_size: of the passes' first layers.
    width: of their hidden layers.
    first: the level's place among the units that channels are counted in.
  """

  passes: dict[int, Pass]
  channels: int
  features: int
  value_channels: int
  kernel_size: int
  width: int
  first: int

  def pass_layers(self, p: Pass) -> tuple[Layer, ...]:
    """Of a context pass: features and known channels -> means and logarithms of scales."""
    outputs = 2 * (p.stop - p.start)
    return Layer(self.kernel_size, self.width), Layer(1, self.width), Layer(1, outputs)


def list_passes(groups: Sequence[int], steps: Sequence[int]) -> list[Pass]:
  """The passes of channel groups, in coding order."""
  stops = np.cumsum(groups).tolist()
  return [
    Pass(stop - size, stop, step, count)
    for size, stop, count in zip(groups, stops, steps, strict=True)
    for step in range(count)
  ]


def cells_mask(height: int, width: int, cells: Cells) -> np.ndarray:
  """Which positions of height x width are the cells': bool [height, width]."""
  mask = np.zeros((height, width), bool)
  for row, column in cells.offsets:
    mask[row :: cells.stride, column :: cells.stride] = True
  return mask


def at_cells(x: jax.Array, cells: Cells) -> jax.Array:
  """[B, h, w, C] -> [B, n, h / stride, w / stride, C], the cells' positions."""
  stride = cells.stride
  return jnp.stack([x[:, row::stride, column::stride] for row, column in cells.offsets], axis=1)


def from_cells(x: jax.Array, cells: Cells) -> jax.Array:
  """The inverse of `at_cells`, zero at all other positions."""
  positions = dict(zip(cells.offsets, jnp.moveaxis(x, 1, 0), strict=True))
  nothing = jnp.zeros_like(x[:, 0])
  sides = range(cells.stride), range(cells.stride)
  corners = [positions.get(offset, nothing) for offset in itertools.product(*sides)]
  return depth_to_space(jnp.concatenate(corners, axis=-1), cells.stride)
