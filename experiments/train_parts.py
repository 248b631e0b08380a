"""Makes from the flags what every training program needs: network, losses, start, weights.

No data set is named here, so that a program that reads its photographs by itself needs neither TFDS
nor Grain.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import cae_jax
from cae_jax.atomic import write_text
from cae_jax.codec.calibration import calibrate_weights
from cae_jax.coding.names import is_name
from cae_jax.data.crops import center_crop
from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import ImageSource, image_digests
from cae_jax.errors import UsageError
from cae_jax.evaluation import names
from cae_jax.images.metrics import MS_SSIM_MIN_SIDE
from cae_jax.models import Model, Network, build_model, init_params, model_class, settings
from cae_jax.models.base import RandomBlocks
from cae_jax.models.configuration import setting_fields
from cae_jax.training import distortions, losses, variations
from cae_jax.training.optimizers import make_optimizer, make_schedule
from cae_jax.training.state import TrainState
from cae_jax.training.workdir import holds_run
from cae_jax.weights import Weights, load_weights, save_weights, shipped
from experiments import train_flags
from experiments.program_flags import Args

# What shows how large a codec model's activations get, or fits a lossless one's coefficients.
CALIBRATION_IMAGES = 48
CALIBRATION_SIDE = 256
# Sides of patches that distortions need; below 113 SSIMULACRA2 lacks scales (docs/metrics.md).
_LEAST_SIDES = {"ms_ssim": MS_SSIM_MIN_SIDE, "eye": 128}
_PHOTOGRAPHS = "photographs.sha256"  # of a run, over their digests


def check_name(name: str) -> None:
  """Raises UsageError unless weights can have a name: files carry it, and tables know others."""
  if not is_name(name):
    raise UsageError(f"--name={name}: expected 1 to 32 printable ASCII characters, no spaces")
  if names.is_baseline(name):
    raise UsageError(f"--name={name} is that of a baseline; expected another")


def check_photographs(args: Args, workdir: Path, source: ImageSource) -> None:
  """Raises UsageError if a run in this folder learns from other photographs than these."""
  path = workdir / _PHOTOGRAPHS
  if not (path.exists() and holds_run(workdir)):
    return
  digests = image_digests(source)
  # Versions up to 1.9.0 wrote down the order of the photographs, too.
  if path.read_text().strip() in (_digest_of(sorted(digests)), _digest_of(digests)):
    return
  given = " ".join(args[name].serialize() for name in ("dataset", "source_dir") if args[name].value)
  raise UsageError(
    f"{workdir} holds a run that learns from other photographs than {given}; give the same ones, "
    "or another --workdir"
  )


def keep_photographs(workdir: Path, source: ImageSource) -> None:
  """Writes down which photographs a run learns from, for `check_photographs`."""
  # Sorted, as `photos` of TFDS and `FolderSource` have the same ones in other orders.
  write_text(workdir / _PHOTOGRAPHS, f"{_digest_of(sorted(image_digests(source)))}\n")


def _digest_of(digests: Iterable[bytes]) -> str:
  return hashlib.sha256(b"".join(digests)).hexdigest()


def config(args: Args) -> dict:
  """Returns the network's settings, as weights files keep them."""
  return {"model": args.model, **train_flags.model_settings(args)}


def model(args: Args) -> Network:
  """Builds the network that the flags describe.

  Raises:
    UsageError: there is no such network, or it cannot take patches of that size.
  """
  with _described_by(args):
    built = build_model(config(args), jnp.dtype(args.compute_dtype))
    multiple = built.multiple
  check_patches(args, multiple)
  return built


def check_patches(args: Args, multiple: int) -> None:
  """Raises UsageError unless patches are of multiples of a network's."""
  for flag in (args["patch_size"], args["valid_patch_size"]):
    if int(flag.value or 0) % multiple:
      raise UsageError(f"{flag.serialize()}: this network takes multiples of {multiple}")


def parameter_shapes(args: Args) -> Any:
  """Returns shapes and types of that network's parameters; raises as `model`."""
  built = model(args)
  with _described_by(args):
    return jax.eval_shape(built.random_params, jax.random.key(args.seed))


@contextlib.contextmanager
def _described_by(args: Args) -> Iterator[None]:
  """Names the flags of a network that cannot be built."""
  try:
    yield
  except (TypeError, ValueError) as error:
    fields = ("model", *setting_fields(model_class(args.model)))
    flags = [args[name] for name in fields if name in args]
    given = " ".join(flag.serialize() for flag in flags if flag.present)
    raise UsageError(f"no such network: {given} ({error})") from error


def optimizer(args: Args) -> optax.GradientTransformation:
  """Returns the optimiser of the model."""
  return optimizer_at(args, schedule(args, args.learning_rate))


