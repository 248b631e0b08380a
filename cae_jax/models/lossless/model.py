"""The lossless model in training: bits of the samples of blocks."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.base import Network
from cae_jax.models.lossless import likelihood, network
from cae_jax.models.lossless.network import Layer
from cae_jax.models.lossless.phases import MARGIN, PHASES, Phase
from cae_jax.models.quantization import straight_through

JAX = network.Library(jnp, lambda x: straight_through(x, jnp.floor(x)), jnp.clip)


class PhaseNetwork(nn.Module):
  """The parameters of a phase: a trunk, and a head for each channel.

  Attributes:
    phase: 0 to 2.
    trunk_widths: of its layers.
    head_width: of each head's hidden layer.
  """

  phase: int
  trunk_widths: tuple[int, ...]
  head_width: int

  def setup(self):
    size = 3 * (len(PHASES[self.phase].neighbours) + network.ERRORS) + 10
    layers = []
    for i, width in enumerate(self.trunk_widths):
      layers.append(
        self._layer(f"trunk_{i}", size, width, network.LEVELS + network.STEPS if i == 0 else 0)
      )
      size = width
    self.trunk_layers = layers
    self.heads = [
      [
        self._layer(f"head_{c}_0", size + 2 + 2 * c, self.head_width),
        self._layer(f"head_{c}_1", self.head_width, 3, gain=0.1),
      ]
      for c in range(3)
    ]

  def _layer(self, name: str, size: int, width: int, classes: int = 0, gain: float = 1.0) -> Layer:
    shape = (classes, width) if classes else (width,)
    scale = nn.initializers.variance_scaling(2.0 * gain**2, "fan_in", "normal", 1, 0)
    return (
      self.param(f"{name}_weights", scale, (width, size)),
      self.param(f"{name}_bias", nn.initializers.zeros, shape),
    )

  def __call__(self) -> tuple[list[Layer], list[list[Layer]]]:
    """The quantised layers: of the trunk, and of each head."""
    return (
      [network.quantize(*layer, JAX) for layer in self.trunk_layers],
      [[network.quantize(*layer, JAX) for layer in layers] for layers in self.heads],
    )


class LosslessModel(Network):
  """Networks for each of the three phases: of the finest level, and of all others.

  It says how probable samples are, and makes no images. Its codec is `codec.lossless`.

  Attributes:
    trunk_widths: features of the trunk's layers.
    head_width: features of the hidden layer of each channel's head.
    biases: whether files say of an image where its samples lie to one side: by constants of the
      linear stage, and by moves, see `codec.lossless.adjustment`.
  """

  trunk_widths: tuple[int, ...] = (160, 128)
  head_width: int = 64
  biases: bool = False
  dtype: Any = jnp.float32  # exactness needs this one

  objective: ClassVar[str] = "code_length"

  @property
  def multiple(self) -> int:
    """Blocks have as many samples of each phase."""
    return 2

  def random_params(self, key: jax.Array) -> Any:
    """Returns random parameters."""
    return self.init(key, method="networks")["params"]

  def setup(self):
    self.sets = [
      [PhaseNetwork(phase, tuple(self.trunk_widths), self.head_width) for phase in range(3)]
      for _ in range(network.SETS)
    ]

  def __call__(self, batch: Any, rounded: Any = False) -> jax.Array:
    """Bits [3, 3, B], means over the samples of each phase and channel of each block.

    Args:
      batch: of `cae_jax.training.lossless_blocks.Blocks`: blocks of the finest level come first.
      rounded: mean, scale and shape are those of coding tables.
    """
    finest = finest_blocks(len(batch["level"]))
    parts = [jax.tree.map(lambda x: x[:finest], batch), jax.tree.map(lambda x: x[finest:], batch)]
    return jnp.concatenate(
      [_bits(nets, blocks, rounded) for nets, blocks in zip(self.sets, parts)], -1
    )

  def networks(self) -> list[list[tuple[list[Layer], list[list[Layer]]]]]:
    """Returns the quantised layers of each set and phase: of the trunk, and of each head."""
    return [[net() for net in nets] for nets in self.sets]


def finest_blocks(batch_size: int) -> int:
  """Says how many blocks of a batch are of the finest level."""
  return round(0.64 * batch_size)


def _bits(nets: Any, batch: Any, rounded: bool) -> jax.Array:
  """[3, 3, B]."""
  level, step = batch["level"], batch["step"]
  found = [phase_outputs(net(), phase, batch, level, step) for net, phase in zip(nets, PHASES)]
  x, outputs = jax.tree.map(lambda *arrays: jnp.stack(arrays), *found)
  steps = jnp.tile(step, x.shape[-1] // len(step)).astype(jnp.float32)
  # What is coded is how many steps a sample is from the rounded mean.
  middle = jax.lax.stop_gradient(jnp.floor(outputs.mean / 8 + 0.5))
  coded = middle + steps * jnp.rint((x - middle) / steps)
  edge = jnp.where(coded >= 255, 1, jnp.where(coded <= 0, -1, 0))
  error = (coded - outputs.mean / 8) / steps
  log_scale, shape = outputs.log_scale - jnp.log2(steps), outputs.shape
  if rounded:  # the mean of what is coded is minus the error, in eighths
    mean, log_scale, shape = likelihood.rounded(-8 * error, log_scale, shape)
    error = -mean / 8
  bits = likelihood.bits(error, log_scale, shape, edge)
  return bits.reshape(*bits.shape[:2], -1, len(level)).mean(2)


def phase_outputs(
  net: Any, phase: Phase, blocks: Any, level: Any, step: Any
) -> tuple[Any, network.Outputs]:
  """Returns the true samples of a phase [3, N], and what the network `net` says of each."""
  trunk, heads = net
  around, x, errors = _around(blocks, phase)
  here, inputs = network.context(around, JAX)
  places = x.shape[-1] // len(level)
  bias = network.bias_of(trunk, network.classes_of(level, step, jnp))
  hidden = network.trunk(trunk, inputs, jnp.tile(bias.T, places), JAX)
  predictions = 8 * x - errors
  known: list[Any] = []
  outputs = []
  for c, layers in enumerate(heads):
    base = around.base[c]
    own = network.own_features(predictions[c], base, around.log_sizes[c], here, JAX)
    raw = network.head(layers, (hidden, jnp.stack(own + known)), JAX)
    outputs.append(network.outputs(raw, predictions[c], here))
    known += network.sample_features(x[c], base, errors[c], here, JAX)
  return _center(blocks["values"], phase), network.Outputs(*map(jnp.stack, zip(*outputs)))


def _around(blocks: Any, phase: Phase) -> tuple[network.Around, jax.Array, jax.Array]:
  """What is known around the samples of a phase; what is known of these [3, N], and their errors.

  N runs over the places of a block (slowest) and over blocks.
  """
  values = _neighbours(blocks["known"], phase, len(phase.neighbours))
  errors = _neighbours(blocks["errors"], phase, network.ERRORS)
  base = network.base(values[1:], JAX)
  places = values.shape[-1] // len(blocks["known"])
  log_sizes = jnp.tile(blocks["log_sizes"][:, phase.plane - 1].T, places)
  around = network.Around(values[1:], errors[1:], base, log_sizes)
  return around, values[0], errors[0]


def _center(x: jax.Array, phase: Phase) -> jax.Array:
  """[B, 4, 3, S', S'] -> [3, N], the samples of a phase."""
  inside = slice(MARGIN, -MARGIN)
  x = x[:, phase.plane, :, inside, inside].transpose(1, 2, 3, 0).reshape(3, -1)
  return x.astype(jnp.float32)


def _neighbours(x: jax.Array, phase: Phase, most: int) -> jax.Array:
  """[B, 4, 3, S', S'] -> [1 + K, 3, N], of each place of a phase itself and its K closest.

  One gather, of the small integers that they are: as many slices would take minutes to compile.
  """
  count, _, channels, size, _ = x.shape
  first = np.arange(MARGIN, size - MARGIN)
  places = np.stack(
    [
      (plane * size + first[:, None] + i) * size + first + j
      for plane, i, j in ((phase.plane, 0, 0), *phase.neighbours[:most])
    ]
  )
  flat = x.transpose(1, 3, 4, 2, 0).reshape(-1, channels, count)
  found = flat[places.reshape(len(places), -1)]
  found = found.transpose(0, 2, 1, 3).reshape(len(places), channels, -1)
  return found.astype(jnp.float32)
