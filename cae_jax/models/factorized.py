"""The paper's transforms with what they lack for compression: a rate, from a factorized prior.

    x -> analysis -> y -> * gain -> round -> y_hat -> / gain' -> synthesis -> x_hat

(Factorized prior: Ballé et al. 2018, arXiv:1802.01436, appendix 6.1.)
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.models.base import CodedOutput, OneRateModel
from cae_jax.models.entropy import FactorizedPrior, bits_per_image
from cae_jax.models.paper_transforms import PaperAnalysis, PaperShape, PaperSynthesis
from cae_jax.models.quantization import straight_through, unit_noise

# The paper's latents start about as large as pixels of unit range; with this they are rounded to
# steps of about 45 grey levels, the best ones at the lmbda below if latents were independent.
_START_GAIN = 6.0
# Most channels end with hardly any spread, and a prior takes long to narrow.
_START_SPREAD = 1.5  # of the prior, in steps


class FactorizedModel(PaperShape, OneRateModel):
  """See the module's docstring.

  Attributes:
    channels, kernel_size, bottleneck, upsampling: of the transforms, see `PaperAnalysis`; a
      bottleneck of 0 leaves the paper's 128 channels.
    dtype: of the transforms; all that concerns probabilities is float32.
  """

  channels: Sequence[int] = (32, 64, 128)
  kernel_size: int = 3
  bottleneck: int = 48
  upsampling: str = "subpixel"
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    shape = (tuple(self.channels), self.kernel_size, self.bottleneck)
    self.analysis = PaperAnalysis(*shape, dtype=self.dtype)
    self.synthesis = PaperSynthesis(*shape, self.upsampling, self.dtype)
    self.prior = FactorizedPrior(self.latent_channels, init_scale=_START_SPREAD)
    start = nn.initializers.constant(math.log(_START_GAIN))
    self.log_gain = self.param("log_gain", start, (self.latent_channels,))
    self.log_inverse_gain = self.param("log_inverse_gain", start, (self.latent_channels,))

  def noisy(self, x: jax.Array, tradeoff: jax.Array, *, key: jax.Array) -> CodedOutput:
    """Passes images through, uniform noise in the rate, straight-through rounding in the synthesis.

    Args:
      x: [B, H, W, 3] in [0, 1]; H and W multiples of `multiple`.
      tradeoff: not used.
      key: for the noise.
    """
    y = self.analyse(x)
    y_bits = bits_per_image(self.prior(y + unit_noise(key, y)))
    y_hat = straight_through(y, jnp.round(y))
    return CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, y_bits, jnp.zeros_like(y_bits))

  def rounded(self, x: jax.Array, tradeoff: jax.Array) -> CodedOutput:
    """Passes images through with everything rounded, as in a file."""
    y_hat = jnp.round(self.analyse(x))
    y_bits = bits_per_image(self.prior(y_hat))
    return CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, y_bits, jnp.zeros_like(y_bits))

  def analyse(self, x: jax.Array) -> jax.Array:
    """Turns x [B, H, W, 3] in [0, 1] into y [B, H/4, W/4, M] in steps, not rounded."""
    return self.analysis(x) * jnp.exp(self.log_gain)

  def synthesise(self, y_hat: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y_hat [B, h, w, M] in steps into x_hat [B, 4h, 4w, 3] near [0, 1], not clipped."""
    del tradeoff
    return self.synthesis(y_hat * jnp.exp(-self.log_inverse_gain))