def optimizer_at(args: Args, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
  """Returns the optimiser at a learning rate, which may be traced."""
  return make_optimizer(args.optimizer, rate, args.clip_norm)


def schedule(args: Args, learning_rate: float) -> optax.Schedule:
  """Returns the schedule of a learning rate with this peak."""
  return make_schedule(args.schedule, learning_rate, args.steps, args.warmup_steps)


def distortion(args: Args) -> distortions.Measure:
  """Returns what --distortion and its flags say.

  Raises:
    UsageError: the patches are too small for it.
  """
  is_mse = args.distortion == "eye" and not args.eye_share
  least = 0 if is_mse else _LEAST_SIDES.get(args.distortion, 0)
  for flag in (args["patch_size"], args["valid_patch_size"]):
    if int(flag.value or 0) < least:
      raise UsageError(
        f"{flag.serialize()}: --distortion={args.distortion} takes patches of {least} pixels a "
        "side or more"
      )
  return distortions.choose(args.distortion, args.eye_share)


def objectives(args: Args, model: Network) -> tuple[losses.LossFn, losses.ErrorsFn]:
  """Returns what training minimises and what validation measures, of a model that makes images.

  Raises:
    UsageError: the model is none of those, or the patches are too small for the distortion.
  """
  if not isinstance(model, Model):
    raise UsageError(f"--model={args.model} makes no images; train it with experiments.train")
  objective = losses.OBJECTIVES[model.objective]
  config = losses.RateDistortionConfig()
  if model.objective == "rate_distortion":
    config = losses.RateDistortionConfig(distortion(args), args.cost_power, args.halved_chroma)
  return objective.loss(model, config), objective.errors(model, config)


def initial_params(args: Args, model: Network, blocks: RandomBlocks) -> Any:
  """Returns what to start from: --start_weights, or what the model makes of random parameters."""
  if args.start_weights:
    return _trained_params(args, model)
  params = _random_params(args, model)
  return model.start(params, blocks) if args.block_transform == "klt" else params


def _random_params(args: Args, model: Network) -> Any:
  with _described_by(args):
    return init_params(model, args.seed)


def start_weights(args: Args) -> Weights:
  """Loads --start_weights.

  Raises:
    WeightsError: there are none, or they are for decoding only.
  """
  return whole_weights(args.start_weights)


def whole_weights(name: str | Path) -> Weights:
  """Loads weights to go on from; raises as `start_weights`."""
  weights = load_weights(shipped.find(name))
  weights.check_whole()
  return weights


def _trained_params(args: Args, model: Network) -> Any:
  """Returns the parameters of --start_weights, of this network or of one that can grow into it."""
  weights = start_weights(args)
  trained, smaller = weights.params, build_model(weights.config)
  if (type(smaller), settings(smaller)) != (type(model), settings(model)):
    trained = model.grow(lambda: _random_params(args, model), smaller, trained)
  return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), trained)


def export(
  args: Args, path: Path, state: TrainState, source: ImageSource, seen: TrainedOn
) -> dict[str, Any]:
  """Writes weights: the averaged parameters of a state, with their coding tables.

  Args:
    path: of the file.
    source: the photographs of the run; some show how large activations get.
    seen: all that the state was trained on.
  Returns:
    The card of the weights.
  """
  settings, dtype = config(args), np.dtype(args.export_dtype)
  with np.errstate(over="ignore"):  # what float16 cannot hold is refused with a word
    params = jax.tree.map(lambda a: np.asarray(a, dtype), jax.device_get(state.ema_params))
  images = calibration_images(build_model(settings), source, variation(args))
  about = card(args, state, seen)
  save_weights(path, calibrate_weights(args.name, settings, params, images, card=about))
  return about


def card(args: Args, state: TrainState, seen: TrainedOn) -> dict[str, Any]:
  """Says where what is exported comes from."""
  return {
    "flags": train_flags.to_publish(args),
    "step": int(state.step),
    **seen.to_card(),
    "cae_jax": cae_jax.__version__,
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
  }


def trained_on(args: Args, source: ImageSource) -> TrainedOn:
  """Lists the images of this run, and those of --start_weights."""
  seen = TrainedOn.of(image_digests(source))
  if args.start_weights:
    seen |= TrainedOn.from_card(start_weights(args).card)
  return seen


def variation(args: Args) -> variations.Variation:
  """Says how photographs are varied for lossless models."""
  if args.shrink_min > args.shrink_max:
    raise UsageError(
      f"--shrink_min={args.shrink_min:g} --shrink_max={args.shrink_max:g}: expected the smaller "
      "factor first"
    )
  return variations.Variation(
    (args.shrink_min, args.shrink_max), args.subsampled_share, args.grey_share, args.seed
  )


def calibration_images(
  model: Network, source: ImageSource, varied: variations.Variation
) -> Iterator[np.ndarray]:
  """Yields all images for the paper's model, which counts latents; for others some, cut to size."""
  side = -(-CALIBRATION_SIDE // model.multiple) * model.multiple
  if model.objective == "reconstruction":
    yield from (example["image"] for example in source)
  elif model.objective == "code_length":
    yield from variations.typical_crops(source, varied, CALIBRATION_IMAGES, side)
  else:
    count = min(CALIBRATION_IMAGES, len(source))
    for index in np.linspace(0, len(source) - 1, count).astype(int).tolist():
      yield center_crop(source[index]["image"], side)
