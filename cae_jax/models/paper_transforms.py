"""Analysis and synthesis transforms."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from cae_jax.models.layers import UPSAMPLINGS, max_pool_2x2, zero_sum_init

# Centres values normalised to [0, 1], as JPEG's level shift by 128 does before its DCT.
LEVEL_SHIFT = 0.5


class PaperShape:
  """What follows from the settings of a model with these transforms, for its `Model`.

  Attributes:
    channels, kernel_size, bottleneck: see `PaperAnalysis`.
  """

  channels: Sequence[int]
  kernel_size: int
  bottleneck: int

  @property
  def stride(self) -> int:
    """Pixels that a latent position stands for, across and down."""
    return 2 ** (len(self.channels) - 1)

  @property
  def latent_channels(self) -> int:
    """M, the channels of the latents."""
    return self.bottleneck or self.channels[-1]

  @property
  def margin(self) -> int:
    """Latent positions that analysis and synthesis look around, or more."""
    # Each stage looks kernel_size // 2 pixels further at twice the stride of the one before, less
    # than two such radii of latents in all; the synthesis has up to two convolutions more.
    return 4 * (self.kernel_size // 2)


class PaperAnalysis(nn.Module):
  """The paper's encoder: convolution, ReLU and 2x2 max-pooling, three times, the last not pooled.

      x 512x768x3 -> conv -> pool 256x384x32 -> conv -> pool 128x192x64 -> conv 128x192x128 -> y

  Counting the input as the first layer and each convolution (with its ReLU) and pooling as one,
  128x192x128 stands "after the 6th layer", as in the paper. `bottleneck` > 0 adds a linear 1x1
  convolution to that many channels, which the paper does not have.

  [B, H, W, 3] in [0, 1], H and W multiples of 4 -> y [B, H/4, W/4, M].
  """

  channels: Sequence[int] = (32, 64, 128)
  kernel_size: int = 3
  bottleneck: int = 0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    x = x - LEVEL_SHIFT
    for stage, features in enumerate(self.channels):
      if stage:
        x = max_pool_2x2(x)
      kernel_init = zero_sum_init if stage else nn.initializers.lecun_normal()
      x = nn.relu(_hidden(features, self.kernel_size, self.dtype, kernel_init)(x))
    if self.bottleneck:
      x = nn.Conv(self.bottleneck, (1, 1), kernel_init=zero_sum_init, dtype=self.dtype)(x)
    return x.astype(jnp.float32)


class PaperSynthesis(nn.Module):
  """The paper's decoder, the mirror of `PaperAnalysis`.

      y_hat 128x192x128 -> conv 64 -> up 256x384 -> conv 32 -> up 512x768 -> conv 3 -> x_hat

  Each up-sampling and the convolution after it are one layer of `layers.UPSAMPLINGS`. ReLU after
  all convolutions but the last. [B, h, w, M] -> [B, 4h, 4w, 3], near [0, 1] but not clipped to it.
  """

  channels: Sequence[int] = (32, 64, 128)
  kernel_size: int = 3
  bottleneck: int = 0
  upsampling: str = "subpixel"
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, y_hat):
    x = y_hat
    upsample = UPSAMPLINGS[self.upsampling]
    first, *rest = reversed(self.channels[:-1])
    if self.bottleneck:
      x = nn.relu(_hidden(self.channels[-1], self.kernel_size, self.dtype)(x))
    x = nn.relu(_hidden(first, self.kernel_size, self.dtype)(x))
    for features in rest:
      x = nn.relu(upsample(features, self.kernel_size, self.dtype, nn.initializers.ones)(x))
    x = upsample(3, self.kernel_size, self.dtype)(x)
    return x.astype(jnp.float32) + LEVEL_SHIFT


def _hidden(features, kernel_size, dtype, kernel_init=zero_sum_init):
  """A convolution in front of a ReLU."""
  return nn.Conv(
    features,
    (kernel_size, kernel_size),
    kernel_init=kernel_init,
    bias_init=nn.initializers.ones,
    dtype=dtype,
  )
