"""The mean-scale hyperprior: Minnen et al. 2018 (arXiv:1809.02736) without its context model.

    x -> analysis -> y -------------------> round -> y_hat -> synthesis -> x_hat
                     |                        ^ means, scales
                     hyper-analysis -> z -> round -> z_hat -> hyper-synthesis

Layer by layer the `mbt2018-mean` of CompressAI. What differs: the hyper-synthesis gives means and
the logarithms of scales, in this order; its leaky ReLUs have the slope that integers can evaluate
(`slope`); z is rounded as it is, not around medians; in training both syntheses see latents rounded
straight through, not noisy ones; kernels start larger where latents are made (`_LATENT_GAIN`).
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from cae_jax.models.base import CodedOutput, OneRateModel
from cae_jax.models.entropy import FactorizedPrior, bits_per_image, gaussian_bits
from cae_jax.models.exact.layers import SLOPE_SHIFT, Layer
from cae_jax.models.gdn import GDN
from cae_jax.models.quantization import straight_through, unit_noise
from cae_jax.models.strided import StridedConv, TransposedConv

_STAGES = 4
# Latents start with a spread of some steps, or rounding would silence them; what follows them
# starts with as much less.
_LATENT_GAIN = 8.0


class HyperpriorModel(OneRateModel):
  """See the module's docstring.

  Attributes:
    hidden_channels: N, of the transforms and of z.
    latent_channels: M. CompressAI has N, M = 128, 192 for low rates and 192, 320 for high ones.
    slope: of the leaky ReLUs. CompressAI has 0.01; files need 2^-3, what `models.exact` evaluates.
    dtype: of analysis and synthesis; all that concerns probabilities is float32.
  """

  hidden_channels: int = 128
  latent_channels: int = 192
  slope: float = 2.0**-SLOPE_SHIFT
  dtype: jnp.dtype = jnp.float32

  @property
  def stride(self) -> int:
    """Pixels that a latent position stands for, across and down."""
    return 2**_STAGES

  @property
  def multiple(self) -> int:
    """Height and width have to be multiples of this."""
    return 4 * self.stride

  @property
  def margin(self) -> int:
    """Latent positions that analysis and synthesis look around."""
    # Four 5x5 convolutions of stride 2 look 30 pixels far, their transposes 15/8 of a latent.
    return 2

  @property
  def hyper_layers(self) -> tuple[Layer, ...]:
    """Of the hyper-synthesis, as an `EntropyStack`: z at 1/64 -> means, log-scales at 1/16."""
    m = self.latent_channels
    return Layer(3, 4 * m, 2), Layer(3, 4 * (3 * m // 2), 2), Layer(3, 2 * m)

  def setup(self):
    self.analysis = Analysis(self.hidden_channels, self.latent_channels, self.dtype)
    self.synthesis = Synthesis(self.hidden_channels, self.dtype)
    self.hyper_analysis = HyperAnalysis(self.hidden_channels, self.slope)
    self.hyper_synthesis = HyperSynthesis(self.latent_channels, self.slope)
    self.prior = FactorizedPrior(self.hidden_channels)

  def noisy(self, x: jax.Array, tradeoff: jax.Array, *, key: jax.Array) -> CodedOutput:
    """Passes images through, uniform noise in the rate, straight-through rounding in the synthesis.

    Args:
      x: [B, H, W, 3] in [0, 1]; H and W multiples of `multiple`.
      tradeoff: not used.
      key: for the noise.
    """
    key_y, key_z = jax.random.split(key)
    y = self.analyse(x)
    z = self.hyper_analysis(y)
    z_bits = self.prior(z + unit_noise(key_z, z))
    means, log_scales = self.conditional(straight_through(z, jnp.round(z)))
    y_hat = straight_through(y, jnp.round(y - means) + means)
    y_bits = gaussian_bits(y + unit_noise(key_y, y), means, jnp.exp(log_scales))
    bits = bits_per_image(y_bits), bits_per_image(z_bits)
    return CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, *bits)

  def rounded(self, x: jax.Array, tradeoff: jax.Array) -> CodedOutput:
    """Passes images through with everything rounded, as in a file."""
    y = self.analyse(x)
    z_hat = jnp.round(self.hyper_analysis(y))
    means, log_scales = self.conditional(z_hat)
    y_hat = jnp.round(y - means) + means
    y_bits = gaussian_bits(y_hat, means, jnp.exp(log_scales))
    bits = bits_per_image(y_bits), bits_per_image(self.prior(z_hat))
    return CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, *bits)

  def analyse(self, x: jax.Array) -> jax.Array:
    """Turns x [B, H, W, 3] in [0, 1] into latents y [B, H/16, W/16, M] in steps, not rounded."""
    return self.analysis(x)

  def hyper_analyse(self, y: jax.Array) -> jax.Array:
    """Turns y [B, h, w, M] into z [B, h/4, w/4, N], not rounded."""
    return self.hyper_analysis(y)

  def conditional(self, z_hat: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns means and logarithms of scales of z_hat [B, h, w, N], [B, 4h, 4w, M] each."""
    means, log_scales = jnp.split(self.hyper_synthesis(z_hat), 2, axis=-1)
    return means, log_scales

  def synthesise(self, y_hat: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y_hat [B, h, w, M] in steps into x_hat [B, 16h, 16w, 3] near [0, 1], not clipped."""
    del tradeoff
    return self.synthesis(y_hat)


class Analysis(nn.Module):
  """x [B, H, W, 3] -> y [B, H/16, W/16, M]: four strided convolutions, GDN between them."""

  hidden: int
  latent: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    for i in range(_STAGES - 1):
      x = StridedConv(self.hidden, dtype=self.dtype, name=f"conv_{i}")(x)
      x = GDN(name=f"gdn_{i}")(x)
    last = StridedConv(self.latent, _LATENT_GAIN, self.dtype, name=f"conv_{_STAGES - 1}")
    return last(x).astype(jnp.float32)


class Synthesis(nn.Module):
  """y_hat [B, h, w, M] -> x_hat [B, 16h, 16w, 3]: the mirror of `Analysis`."""

  hidden: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, y_hat):
    x, gain = y_hat, 1 / _LATENT_GAIN
    for i in range(_STAGES - 1):
      x = TransposedConv(self.hidden, gain, dtype=self.dtype, name=f"conv_{i}")(x)
      x = GDN(inverse=True, name=f"gdn_{i}")(x)
      gain = 1.0
    grey = nn.initializers.constant(0.5)
    last = TransposedConv(3, bias_init=grey, dtype=self.dtype, name=f"conv_{_STAGES - 1}")
    return last(x).astype(jnp.float32)


class HyperAnalysis(nn.Module):
  """y [B, h, w, M] -> z [B, h/4, w/4, N]."""

  features: int
  slope: float

  @nn.compact
  def __call__(self, y):
    x = nn.leaky_relu(nn.Conv(self.features, (3, 3), name="conv_0")(y), self.slope)
    x = nn.leaky_relu(StridedConv(self.features, name="conv_1")(x), self.slope)
    return StridedConv(self.features, name="conv_2")(x)


def _means_and_scales(key, shape, dtype=jnp.float32):
  """Means of zero and the logarithms of scales that fit the latents at the start."""
  del key
  return jnp.repeat(jnp.array([0.0, math.log(_LATENT_GAIN)], dtype), shape[0] // 2)


class HyperSynthesis(nn.Module):
  """z_hat [B, h, w, N] -> [B, 4h, 4w, 2M]."""

  features: int
  slope: float

  @nn.compact
  def __call__(self, z_hat):
    m = self.features
    layers = [
      TransposedConv(m, 1 / _LATENT_GAIN, name="conv_0"),
      TransposedConv(3 * m // 2, name="conv_1"),
      nn.Conv(
        2 * m, (3, 3), kernel_init=nn.initializers.zeros, bias_init=_means_and_scales, name="conv_2"
      ),
    ]
    x = z_hat
    for i, layer in enumerate(layers):
      x = layer(nn.leaky_relu(x, self.slope) if i else x)
      self.sow("maxima", f"layer_{i}", jnp.max(jnp.abs(x)))  # kept only on request
    return x
