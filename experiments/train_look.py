"""Makes from the flags what training a look needs: `train_parts` for --task=look."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.codec.coders.programs import on_device
from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import ImageSource
from cae_jax.errors import UsageError
from cae_jax.images.metrics import inception, vgg
from cae_jax.models import Network, build_model
from cae_jax.models.base import RandomBlocks
from cae_jax.models.context import ContextModel
from cae_jax.models.discriminator import PatchDiscriminator
from cae_jax.training.look import DISCRIMINATOR, LOOK, LookConfig, LookGame
from cae_jax.training.losses import ErrorsFn, LossFn
from cae_jax.training.optimizers import make_optimizer
from cae_jax.training.state import Optimizer, TrainState
from cae_jax.training.texture import Texture, feature_texture, filter_wasserstein
from cae_jax.weights import save_weights, shipped
from cae_jax.weights.look import Look, load_look, look_file, save_look
from experiments import train_parts
from experiments.program_flags import Args


def model(args: Args) -> Network:
  """Returns the model of --start_weights.

  Raises:
    UsageError: theirs is a model that cannot have a look, or a flag is wrong.
    WeightsError: there are no such weights.
  """
  game = _game(args)
  train_parts.check_patches(args, game.model.multiple)
  return game.model


def parameter_shapes(args: Args) -> Any:
  """Returns shapes and types of what both players train; raises as `model`."""
  return jax.eval_shape(_game(args).random_params, jax.random.key(args.seed))


def initial_params(args: Args, model: Network, blocks: RandomBlocks) -> Any:
  """Returns what to start from: no difference, or that of --start_look, and a discriminator.

  Raises:
    UsageError: that is a look of another network.
    WeightsError: there is none.
  """
  del model, blocks  # the game has its own
  params = jax.jit(_game(args).random_params)(jax.random.key(args.seed))
  if args.start_look is None:
    return params
  start = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), start_look(args).difference)
  shapes = [jax.tree.map(jnp.shape, tree) for tree in (start, params[LOOK])]
  if shapes[0] != shapes[1]:
    raise UsageError(
      f"--start_look={args.start_look}: a look of another network than --start_weights="
      f"{args.start_weights}; expected one of the same channels and blocks"
    )
  return {**params, LOOK: start}


def start_look(args: Args) -> Look:
  """Loads --start_look, which may be of other weights; raises WeightsError if there is none."""
  return load_look(look_file(shipped.find(args.start_look)))


def trained_on(args: Args, source: ImageSource) -> TrainedOn:
  """Lists the images of this run, of --start_weights, and of --start_look."""
  seen = train_parts.trained_on(args, source)
  if args.start_look is not None:
    seen |= TrainedOn.from_card(start_look(args).card)
  return seen


def optimizer(args: Args) -> Optimizer:
  """Returns the players' optimisers: that of the flags, and Adam for the discriminator."""
  rates = (train_parts.schedule(args, r) for r in (args.learning_rate, args.discriminator_rate))
  return _optimizers(args, *rates)


def optimizer_at(args: Args, rate: Any) -> Optimizer:
  """Returns the players' optimisers at a learning rate of the look, which may be traced."""
  return _optimizers(args, rate, args.discriminator_rate / args.learning_rate * rate)


def _optimizers(args: Args, of_look: Any, of_discriminator: Any) -> Optimizer:
  optimizers = {LOOK: train_parts.optimizer_at(args, of_look)}
  if args.adversarial_weight:
    optimizers[DISCRIMINATOR] = make_optimizer("adam", of_discriminator, args.clip_norm)
  return optimizers


def objectives(args: Args, model: Network) -> tuple[Mapping[str, LossFn], ErrorsFn]:
  """Returns what the players minimise, and what validation measures."""
  del model  # that of the game
  game = _game(args)
  return game.losses, game.errors


def export(
  args: Args, path: Path, state: TrainState, source: ImageSource, seen: TrainedOn
) -> dict[str, Any]:
  """Writes the look, and beside it a copy of the weights that it belongs to.

  Args:
    path: of the weights; that of the look is `weights.look.look_file` of it.
    state: of both players; of the difference its average is taken.
    source: of the run.
    seen: all that the state was trained on.
  Returns:
    The card of the look.
  """
  del source
  weights = train_parts.start_weights(args)
  difference = jax.tree.map(
    lambda a: np.asarray(a, np.float16), jax.device_get(state.ema_params[LOOK])
  )
  card = train_parts.card(args, state, seen)
  fade = _config(args).fade
  save_weights(path, weights)
  save_look(look_file(path), Look(weights.name, weights.hash().hex(), difference, fade, card))
  return card


def _config(args: Args) -> LookConfig:
  full, gone = args.fade
  if full >= gone:
    raise UsageError(f"--fade={full},{gone}: expected the smaller quality first")
  fade = float(full), float(gone)
  return LookConfig(
    args.texture_weight,
    args.adversarial_weight,
    fade,
    _texture(args.texture, args.inception),
    train_parts.distortion(args),
    args.repeat_weight,
  )


@functools.cache  # so that equal flags make equal configurations
def _texture(name: str, folder: Path | None) -> Texture:
  """What compares textures, by --texture and --inception."""
  if name == "filters":
    return filter_wasserstein
  if name == "vgg":
    return feature_texture(functools.partial(vgg.features, vgg.load()))
  if folder is None:
    raise UsageError(f"--texture=inception: expected --inception=FOLDER; {inception.HOW_TO_GET}")
  return feature_texture(functools.partial(inception.features, inception.load(folder)))


def _game(args: Args) -> LookGame:
  if not args.start_weights:
    raise UsageError("--task=look: expected --start_weights, whose look is to be trained")
  if args.test_split:
    raise UsageError(
      "--task=look has no report of its own; give --test_split= and measure the look with "
      "python -m experiments.evaluate --looks=1"
    )
  config, channels = _config(args), tuple(args.discriminator_channels)
  return _built_game(str(args.start_weights), config, channels, args.compute_dtype)


@functools.lru_cache(maxsize=1)
def _built_game(
  start_weights: str, config: LookConfig, channels: tuple[int, ...], dtype: str
) -> LookGame:
  weights = train_parts.whole_weights(start_weights)
  compute_dtype = jnp.dtype(dtype)
  model = build_model(weights.config, compute_dtype)
  if not isinstance(model, ContextModel):
    raise UsageError(
      f"--start_weights={start_weights}: weights of the model {weights.config['model']!r} cannot "
      "have a look; expected `context`"
    )
  discriminator = PatchDiscriminator(channels, dtype=compute_dtype)
  return LookGame(model, on_device(weights.params), discriminator, config)
