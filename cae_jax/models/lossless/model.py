"""The lossless model in training: bits of the samples of blocks."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.lossless import distribution, network, passes
from cae_jax.models.lossless.network import Layer, PhaseNetwork
from cae_jax.models.lossless.phases import MARGIN, PHASES, Phase


class LosslessModel(nn.Module):
  """A network for each of the three phases, the same at all levels but for a bias.

  Attributes:
    trunk_widths: features of the trunk's layers.
    head_width: features of the hidden layer of each channel's head.
  """

  trunk_widths: tuple[int, ...] = (128, 96)
  head_width: int = 48

  def setup(self):
    self.phases = [
      PhaseNetwork(phase, tuple(self.trunk_widths), self.head_width) for phase in range(len(PHASES))
    ]

  def __call__(self, batch: Any, rounded: bool = False) -> jax.Array:
    """Bits [3, 3, B], means over the samples of each phase and channel of each block.

    Args:
      batch: of `cae_jax.training.lossless_blocks.Blocks`.
      rounded: mean, scale and shape are those of coding tables.
    """
    blocks = {name: batch[name].astype(jnp.float32) for name in ("values", "errors", "log_sizes")}
    level = batch["level"]
    found = [phase_outputs(net(), phase, blocks, level) for net, phase in zip(self.phases, PHASES)]
    x, outputs = jax.tree.map(lambda *arrays: jnp.stack(arrays), *found)
    if rounded:
      outputs = network.Outputs(*distribution.rounded(*outputs))
    bits = distribution.bits(x - outputs.mean / 8, outputs.log_scale, outputs.shape)
    return bits.reshape(*bits.shape[:2], -1, len(level)).mean(2)

  def networks(self) -> list[tuple[list[Layer], list[list[Layer]]]]:
    """Returns the quantised layers of each phase: of the trunk, and of each head."""
    return [net() for net in self.phases]


def exact_networks(model: LosslessModel, params: Any) -> list[passes.Network]:
  """Returns the networks as coding evaluates them.

  Raises:
    ValueError: a sum could pass what float32 holds exactly.
  """
  layers: Any = jax.jit(lambda p: model.apply({"params": p}, method="networks"))(params)
  found = [passes.Network(*jax.tree.map(np.asarray, of_phase)) for of_phase in layers]
  for net in found:
    first, *rest = net.trunk
    network.check_sums(*first, network.FEATURE_MAX)
    for layer in [*rest, *(layer for head in net.heads for layer in head)]:
      network.check_sums(*layer, network.ACTIVATION_MAX)
  return found


def phase_outputs(net: Any, phase: Phase, blocks: Any, level: Any) -> tuple[Any, network.Outputs]:
  """Returns the samples of a phase [3, N], and what the network `net` says of each."""
  trunk, heads = net
  around, x, errors = _around(blocks, phase)
  here = network.context(around, network.JAX)
  classes = jnp.minimum(level, network.LEVEL_CLASSES - 1)
  classes = jnp.tile(classes, x.shape[-1] // len(level))
  hidden = network.trunk(trunk, here, classes, network.JAX)
  predictions = 8 * x - errors
  known: list[Any] = []
  outputs = []
  for c, layers in enumerate(heads):
    base = around.base[c]
    own = network.own_features(predictions[c], base, around.log_sizes[c], here, network.JAX)
    features = jnp.concatenate([hidden, jnp.stack(own + known)])
    raw = network.head(layers, features, network.JAX)
    outputs.append(network.outputs(raw, predictions[c], here))
    known += network.sample_features(x[c], base, errors[c], here, network.JAX)
  return x, network.Outputs(*map(jnp.stack, zip(*outputs)))


def _around(blocks: Any, phase: Phase) -> tuple[network.Around, jax.Array, jax.Array]:
  """What is known around the samples of a phase; these [3, N], and their errors.

  N runs over the places of a block (slowest) and over blocks.
  """
  values, errors = (_neighbours(blocks[name], phase) for name in ("values", "errors"))
  base = network.base(values[1:], network.JAX)
  places = values.shape[-1] // len(blocks["values"])
  log_sizes = jnp.tile(blocks["log_sizes"][:, phase.plane - 1].T, places)
  around = network.Around(values[1:], errors[1 : 1 + network.ERRORS], base, log_sizes)
  return around, values[0], errors[0]


def _neighbours(x: jax.Array, phase: Phase) -> jax.Array:
  """[B, 4, 3, S', S'] -> [1 + K, 3, N], of each place of a phase itself and its neighbours.

  One gather: as many slices would take minutes to compile.
  """
  count, _, channels, size, _ = x.shape
  first = np.arange(MARGIN, size - MARGIN)
  places = np.stack(
    [
      (plane * size + first[:, None] + i) * size + first + j
      for plane, i, j in ((phase.plane, 0, 0), *phase.neighbours)
    ]
  )
  flat = x.transpose(1, 3, 4, 2, 0).reshape(-1, channels, count)
  found = flat[places.reshape(len(places), -1)]
  return found.transpose(0, 2, 1, 3).reshape(len(places), channels, -1)
