"""What a look is trained for: a difference of the synthesis against a patch discriminator.

The encoder and the entropy model stay as they are (Muckley et al. 2023, MS-ILLM, arXiv:2301.11189),
so the rate is given and a picture is all that can change. Two players take turns in every step
(`training.step`): the discriminator, and the difference dW of W0 + B dW. A step draws one B from 0
to 1 for the whole batch, which has one set of parameters; B weighs what asks for realism (the dial
of Agustsson et al. 2023, arXiv:2212.13824), and images get rates at which a look is that strong.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cae_jax.images.color import to_uint8
from cae_jax.images.metrics import psnr_from_mse
from cae_jax.models.context import ContextModel
from cae_jax.models.context.look import changed_part, moved
from cae_jax.models.discriminator import PatchDiscriminator
from cae_jax.training.distortions import Measure, mean_square, measure_mse
from cae_jax.training.losses import Batch, LossFn, rate_balance, spread_evenly
from cae_jax.training.texture import Texture, filter_wasserstein, repeated_error

LOOK, DISCRIMINATOR = "look", "discriminator"  # the players


@dataclasses.dataclass(frozen=True)
class LookConfig:
  """What weighs how much. A cost is on the scale of `losses.rate_distortion_loss`.

  Attributes:
    texture_weight: of the textures' distance, against 1 for the distortion; both are in squared
      grey levels, weighed by the root of lmbda.
    adversarial_weight: of the adversarial loss, the same at all rates, and so by itself smaller
      where errors are. Without it there is no discriminator.
    fade: see `weights.look.Look`.
    texture: how that distance is measured.
    distortion: what is weighed against it, by default the MSE.
    repeat_weight: of errors that repeat from block to block, against 1 for the distortion.
  """

  texture_weight: float = 1.0
  adversarial_weight: float = 0.1
  fade: tuple[float, float] = (45.0, 80.0)
  texture: Texture = filter_wasserstein
  distortion: Measure = measure_mse
  repeat_weight: float = 0.5


class _Seen(NamedTuple):
  """A batch and what is made of it: rgb and decoded in 0 to 255; conditions [B, 2]."""

  rgb: jax.Array
  decoded: jax.Array
  y_hat: jax.Array
  tradeoff: jax.Array
  conditions: jax.Array


class LookGame:
  """The players' losses, for `training.loop.train`.

  Attributes:
    model: of the weights.

  Args:
    model: of the weights.
    params: theirs, which stay as they are.
    discriminator: sees x, y_hat and, as conditions, trade-off and B.
    config: weights of the terms.
  """

  def __init__(
    self,
    model: ContextModel,
    params: Mapping[str, Any],
    discriminator: PatchDiscriminator,
    config: LookConfig,
  ):
    self.model, self._frozen, self._discriminator = model, params, discriminator
    self._config = config
    low, high = model.tradeoff_range
    self._full, self._gone = (low + (high - low) * quality / 100 for quality in config.fade)

  def random_params(self, key: jax.Array) -> dict[str, Any]:
    """Returns what both players start from: no difference, and a random discriminator."""
    change = changed_part(self._frozen)
    params = {LOOK: jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.float32), change)}
    if self._config.adversarial_weight:
      side = self.model.multiple
      x = jnp.zeros((1, side, side, 3))
      y_hat = jnp.zeros((1, side // 16, side // 16, self.model.latent_channels))
      params[DISCRIMINATOR] = self._discriminator.init(key, x, y_hat, jnp.zeros((1, 2)))["params"]
    return params

  @property
  def losses(self) -> dict[str, LossFn]:
    """Of the players in the order of their turns."""
    if not self._config.adversarial_weight:
      return {LOOK: self.look_loss}
    return {DISCRIMINATOR: self.discriminator_loss, LOOK: self.look_loss}

  def discriminator_loss(self, params: Any, batch: Batch, *, key: jax.Array):
    """Tells how far photographs are from large logits, and decoded pictures from small ones.

    See `losses` for arguments and what is returned.
    """
    seen, _ = self._played(params, batch, key)
    loss, figures = self._judged(params, jax.lax.stop_gradient(seen))
    return jnp.mean(loss), {name: jnp.mean(values) for name, values in figures.items()}

  def look_loss(self, params: Any, batch: Batch, *, key: jax.Array):
    """Tells how far decoded pictures are from their photographs and, by B, from seeming such.

    See `losses` for arguments and what is returned.
    """
    seen, strength = self._played(params, batch, key)
    costs, figures = self._costs(params, seen, strength)
    figures = {name: jnp.mean(values) for name, values in figures.items()}
    return jnp.mean(costs), {**figures, "strength": strength}

  def errors(self, params: Any, batch: Batch) -> dict[str, jax.Array]:
    """Measures the full look for validation, rounded as in a file.

    Returns:
      {"loss", "psnr_db", "psnr_loss_db" (against no look), "texture", "texture_before" (without a
      look), "repeated", what the distortion reports, and "adversarial", "discriminator_loss",
      "discriminator_right", if there is one}, [B] each: means over the model's trade-offs at which
      a look counts in full.
    """
    tradeoffs = [u for u in self.model.valid_tradeoffs if u <= self._full]
    tradeoffs = tradeoffs or [self.model.tradeoff_range[0]]
    shape = len(tradeoffs), batch["image"].shape[0]
    images = {"image": jnp.tile(batch["image"], (len(tradeoffs), 1, 1, 1))}
    errors = self._errors_at(params, images, jnp.repeat(jnp.asarray(tradeoffs), shape[1]))
    return {name: jnp.mean(values.reshape(shape), axis=0) for name, values in errors.items()}

  def _errors_at(self, params, batch, tradeoff) -> dict[str, jax.Array]:
    seen = self._decoded(params, batch, tradeoff, 1.0)
    before = self._synthesised(self._frozen, seen.y_hat, seen.tradeoff)
    decoded, before = (to_uint8(x).astype(jnp.float32) for x in (seen.decoded, before))
    seen = seen._replace(decoded=decoded)
    costs, figures = self._costs(params, seen, 1.0)
    if self._config.adversarial_weight:
      loss, judged = self._judged(params, seen)
      judged = {"loss": loss, **judged}
      figures |= {f"{DISCRIMINATOR}_{name}": values for name, values in judged.items()}
    psnr_before = psnr_from_mse(mean_square(before - seen.rgb))
    return {
      "loss": costs,
      **figures,
      "psnr_loss_db": psnr_before - figures["psnr_db"],
      "texture_before": self._config.texture(seen.rgb, before),
    }

  def _played(self, params, batch, key) -> tuple[_Seen, jax.Array]:
    """A batch at a random B and at rates at which a look can be that strong, and B."""
    key_strength, key_tradeoff = jax.random.split(key)
    # Mostly strong ones, as it is the full look that is judged: two thirds on average.
    strength = jnp.sqrt(jax.random.uniform(key_strength))
    low, _ = self.model.tradeoff_range
    high = self._gone - strength * (self._gone - self._full)
    tradeoff = spread_evenly(key_tradeoff, batch["image"].shape[0], low, high)
    return self._decoded(params, batch, tradeoff, strength), strength

  def _decoded(self, params, batch, tradeoff, strength) -> _Seen:
    rgb = batch["image"].astype(jnp.float32)
    coded: Any = self.model.apply({"params": self._frozen}, rgb / 255, tradeoff, method="rounded")
    y_hat = jax.lax.stop_gradient(coded.y_hat)
    changed = moved(self._frozen, params[LOOK], strength)
    conditions = jnp.stack([tradeoff, jnp.full_like(tradeoff, strength)], axis=-1)
    return _Seen(rgb, self._synthesised(changed, y_hat, tradeoff), y_hat, tradeoff, conditions)

  def _synthesised(self, params, y_hat, tradeoff) -> jax.Array:
    x_hat: Any = self.model.apply({"params": params}, y_hat, tradeoff, method="synthesise")
    return 255 * x_hat

  def _logits(self, params, seen: _Seen, picture) -> jax.Array:
    logits: Any = self._discriminator.apply(
      {"params": params[DISCRIMINATOR]}, picture / 255, seen.y_hat, seen.conditions
    )
    return logits

  def _judged(self, params, seen: _Seen) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The discriminator's loss [B], and figures [B]: the share of patches that it tells right."""
    real, fake = (self._logits(params, seen, picture) for picture in (seen.rgb, seen.decoded))
    over = (1, 2)
    right = (jnp.mean(real > 0, axis=over) + jnp.mean(fake < 0, axis=over)) / 2
    loss = jnp.mean(jax.nn.softplus(-real), axis=over) + jnp.mean(jax.nn.softplus(fake), axis=over)
    return loss, {"right": right}

  def _costs(self, params, seen: _Seen, strength) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What the difference is to make small, [B], and figures [B]."""
    config = self._config
    mse = mean_square(seen.decoded - seen.rgb)
    distortion, measured = config.distortion(seen.rgb, seen.decoded)
    texture = config.texture(seen.rgb, seen.decoded)
    lmbda = self.model.lmbda(seen.tradeoff)
    weight = lmbda * rate_balance(lmbda)
    repeated = repeated_error(seen.decoded - seen.rgb)
    near = distortion + config.repeat_weight * repeated
    costs = weight * (near + strength * config.texture_weight * texture)
    figures = {"psnr_db": psnr_from_mse(mse), "texture": texture, "repeated": repeated, **measured}
    if config.adversarial_weight:
      logits = self._logits(params, seen, seen.decoded)
      adversarial = jnp.mean(jax.nn.softplus(-logits), axis=(1, 2))
      costs += strength * config.adversarial_weight * adversarial
      figures["adversarial"] = adversarial
    return costs, figures
