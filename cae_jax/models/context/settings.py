"""The settings of `ContextModel`, and what follows from them without any parameters."""

import dataclasses
import math
from collections.abc import Sequence

from cae_jax.errors import UsageError
from cae_jax.models.context.passes import Level, list_passes
from cae_jax.models.context.synthesis import BLOCK
from cae_jax.models.exact.layers import Layer
from cae_jax.models.units import LMBDA_UNIT


@dataclasses.dataclass
class ContextSettings:
  """What a decoder has to know of a `ContextModel`; that is one of these, and a network of Flax.

  Attributes:
    channels, blocks: of the transforms, at 1/8 and 1/16 of the resolution.
    groups: channels of each group of the coarse level; they add up to C.
    group_steps: in each group, see `passes.PATTERNS`.
    pass_kernel_size: of the context passes' first layers.
    width: of their hidden layers.
    value_channels: whose values the passes see, the first ones; of the others only the magnitudes.
    fine_groups, ...: the same of the fine level, whose groups add up to F; there may be none.
    fine_features: that its passes see of the coarse level.
    hyper_channels: of z, at 1/64 of the resolution.
    hyper_features: that the coarse passes see of z.
    lmbda_min, lmbda_max: the ends of lmbda, of rate_bpp + lmbda * MSE (0-255).
  """

  channels: Sequence[int] = (96, 128)
  blocks: Sequence[int] = (2, 1)
  groups: Sequence[int] = (4, 12)
  group_steps: Sequence[int] = (7, 4)
  pass_kernel_size: int = 5
  width: int = 128
  value_channels: int = 32
  fine_groups: Sequence[int] = (12, 32, 92)
  fine_group_steps: Sequence[int] = (4, 4, 2)
  fine_pass_kernel_size: int = 3
  fine_width: int = 64
  fine_value_channels: int = 44
  fine_features: int = 48
  hyper_channels: int = 8
  hyper_features: int = 32
  lmbda_min: float = 0.0005
  lmbda_max: float = 0.3

  @property
  def tradeoff_range(self) -> tuple[float, float]:
    """The ends of the trade-off, in steps that leave no doubt between machines.

    Raises:
      UsageError: the smallest lmbda is larger than the largest.
    """
    if self.lmbda_min > self.lmbda_max:
      raise UsageError(
        f"lmbda_min {self.lmbda_min:g}: expected at most lmbda_max, {self.lmbda_max:g}"
      )
    low, high = (math.log10(end / LMBDA_UNIT) for end in (self.lmbda_min, self.lmbda_max))
    return round(256 * low) / 256, round(256 * high) / 256

  @property
  def stride(self) -> int:
    """Pixels that a latent position stands for, across and down."""
    return BLOCK

  @property
  def multiple(self) -> int:
    """Height and width have to be multiples of this."""
    return 4 * BLOCK

  @property
  def margin(self) -> int:
    """Latent positions that analysis and synthesis look around."""
    # Two 3x3 convolutions in each residual block, at an eighth and a sixteenth of the resolution.
    return self.blocks[0] + 2 * self.blocks[1]

  @property
  def latent_channels(self) -> int:
    """M = C + 4F, the channels of y."""
    return sum(self.groups) + 4 * sum(self.fine_groups)

  @property
  def levels(self) -> list[Level]:
    """Coarse and, if there are fine groups, fine."""
    coarse = list_passes(self.groups, self.group_steps)
    fine = list_passes(self.fine_groups, self.fine_group_steps)
    channels = sum(self.groups), sum(self.fine_groups)
    result = [
      Level(
        dict(enumerate(coarse)),
        channels[0], self.hyper_features, self.value_channels, self.pass_kernel_size, self.width, 0,
      ),
      Level(
        dict(enumerate(fine, len(coarse))),
        channels[1], self.fine_features, self.fine_value_channels, self.fine_pass_kernel_size,
        self.fine_width, channels[0],
      ),
    ]  # fmt: skip
    return result if fine else result[:1]

  @property
  def hyper_layers(self) -> tuple[Layer, ...]:
    """Of the hyper-synthesis: z at 1/64 -> features at 1/16."""
    return Layer(3, 4 * 64, 2), Layer(3, 4 * self.hyper_features, 2)

  @property
  def bridge_layers(self) -> tuple[Layer, ...]:
    """Of the bridge: coarse level at 1/16 -> features of the fine passes at 1/8."""
    return Layer(3, self.width), Layer(1, 4 * self.fine_features, 2)
