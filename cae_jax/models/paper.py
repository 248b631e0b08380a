"""The paper's convolutional autoencoder, as a whole."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.models.quantization import (
  clip_inward,
  dequantize_uniform,
  quantize_uniform,
  straight_through,
)
from cae_jax.models.transforms import PaperAnalysis, PaperSynthesis


class PaperOutput(NamedTuple):
  """One pass: reconstruction x_hat [B, H, W, 3], latents y and what was decoded, y_hat."""

  x_hat: jax.Array
  y: jax.Array
  y_hat: jax.Array


class PaperAutoencoder(nn.Module):
  """Autoencoder of "Convolution Neural Network Based Autoencoder model for Lossless Image
  Compression", with two things the paper lacks, both off by default.

      x -> analysis -> y -> (quantised to latent_bits) -> y_hat -> synthesis -> x_hat

  With the defaults the latents of a 512x768x3 image are 128x192x128 numbers, 2.7 times as many as
  the image has: the paper's network, which does not compress.

  Attributes:
    channels: features of the three encoder stages.
    kernel_size: odd; the paper gives none.
    bottleneck: channels of the latents; 0 keeps channels[-1].
    upsampling: "nearest" (neighbour, then a convolution) or "subpixel", which it is a case of.
    latent_bits: 0 trains with unquantised latents. Otherwise training rounds them to 2^latent_bits
      levels between -1 and 1, straight through.
    dtype: of the convolutions; parameters, latents and output are float32.
  """

  CONFIG_FIELDS: ClassVar = ("channels", "kernel_size", "bottleneck", "upsampling", "latent_bits")

  channels: Sequence[int] = (32, 64, 128)
  kernel_size: int = 3
  bottleneck: int = 0
  upsampling: str = "subpixel"
  latent_bits: int = 0
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    shape = (tuple(self.channels), self.kernel_size, self.bottleneck)
    self.analysis = PaperAnalysis(*shape, dtype=self.dtype)
    self.synthesis = PaperSynthesis(*shape, self.upsampling, self.dtype)

  @property
  def multiple(self) -> int:
    """Height and width have to be multiples of this."""
    return 2 ** (len(self.channels) - 1)

  @property
  def latent_channels(self) -> int:
    """M, the channels of the latents."""
    return self.bottleneck or self.channels[-1]

  def encode(self, x: jax.Array) -> jax.Array:
    """x [B, H, W, 3] in [0, 1] -> latents y [B, H/4, W/4, M], not quantised."""
    return self.analysis(x)

  def decode(self, y_hat: jax.Array) -> jax.Array:
    """y_hat [B, h, w, M] -> x_hat [B, 4h, 4w, 3], near [0, 1], not clipped."""
    return self.synthesis(y_hat)

  def __call__(self, x: jax.Array) -> PaperOutput:
    y = self.encode(x)
    y_hat = self._round(y) if self.latent_bits else y
    return PaperOutput(self.decode(y_hat), y, y_hat)

  def _round(self, y):
    low, high = -jnp.ones(y.shape[-1:]), jnp.ones(y.shape[-1:])
    indexes = quantize_uniform(y, low, high, self.latent_bits)
    y_hat = dequantize_uniform(indexes, low, high, self.latent_bits)
    return straight_through(clip_inward(y, -1.0, 1.0), y_hat)
