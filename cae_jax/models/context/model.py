"""A variable-rate codec model: block transforms, a small hyperprior and a parallel context model.

    x -> analysis -> y (grey levels) -> / step(u) -> y -> round -> y_hat -> synthesis -> x_hat
                                                     |    ^ means, scales
                                       hyper-analysis -> z -> hyper-synthesis, context passes

u is the trade-off, log10(lmbda / 0.009): one model, every rate.

Latents have two resolutions, see `transforms`: coarse ones at 1/16, fine ones at 1/8. The
context model codes first the coarse, then the fine ones, in passes: channel groups, the strong ones
first, and within each group some positions after others, see `passes`. A pass knows all that
earlier passes of its level coded: of the strongest channels the values, of all the logarithms of
their magnitudes, which is what scales depend on; and features, of the hyperprior or, for the fine
level, of the coarse one. No pass depends on its own symbols.
(Channel groups: Minnen and Singh 2020; checkerboard: He et al. 2021; both: He et al. 2022, ELIC.)
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.base import CodedOutput, Model, Network, RandomBlocks
from cae_jax.models.context.analysis import analyse_latents, curvatures, gains
from cae_jax.models.context.growth import grown
from cae_jax.models.context.passes import Level
from cae_jax.models.context.settings import ContextSettings
from cae_jax.models.context.synthesis import (
  BLOCK,
  in_cells,
  join_levels,
  lmbda_of,
  split_levels,
  steps,
)
from cae_jax.models.context.transforms import BlockAnalysis, BlockSynthesis, klt
from cae_jax.models.entropy import FactorizedPrior, bits_per_image
from cae_jax.models.exact.cells import at_cells, from_cells
from cae_jax.models.exact.stack import EntropyStack
from cae_jax.models.laplacian import (
  dead_zone,
  dead_zone_rounding,
  relaxed_symbol_bits,
  symbol_bits,
)
from cae_jax.models.quantization import straight_through, unit_noise
from cae_jax.models.units import LMBDA_UNIT, SCALE_FLOOR, STEP

# (differences of latents from their means, their scales, number of the pass) -> what the decoder
# has of them, and their bits
_Quantize = Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array]]


_VALID_TRADEOFFS = (-0.9, -0.3, 0.3, 0.9)
_KLT_BLOCKS = 1 << 15  # enough for a KLT of 768 x 768


class ContextModel(ContextSettings, Model):
  """See the module's docstring; the settings are those of `ContextSettings`.

  Attributes:
    dtype: of the transforms; all that concerns probabilities is float32.
  """

  dtype: jnp.dtype = jnp.float32

  @property
  def valid_tradeoffs(self) -> tuple[float, ...]:
    """Four of the usual range; of a smaller one those in it, or else four spread over it."""
    low, high = self.tradeoff_range
    inside = tuple(u for u in _VALID_TRADEOFFS if low <= u <= high)
    return inside if len(inside) > 1 else tuple(np.linspace(low, high, 6)[1:-1].tolist())

  def setup(self):
    transform = (tuple(self.channels), tuple(self.blocks))
    coarse, fine = sum(self.groups), sum(self.fine_groups)
    self.analysis = BlockAnalysis(coarse, fine, *transform, self.dtype)
    self.synthesis = BlockSynthesis(coarse, *transform, self.dtype)
    self.hyper_analysis = HyperAnalysis(self.hyper_channels)
    self.hyper_synthesis = EntropyStack(self.hyper_layers, zero_last=False)
    self.prior = FactorizedPrior(self.hyper_channels)
    if fine:
      self.bridge = EntropyStack(self.bridge_layers, zero_last=False)
    self.context = [
      EntropyStack(level.pass_layers(p)) for level in self.levels for p in level.passes.values()
    ]
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    # The four cells of a fine channel share these.
    self.log_gain = self.param("log_gain", zeros, (3, coarse + fine))
    self.log_step = self.param("log_step", zeros, (3, coarse + fine))
    # Typical size of each channel in steps at u = 0: a unit to count in, not trained.
    self.spread = self.param("spread", ones, (coarse + fine,))

  def noisy(self, x: jax.Array, tradeoff: jax.Array, *, key: jax.Array) -> CodedOutput:
    """Passes images through, uniform noise in the rate, straight-through rounding in the synthesis.

    Args:
      x: [B, H, W, 3] in [0, 1]; H and W multiples of `multiple`.
      tradeoff: [B] in `tradeoff_range`.
      key: for the noise.
    """
    key_y, key_z = jax.random.split(key)
    y, z = self.quantizable(self.analysis(x), tradeoff)
    z_bits = self.prior(z + unit_noise(key_z, z))
    z_hat = straight_through(z, jnp.round(z))
    to_symbols = self._rounding(tradeoff)

    def quantize(r, scales, number):
      symbols = to_symbols(r, scales, number)
      noise = unit_noise(jax.random.fold_in(key_y, number), r)
      return straight_through(r, symbols), relaxed_symbol_bits(r, symbols, scales, noise)

    y_hat, y_bits = self._code(y, z_hat, tradeoff, quantize)
    bits = jnp.sum(y_bits, axis=(1, 2)), bits_per_image(z_bits)
    return CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, *bits)

  def rounded(self, x: jax.Array, tradeoff: jax.Array) -> CodedOutput:
    """Passes images through with everything rounded, as in a file but for hidden signs."""
    y, _ = self.quantizable(self.analysis(x), tradeoff)
    return self.coded(y, tradeoff)[0]

  def coded(self, y: jax.Array, tradeoff: jax.Array) -> tuple[CodedOutput, jax.Array]:
    """Makes of latents what a file does.

    Args:
      y: [B, h, w, M] in steps.
      tradeoff: [B] in `tradeoff_range`.
    Returns:
      The output, whose y_hat has the gradient of y, straight through, where the bits of a latent's
      own symbol have none; and all bits by regions of `multiple` pixels a side, [B, h / 4, w / 4].
    """
    to_symbols = self._rounding(tradeoff)

    def quantize(r, scales, number):
      symbols = to_symbols(r, scales, number)
      return straight_through(r, symbols), symbol_bits(symbols, scales)

    z_hat = jnp.round(self.hyper_analysis(y))
    y_hat, y_bits = self._code(y, z_hat, tradeoff, quantize)
    z_bits = jnp.sum(self.prior(z_hat), axis=-1)
    bits = [jnp.sum(part, axis=(1, 2)) for part in (y_bits, z_bits)]
    output = CodedOutput(self.synthesise(y_hat, tradeoff), y_hat, *bits)
    return output, y_bits + z_bits

  def analyse(self, x: jax.Array) -> jax.Array:
    """Turns x [B, H, W, 3] into y [B, H/16, W/16, M] in grey levels, for all trade-offs."""
    return self.analysis(x)

  def quantizable(self, y: jax.Array, tradeoff: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns what is to be rounded: y in grey levels, [B] -> y in steps, z [B, H/64, W/64, C]."""
    y = self.scaled_latents(y, tradeoff)
    return y, self.hyper_analysis(y)

  def scaled_latents(self, y: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y [B, h, w, M] in grey levels into y in the steps of trade-offs [B]."""
    return y * self.gain(tradeoff)

  def gain(self, tradeoff: jax.Array) -> jax.Array:
    """Returns the encoder's quantisation steps in a grey level: [B] -> [B, 1, 1, M]."""
    return gains(self.log_gain, tradeoff, sum(self.groups))

  def synthesise(self, y_hat: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y_hat [B, h, w, M] in steps into x_hat [B, 16h, 16w, 3], not clipped."""
    return self.synthesis(y_hat, self.step(tradeoff), tradeoff)

  def step(self, tradeoff: jax.Array) -> jax.Array:
    """Returns the decoder's quantisation steps in grey levels: [B] -> [B, 1, 1, M]."""
    return steps(self.log_step, tradeoff, sum(self.groups))

  def curvature(self, tradeoff: jax.Array, ndim: int = 4) -> jax.Array:
    """Returns the distortion's curvature along each latent, see `analysis.curvatures`."""
    return curvatures(self.log_step, tradeoff, ndim)

  def in_cells(self, values: jax.Array) -> jax.Array:
    """Repeats what is said of a fine channel for its four cells: [..., C + F] -> [..., C + 4F]."""
    return in_cells(values, sum(self.groups))

  def start(self, params: Any, random_blocks: RandomBlocks) -> Any:
    """Returns parameters whose linear paths are a KLT of the training images."""
    blocks = random_blocks(_KLT_BLOCKS, BLOCK)
    return start_from_klt(self, params, *klt(blocks, sum(self.groups), sum(self.fine_groups)))

  def grow(self, random_params: Callable[[], Any], smaller: Network, trained: Any) -> Any:
    """Returns parameters that compute what those of a smaller network do; see `growth`."""
    if not isinstance(smaller, ContextModel):
      return super().grow(random_params, smaller, trained)
    return grown(self, random_params, smaller, trained)

  def lmbda(self, tradeoff: jax.Array) -> jax.Array:
    """Returns the lmbda of a trade-off: [B] -> [B]."""
    return lmbda_of(tradeoff)

  def _rounding(self, tradeoff) -> Callable[[jax.Array, jax.Array, int], jax.Array]:
    """(differences, scales, number of the pass) as in `_Quantize` -> symbols, as in files."""
    curvature = self.curvature(tradeoff, 5)
    channels = {
      number: slice(level.first + p.start, level.first + p.stop)
      for level in self.levels
      for number, p in level.passes.items()
    }

    def symbols(r, scales, number):
      zone = dead_zone(scales, curvature[..., channels[number]])
      return dead_zone_rounding(*map(jax.lax.stop_gradient, (r, zone)))

    return symbols

  def _code(self, y, z_hat, tradeoff, quantize: _Quantize):
    """All passes: y_hat and its bits by positions of z, [B, h / 4, w / 4]."""
    coarse, *fine = self.levels
    y_coarse, y_fine = split_levels(y, coarse.channels)
    features = self.hyper_synthesis(z_hat, tradeoff)
    y_hat, bits = self._code_level(coarse, y_coarse, features, tradeoff, quantize)
    regions = z_hat.shape[1:3]
    bits = sum(_pooled(part, regions) for part in bits)
    for level in fine:
      features = self.bridge(self._inputs(coarse, features, y_hat), tradeoff)
      y_hat_fine, more = self._code_level(level, y_fine, features, tradeoff, quantize)
      y_hat = join_levels(y_hat, y_hat_fine)
      bits += sum(_pooled(part, regions) for part in more)
    return y_hat, bits

  def _code_level(self, level: Level, y, features, tradeoff, quantize: _Quantize):
    """The passes of one level: its y_hat and the bits of each pass, by its cells."""
    spread = self._units(level)
    y_hat = group = jnp.zeros((*y.shape[:-1], 0), y.dtype)  # all of earlier groups; of this one
    bits = []
    for number, p in level.passes.items():
      y_pass, unit = y[..., p.start : p.stop], spread[p.start : p.stop]
      if p.step == 0:
        y_hat, group = jnp.concatenate([y_hat, group], axis=-1), jnp.zeros_like(y_pass)
      known = jnp.concatenate([y_hat, group], axis=-1) if p.step else y_hat
      x = self._inputs(level, features, known)
      outputs = self.context[number](x, tradeoff, p.cells)
      means, log_scales = jnp.split(outputs, 2, axis=-1)
      means, scales = means * unit, jnp.exp(log_scales)
      r_hat, pass_bits = quantize(at_cells(y_pass, p.cells) - means, scales, number)
      bits.append(jnp.sum(pass_bits, axis=(1, 4)))
      group += from_cells(r_hat + means, p.cells)
    return jnp.concatenate([y_hat, group], axis=-1), bits

  def _inputs(self, level: Level, features, known):
    """What a network sees: features, values of the first channels, magnitudes of all known ones."""
    values = known[..., : level.value_channels]
    values = values / self._units(level)[: values.shape[-1]]
    return jnp.concatenate([features, values, log_magnitude(known)], axis=-1)

  def _units(self, level: Level):
    spread = jax.lax.stop_gradient(self.spread)
    return spread[level.first : level.first + level.channels]


def _pooled(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
  """Sums over blocks: [B, h, w] -> [B, *shape]."""
  batch, height, width = x.shape
  rows, columns = shape
  return jnp.sum(x.reshape(batch, rows, height // rows, columns, width // columns), axis=(2, 4))


def log_magnitude(x: jax.Array) -> jax.Array:
  """Returns log2(1 + |x|), linear between powers of two: what integers can evaluate exactly."""
  magnitude = 1 + jnp.abs(x)
  exponent = jnp.floor(jnp.log2(jax.lax.stop_gradient(magnitude)))
  return exponent + magnitude * jnp.exp2(-exponent) - 1


class HyperAnalysis(nn.Module):
  """y [B, h, w, M] in steps -> z [B, h/4, w/4, C]."""

  features: int

  @nn.compact
  def __call__(self, y):
    sizes = 64, 128, self.features
    return analyse_latents(y, [nn.Conv(size, (1, 1)) for size in sizes])


def start_from_klt(model: ContextModel, params: Any, axes: np.ndarray, sizes: np.ndarray) -> Any:
  """Returns parameters whose linear paths are a block transform and whose scales fit it.

  Args:
    params: of the model.
    axes: [768, C + 4F] orthonormal columns.
    sizes: [C + F] root mean squares of the coefficients, in grey levels.
  """
  params = jax.tree.map(lambda a: a, params)  # a copy of the dictionaries
  basis = jnp.asarray(axes * np.sqrt(axes.shape[0]), jnp.float32)
  params["analysis"]["basis"] = basis
  params["synthesis"]["basis"] = jnp.copy(basis)  # training donates every buffer
  sizes = sizes * np.sqrt(LMBDA_UNIT) / STEP
  params["spread"] = jnp.asarray(np.maximum(sizes, 0.5), jnp.float32)
  for level in model.levels:
    for number, p in level.passes.items():
      own = sizes[level.first + p.start : level.first + p.stop]
      bias = np.zeros((3, 2 * len(own)), np.float32)
      bias[0, len(own) :] = np.log(np.maximum(own, SCALE_FLOOR))
      bias[1, len(own) :] = math.log(10) / 2  # steps follow the root of lmbda
      params[f"context_{number}"]["bias_2"] = jnp.asarray(bias)
  return params
