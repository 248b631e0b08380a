"""The paper's convolutional autoencoder, as a whole."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.images.preprocessing import PREPROCESSINGS, Preprocessing
from cae_jax.models.base import Model
from cae_jax.models.paper_transforms import PaperAnalysis, PaperShape, PaperSynthesis
from cae_jax.models.quantization import (
  clip_inward,
  dequantize_uniform,
  quantize_uniform,
  straight_through,
)


class PaperOutput(NamedTuple):
  """One pass through the network.

  Attributes:
    x_hat: [B, H, W, 3] RGB near [0, 1].
    y, y_hat: latents, and what was decoded of them.
    seen, seen_hat: [B, H, W, 3], what the network sees of the image and its reconstruction, both
      normalised to [0, 1]: the mean square of their difference is the paper's loss.
  """

  x_hat: jax.Array
  y: jax.Array
  y_hat: jax.Array
  seen: jax.Array
  seen_hat: jax.Array


class PaperAutoencoder(PaperShape, Model):
  """Autoencoder of "Convolution Neural Network Based Autoencoder model for Lossless Image
  Compression", with two things the paper lacks, both off by default.

      x -> seen -> analysis -> y -> (quantised to latent_bits) -> y_hat -> synthesis -> x_hat

  With the defaults the latents of a 512x768x3 image are 128x192x128 numbers, 2.7 times as many as
  the image has: the paper's network, which does not compress.

  Attributes:
    channels: features of the three encoder stages.
    kernel_size: odd; the paper gives none.
    bottleneck: channels of the latents; 0 keeps channels[-1].
    upsampling: "nearest" (neighbour, then a convolution) or "subpixel", which it is a case of.
    latent_bits: 0 trains with unquantised latents. Otherwise training rounds them to 2^latent_bits
      levels between -1 and 1, straight through.
    coding_bits: that files round the latents of such a network to.
    preprocessing: what the network sees of the image, of `images.preprocessing.PREPROCESSINGS`.
    dtype: of the convolutions; parameters, latents and output are float32.
  """

  objective: ClassVar[str] = "reconstruction"
  free_settings: ClassVar[frozenset[str]] = frozenset({"latent_bits", "coding_bits"})

  channels: Sequence[int] = (32, 64, 128)
  kernel_size: int = 3
  bottleneck: int = 0
  upsampling: str = "subpixel"
  latent_bits: int = 0
  coding_bits: int = 8
  preprocessing: str = "ycbcr"
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    shape = (tuple(self.channels), self.kernel_size, self.bottleneck)
    self.analysis = PaperAnalysis(*shape, dtype=self.dtype)
    self.synthesis = PaperSynthesis(*shape, self.upsampling, self.dtype)

  @property
  def steps(self) -> Preprocessing:
    """The preprocessing."""
    return PREPROCESSINGS[self.preprocessing]

  @property
  def multiple(self) -> int:
    """Height and width have to be multiples of this."""
    return int(np.lcm(self.stride, self.steps.multiple))

  @property
  def file_bits(self) -> int:
    """Bits that files round a latent to."""
    return self.latent_bits or self.coding_bits

  def analyse(self, x: jax.Array) -> jax.Array:
    """Turns x [B, H, W, 3] into latents y [B, H/4, W/4, M], not quantised."""
    return self.analysis(self.steps.forward(255 * x))

  def synthesise(self, y_hat: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y_hat [B, h, w, M] into x_hat [B, 4h, 4w, 3], near [0, 1], not clipped."""
    del tradeoff
    return self.steps.inverse(self.synthesis(y_hat)) / 255

  def __call__(self, x: jax.Array, tradeoff: jax.Array | None = None) -> PaperOutput:
    """Passes images through; latents are rounded straight through if there are `latent_bits`."""
    del tradeoff
    seen = self.steps.forward(255 * x)
    y = self.analysis(seen)
    y_hat = self._round(y) if self.latent_bits else y
    seen_hat = self.synthesis(y_hat)
    return PaperOutput(self.steps.inverse(seen_hat) / 255, y, y_hat, seen, seen_hat)

  def _round(self, y):
    low, high = -jnp.ones(y.shape[-1:]), jnp.ones(y.shape[-1:])
    indexes = quantize_uniform(y, low, high, self.latent_bits)
    y_hat = dequantize_uniform(indexes, low, high, self.latent_bits)
    return straight_through(clip_inward(y, -1.0, 1.0), y_hat)
