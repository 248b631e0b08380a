"""What training, calibration, the counting of MACs and the codec ask of a network."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.errors import UsageError
from cae_jax.models.configuration import settings

# (how many, side in pixels) -> random squares of the training images, uint8 [N, side, side, 3]
RandomBlocks = Callable[[int, int], np.ndarray]


class CodedOutput(NamedTuple):
  """One pass through a model with a rate.

  Attributes:
    x_hat: [B, H, W, 3] near [0, 1].
    y_hat: [B, h, w, M], the latents that x_hat is synthesised from.
    y_bits, z_bits: [B] float32, information content of latents and hyper-latents.
  """

  x_hat: jax.Array
  y_hat: jax.Array
  y_bits: jax.Array
  z_bits: jax.Array


class Network(nn.Module):
  """What training asks of every network, whatever it is for.

  It is a module of its own and an entry of `models.MODELS`. The fields of the dataclass, but for
  dtype, are its settings: weights files keep them, and flags of `experiments.train` of the same
  names set them.

  Attributes:
    objective: what it is trained for: "reconstruction" or "rate_distortion", of a `Model`, or
      "code_length", of a network that says how probable samples are.
    free_settings: settings that no parameter depends on: whatever they are, training can go on.
  """

  objective: ClassVar[str]
  free_settings: ClassVar[frozenset[str]] = frozenset()

  @property
  def multiple(self) -> int:
    """Sides of what it is given have to be multiples of this."""
    raise NotImplementedError

  def random_params(self, key: jax.Array) -> Any:
    """Returns random parameters."""
    raise NotImplementedError

  def start(self, params: Any, random_blocks: RandomBlocks) -> Any:
    """Returns the parameters that training starts from: the random ones, or better.

    Args:
      params: random ones.
      random_blocks: of the training images.
    """
    del random_blocks
    return params

  def grow(self, random_params: Callable[[], Any], smaller: "Network", trained: Any) -> Any:
    """Returns parameters that go on from those of another network.

    Args:
      random_params: makes random ones, which takes a while, if any are needed.
      smaller: the other network.
      trained: its parameters.
    Raises:
      UsageError: this network cannot go on from that one.
    """
    del random_params
    ours, theirs = settings(self), settings(smaller)
    different = [k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k)]
    if type(self) is type(smaller) and self.free_settings.issuperset(different):
      return trained
    values = ", ".join(f"{k} {theirs.get(k)} instead of {ours.get(k)}" for k in different)
    raise UsageError(f"the weights are of another network ({values}); give the flags of its run")


class Model(Network):
  """A network that compresses images: an analysis, a synthesis, and what lies between them.

      x -> analyse -> y -> scaled_latents -> quantised, coded -> y_hat -> synthesise -> x_hat

  What makes bytes of its latents is a coder in `codec/coders/`.

  x is [B, H, W, 3] RGB in [0, 1], H and W multiples of `multiple`; tradeoff is [B] float, from one
  end of `tradeoff_range` to the other. y does not depend on the trade-off. Scaled latents and y_hat
  do, where a model has many rates: they are in its quantisation steps, y is not. `noisy` and
  `lmbda` are asked for by the objective "rate_distortion" only.
  """

  objective: ClassVar[str] = "rate_distortion"

  @property
  def stride(self) -> int:
    """Pixels that a latent position stands for, across and down."""
    raise NotImplementedError

  @property
  def multiple(self) -> int:
    """Height and width have to be multiples of this, itself one of the stride."""
    return self.stride

  @property
  def latent_channels(self) -> int:
    """M, the channels of the latents."""
    raise NotImplementedError

  @property
  def margin(self) -> int:
    """Latent positions that analysis and synthesis look around, or more."""
    raise NotImplementedError

  @property
  def tradeoff_range(self) -> tuple[float, float]:
    """The ends of the trade-off; equal for models of one rate."""
    return 0.0, 0.0

  @property
  def valid_tradeoffs(self) -> tuple[float, ...]:
    """Where it is validated."""
    return (0.0,)

  def __call__(self, x: jax.Array, tradeoff: jax.Array) -> Any:
    """Passes images through, rounded as in a file: a record that has `x_hat` and `y_hat`."""
    return self.rounded(x, tradeoff)

  def analyse(self, x: jax.Array) -> jax.Array:
    """Turns x into latents y [B, h, w, M], not rounded, for all trade-offs."""
    raise NotImplementedError

  def scaled_latents(self, y: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y [B, h, w, M] of `analyse` into what is rounded at a trade-off, in steps."""
    del tradeoff
    return y

  def synthesise(self, y_hat: jax.Array, tradeoff: jax.Array) -> jax.Array:
    """Turns y_hat [B, h, w, M] into x_hat [B, H, W, 3] near [0, 1], not clipped."""
    raise NotImplementedError

  def noisy(self, x: jax.Array, tradeoff: jax.Array, *, key: jax.Array) -> CodedOutput:
    """Passes images through with noise or straight-through rounding, for training."""
    raise NotImplementedError

  def rounded(self, x: jax.Array, tradeoff: jax.Array) -> CodedOutput:
    """Passes images through with everything rounded, as in a file, for validation."""
    raise NotImplementedError

  def lmbda(self, tradeoff: jax.Array) -> jax.Array:
    """Returns the lmbda of rate_bpp + lmbda * MSE (0-255) at trade-offs: [B] -> [B]."""
    raise NotImplementedError

  def random_params(self, key: jax.Array) -> Any:
    """Returns random parameters."""
    x = jnp.zeros((1, self.multiple, self.multiple, 3))
    return self.init(key, x, jnp.zeros(1))["params"]


class OneRateModel(Model):
  """A model with a rate, and with one only; trade-offs are passed over.

  Attributes:
    fixed_lmbda: of rate_bpp + lmbda * MSE (0-255), the one trade-off; losses are times
      `losses.rate_balance`.
  """

  free_settings: ClassVar[frozenset[str]] = frozenset({"fixed_lmbda"})

  fixed_lmbda: float = dataclasses.field(default=0.013, kw_only=True)

  def lmbda(self, tradeoff: jax.Array) -> jax.Array:
    """Returns the one lmbda there is: [B] -> [B]."""
    return jnp.full_like(tradeoff, self.fixed_lmbda)


def init_params(model: Network, seed: int) -> Any:
  """Returns the model's random parameters, the same on every device.

  Compiled without optimisation: on CPU, XLA takes 14 s to optimise the random generators of a
  network that then run for milliseconds.
  """
  init = jax.jit(model.random_params)
  options: dict[str, Any] = (
    {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
  )
  return init.lower(jax.random.key(seed)).compile(options)(jax.random.key(seed))
