"""The passes that latents are coded in: which channels and positions, one after the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cae_jax.models.exact.cells import PATTERNS, Cells, cells_mask
from cae_jax.models.exact.layers import Layer


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

  def coded_before(self, kernel_size: int) -> np.ndarray:
    """Says at which neighbours its channels were coded before it: bool [kernel_size, kernel_size].

    There are no others at which they were, at any of its positions.
    """
    pattern = PATTERNS[self.steps]
    side = max(cells.stride for cells in pattern)
    marks = [cells_mask(side, side, cells) for cells in pattern]
    before = sum(marks[: self.step], np.zeros((side, side), bool))
    distances = self.cells.spacing * (np.arange(kernel_size) - kernel_size // 2)
    at = lambda i, j: np.roll(before, (-i, -j), (0, 1))[marks[self.step]].any()
    return np.array([[at(i, j) for j in distances] for i in distances])


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
    """Lists the layers of a pass: features, known channels -> means and logarithms of scales."""
    outputs = 2 * (p.stop - p.start)
    return Layer(self.kernel_size, self.width), Layer(1, self.width), Layer(1, outputs)


def list_passes(groups: Sequence[int], steps: Sequence[int]) -> list[Pass]:
  """Lists the passes of channel groups, in coding order."""
  stops = np.cumsum(groups).tolist()
  return [
    Pass(stop - size, stop, step, count)
    for size, stop, count in zip(groups, stops, steps, strict=True)
    for step in range(count)
  ]
