"""What training minimises, loss_fn(params, batch, *, key), and what validation measures.

A loss comes with figures by name, means over the batch; validation has them image by image.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cae_jax.images.color import to_uint8
from cae_jax.images.metrics import psnr_from_mse
from cae_jax.models.base import Model
from cae_jax.models.units import LMBDA_UNIT
from cae_jax.training.chroma import halve_chroma
from cae_jax.training.distortions import Measure, mean_square, measure_mse

Batch = Mapping[str, jax.Array]
LossFn = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
ErrorsFn = Callable[[Any, Batch], dict[str, jax.Array]]

_CHROMA_KEY = 2**32 - 1  # beside the keys that a step's is split into


def reconstruction_loss(model: Model) -> LossFn:
  """Makes the paper's loss: the mean squared error of what the network sees, in [0, 1].

  Args:
    model: whose output has `seen` and `seen_hat`, see `models.paper.PaperOutput`.
  Returns:
    loss_fn(params, batch, *, key) -> (loss, {"psnr_db"}), with batch["image"] uint8 [B, H, W, 3].
    The PSNR is of RGB, over all the batch, neither rounded nor clipped to 8 bits.
  """

  def loss_fn(params: Any, batch: Batch, *, key: jax.Array):
    del key  # nothing here is random
    x = batch["image"].astype(jnp.float32) / 255
    output = _through(model, params, x)
    error = 255 * (jax.lax.stop_gradient(output.x_hat) - x)
    loss = jnp.mean(jnp.square(output.seen_hat - output.seen))
    return loss, {"psnr_db": psnr_from_mse(jnp.mean(jnp.square(error)))}

  return loss_fn


def reconstruction_errors(model: Model) -> ErrorsFn:
  """Makes what validation measures for `reconstruction_loss`, image by image.

  Returns:
    errors_fn(params, batch) -> {"loss": [B], "psnr_db": [B]}: the loss, and the PSNR of RGB after
    rounding to 8 bits.
  """

  def errors_fn(params: Any, batch: Batch):
    rgb = batch["image"].astype(jnp.float32)
    output = _through(model, params, rgb / 255)
    decoded = to_uint8(255 * output.x_hat).astype(jnp.float32)
    return {
      "loss": mean_square(output.seen_hat - output.seen),
      "psnr_db": psnr_from_mse(mean_square(decoded - rgb)),
    }

  return errors_fn


def _through(model: Model, params: Any, x: jax.Array) -> Any:
  return model.apply({"params": params}, x, jnp.zeros(x.shape[0]))


@dataclasses.dataclass(frozen=True)
class RateDistortionConfig:
  """What a loss of rate and distortion depends on besides its model.

  Attributes:
    distortion: what lmbda weighs against the rate, see `distortions`.
    cost_power: p; what is minimised is the mean of cost^p / p. With 1 smooth images hardly count,
      as they cost little; the closer to 0, the more a per cent of every image counts the same.
    halved_chroma: share of the images that get chroma of half the resolution first.
  """

  distortion: Measure = measure_mse
  cost_power: float = 1.0
  halved_chroma: float = 0.0


_RATE_AND_MSE = RateDistortionConfig()


def rate_distortion_loss(model: Model, config: RateDistortionConfig = _RATE_AND_MSE) -> LossFn:
  """Makes the loss rate plus lmbda times distortion, of every image at a random trade-off.

  The images of a batch share out the range of the trade-off evenly, and costs are balanced over it
  (`rate_balance`).

  Args:
    model: with a rate, see `models.base.Model`.
    config: see there.
  Returns:
    loss_fn(params, batch, *, key) -> (what is minimised, {"loss", "psnr_db", "rate_bpp", "z_bpp",
    and what the distortion reports}), means over images ("loss" of the costs, whatever the power:
    what validation measures too), with batch["image"] uint8 [B, H, W, 3].
  """

  def loss_fn(params: Any, batch: Batch, *, key: jax.Array):
    rgb = batch["image"].astype(jnp.float32)
    key_tradeoff, key_noise = jax.random.split(key)
    if config.halved_chroma:
      rgb = halve_chroma(rgb, jax.random.fold_in(key, _CHROMA_KEY), config.halved_chroma)
    tradeoff = spread_evenly(key_tradeoff, rgb.shape[0], *model.tradeoff_range)
    output: Any = model.apply(
      {"params": params}, rgb / 255, tradeoff, key=key_noise, method="noisy"
    )
    figures = _costs(model, output, rgb, output.x_hat * 255, tradeoff, config.distortion)
    objective = jnp.mean(figures["loss"] ** config.cost_power) / config.cost_power
    return objective, {name: jnp.mean(v) for name, v in figures.items()}

  return loss_fn


def rate_distortion_errors(model: Model, config: RateDistortionConfig = _RATE_AND_MSE) -> ErrorsFn:
  """Makes what validation measures for `rate_distortion_loss`, image by image.

  Means over the model's `valid_tradeoffs`, of the images as they are.

  Returns:
    errors_fn(params, batch) -> {"loss", "psnr_db", "rate_bpp", "z_bpp", and what the distortion
    reports}, and all but the loss again for each trade-off, as in "psnr_db@0.5"; [B] each.
    Everything is rounded as in a file; the rate is the information content.
  """
  tradeoffs = model.valid_tradeoffs

  def errors_fn(params: Any, batch: Batch):
    figures: dict[str, jax.Array] = {}
    images = batch["image"].shape[0]
    rgb = jnp.tile(batch["image"].astype(jnp.float32), (len(tradeoffs), 1, 1, 1))
    tradeoff = jnp.repeat(jnp.asarray(tradeoffs, jnp.float32), images)
    output: Any = model.apply({"params": params}, rgb / 255, tradeoff, method="rounded")
    decoded = to_uint8(output.x_hat * 255).astype(jnp.float32)
    costs = _costs(model, output, rgb, decoded, tradeoff, config.distortion)
    for name, values in costs.items():
      rows = values.reshape(len(tradeoffs), images)
      figures[name] = jnp.mean(rows, axis=0)
      if name != "loss" and len(tradeoffs) > 1:
        figures |= {f"{name}@{u:g}": row for u, row in zip(tradeoffs, rows, strict=True)}
    return figures

  return errors_fn


def _costs(model, output, rgb, decoded, tradeoff, measure) -> dict[str, jax.Array]:
  """Of each image: "loss", "psnr_db", "rate_bpp", "z_bpp"...; rgb and decoded in 0 to 255."""
  pixels = rgb.shape[1] * rgb.shape[2]
  rate_bpp = (output.y_bits + output.z_bits) / pixels
  lmbda = model.lmbda(tradeoff)
  distortion, figures = measure(rgb, decoded)
  return {
    "loss": rate_balance(lmbda) * (rate_bpp + lmbda * distortion),
    "psnr_db": psnr_from_mse(mean_square(decoded - rgb)),
    "rate_bpp": rate_bpp,
    "z_bpp": output.z_bits / pixels,
    **figures,
  }


def rate_balance(lmbda: jax.Array) -> jax.Array:
  """Returns what costs are multiplied by, 1 at a typical lmbda, so that all rates weigh the same.

  The cost rate + lmbda * distortion grows about like the root of lmbda.
  """
  return jax.lax.rsqrt(lmbda / LMBDA_UNIT)


def spread_evenly(key: jax.Array, count: int, low: Any, high: Any) -> jax.Array:
  """Draws [count] from low to high: one uniform number in each of `count` equal parts.

  They come in random order: rows of a batch may stand for devices, and these for photographs.
  """
  parts = jax.random.permutation(jax.random.fold_in(key, 1), count)
  return low + (high - low) * (parts + jax.random.uniform(key, (count,))) / count


class Objective(NamedTuple):
  """Makes what training minimises, and what validation measures, of a model and a configuration."""

  loss: Callable[[Model, RateDistortionConfig], LossFn]
  errors: Callable[[Model, RateDistortionConfig], ErrorsFn]


# By `Model.objective`.
OBJECTIVES: Mapping[str, Objective] = {
  "rate_distortion": Objective(rate_distortion_loss, rate_distortion_errors),
  "reconstruction": Objective(
    lambda model, _: reconstruction_loss(model),
    lambda model, _: reconstruction_errors(model),
  ),
}
