"""Trains an autoencoder, exports its weights and reports on the test split.

  python -m experiments.train --flagfile=experiments/flags/kodak_paper.flags --source_dir=DIR

The same command resumes an interrupted run; --carry_to and --carry_from take it to another machine.
The workdir then holds flags.txt, metrics.jsonl, TensorBoard events, checkpoints/, curves.png,
weights.safetensors, and the report on the test split: result.json, records.jsonl, table.md,
reconstructions.png.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

import cae_jax
from cae_jax import backend, codec
from cae_jax.codec.calibration import calibrate_weights
from cae_jax.coding.bitstream import is_name
from cae_jax.data.crops import center_crop
from cae_jax.data.patches import PatchIterator, center_patches, random_blocks, training_patches
from cae_jax.data.sources import (
  ImageSource,
  SplitError,
  cached,
  image_digests,
  load_source,
  rescaled,
)
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.evaluation import figures, run_report
from cae_jax.images.files import replace_atomically
from cae_jax.models import Model, build_model, init_params, model_class, settings
from cae_jax.models.base import setting_fields
from cae_jax.training import losses, portable, sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.loop import LoopConfig, Result, train
from cae_jax.training.optimizers import fitting_warmup, make_optimizer, make_schedule
from cae_jax.training.reporting import say
from cae_jax.training.state import TrainState, create_state
from cae_jax.training.workdir import holds_run, locked
from cae_jax.weights import Weights, load_weights, save_weights, shipped
from experiments import cli, train_flags
from experiments.program_flags import Args
from experiments.train_flags import define_flags

# What shows how large a codec model's activations get.
CALIBRATION_IMAGES = 48
CALIBRATION_SIDE = 256
_CARRIED = "trained_on_before.json"


def main(args: Args) -> None:
  """Runs the program."""
  if not is_name(args.name):
    raise UsageError(f"--name={args.name}: expected 1 to 32 printable ASCII characters, no spaces")
  if args.coordinator_address:
    jax.distributed.initialize(args.coordinator_address, args.num_processes, args.process_id)
  backend.require()
  workdir = train_flags.workdir(args)
  with locked(workdir):
    sharding.on_first_process(lambda: _open(args, workdir))
    _run(args, workdir)


def _open(args: Args, workdir: Path) -> None:
  """Begins or resumes the run of a folder; what a command left that never ran does not count."""
  if not holds_run(workdir):
    (workdir / _CARRIED).unlink(missing_ok=True)
  train_flags.keep_flags(args, workdir / "flags.txt")


def _run(args: Args, workdir: Path) -> None:
  source = cached(_source(args, "train"), _cache_bytes(args))
  # Opened before training: a split that is not there is no news for the end of it.
  test = _source(args, "test") if args.test_split else None
  result = None if args.export_only else _train(args, workdir, source)
  if result is not None and not result.finished:
    print(f"stopped at step {int(result.state.step)}; the same command resumes")
    return
  best = _best_state(args, workdir)  # every process takes part in reading a checkpoint
  if jax.process_index() == 0:
    weights = _export(args, workdir, best, source)
    _report(args, workdir, weights, test, best, result)


def _source(args: Args, use: str) -> ImageSource:
  """Opens the images to train on, to validate on ("valid") or to report on ("test")."""
  dataset = args.valid_dataset if use == "valid" else args.dataset
  split = getattr(args, f"{use}_split")
  try:
    source = load_source(
      dataset,
      split,
      source_dir=args.source_dir if dataset == args.dataset else None,
      data_dir=args.data_dir,
    )
  except SplitError as error:
    raise UsageError(f"--{use}_split={split}: {error}") from error
  return rescaled(source, *args.rescale) if args.rescale else source


def _cache_bytes(args: Args) -> int:
  return int(args.cache_gib * 2**30)


def _config(args: Args) -> dict:
  """Returns the network's settings, as weights files keep them."""
  defaults = setting_fields(model_class(args.model))
  fields = {k: train_flags.model_setting(args, k, default) for k, default in defaults.items()}
  return {"model": args.model, **fields}


def _network(args: Args) -> tuple[Model, Any]:
  """Builds the network that the flags describe, and random parameters of it.

  Raises:
    UsageError: there is no such network, or it cannot take patches of that size.
  """
  try:
    model = build_model(_config(args), jnp.dtype(args.compute_dtype))
    multiple, params = model.multiple, init_params(model, args.seed)
  except (TypeError, ValueError) as error:
    names = [name for name in ("model", *setting_fields(model_class(args.model))) if name in args]
    given = " ".join(args[name].serialize() for name in names if args[name].present)
    raise UsageError(f"no such network: {given} ({error})") from error
  for flag in (args["patch_size"], args["valid_patch_size"]):
    if int(flag.value or 0) % multiple:
      raise UsageError(f"{flag.serialize()}: this network takes multiples of {multiple}")
  return model, params


def _optimizer(args: Args):
  schedule = make_schedule(args.schedule, args.learning_rate, args.steps, args.warmup_steps)
  return make_optimizer(args.optimizer, schedule, args.clip_norm)


def _train(args: Args, workdir: Path, source: ImageSource) -> Result:
  model, params = _network(args)
  loss_fn, errors_fn = _objectives(args, model)
  batches = training_patches(
    source,
    patch_size=args.patch_size,
    batch_size=sharding.process_batch_size(args.batch_size),
    seed=args.seed,
    shard_index=jax.process_index(),
    shard_count=jax.process_count(),
    min_scale=args.min_scale,
  )
  valid_batches = center_patches(
    _source(args, "valid"), patch_size=args.valid_patch_size, batch_size=4
  )
  config = LoopConfig(
    steps=args.steps,
    log_every=args.log_every,
    validate_every=args.validate_every,
    seed=args.seed,
    ema_decay=args.ema_decay,
    max_minutes=args.max_minutes,
    max_skipped=args.max_skipped,
  )
  warmup_steps = fitting_warmup(args.warmup_steps, args.steps)
  if warmup_steps != args.warmup_steps:
    say(f"--warmup_steps={args.warmup_steps} is longer than the run: {warmup_steps} instead")
  optimizer, params, start = _optimizer(args), _initial_params(args, model, params, source), None
  if args.carry_from:
    start = _carried(workdir, batches, portable.read_parts(args.carry_from, params, optimizer))
  result = train(
    config,
    params=params,
    loss_fn=loss_fn,
    errors_fn=errors_fn,
    optimizer=optimizer,
    batches=batches,
    valid_batches=valid_batches,
    workdir=workdir,
    mesh=sharding.data_mesh(),
    on_validation=lambda: figures.save(
      figures.curves(workdir / "metrics.jsonl"), workdir / "curves.png"
    ),
    start=start,
  )
  if args.carry_to and jax.process_index() == 0:
    place = {**batches.get_state(), **_trained_on(args, workdir, source).to_card()}
    portable.write_parts(args.carry_to, result.state, place)
  return result


def _carried(
  workdir: Path, batches: PatchIterator, start: tuple[TrainState, Any]
) -> tuple[TrainState, Any]:
  """Returns the start of a carried run; if its patches were others, the data begin anew."""
  state, place = start
  _keep_trained_on(workdir, place)
  differences = batches.differences(place)
  if differences:
    print(f"the data begin anew: {', '.join(differences)}")
  return state, None if differences else place


def _objectives(args: Args, model: Model) -> tuple[losses.LossFn, Callable]:
  """Returns what training minimises and what validation measures."""
  objective, distortion = losses.OBJECTIVES[model.objective], args.distortion
  loss_fn = objective.loss(model, distortion, args.cost_power)
  return loss_fn, objective.errors(model, distortion)


def _initial_params(args: Args, model: Model, params: Any, source: ImageSource) -> Any:
  """Returns what to start from: --start_weights, or what the model makes of random parameters."""
  if args.start_weights:
    return _trained_params(args, model, params)
  if args.block_transform == "klt":
    blocks = lambda count, side: random_blocks(source, count, side, args.seed)
    return model.start(params, blocks)
  return params


def _start_weights(args: Args) -> Weights:
  return load_weights(shipped.find(args.start_weights))


def _trained_params(args: Args, model: Model, params: Any) -> Any:
  """Returns the parameters of --start_weights, of this network or of one that can grow into it."""
  weights = _start_weights(args)
  trained, smaller = weights.params, build_model(weights.config)
  if (type(smaller), settings(smaller)) != (type(model), settings(model)):
    trained = model.grow(params, smaller, trained)
  return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), trained)


def _best_state(args: Args, workdir: Path) -> TrainState:
  """Reads the best checkpoint; where there is none, the state that was carried here."""
  (_, params), optimizer = _network(args), _optimizer(args)
  with Checkpoints(workdir / "checkpoints") as checkpoints:
    if args.carry_from and checkpoints.last_step is None:
      state, place = portable.read_parts(args.carry_from, params, optimizer)
      _keep_trained_on(workdir, place)
      return state
    initial = jax.device_put(
      create_state(params, optimizer), sharding.replicated(sharding.data_mesh())
    )
    return checkpoints.restore_best(initial)[0]


def _export(args: Args, workdir: Path, best: TrainState, source: ImageSource) -> Weights:
  """Weights from the averaged parameters of the best checkpoint, with their coding tables."""
  config, dtype = _config(args), np.dtype(args.export_dtype)
  with np.errstate(over="ignore"):  # what float16 cannot hold is refused with a word
    params = jax.tree.map(lambda a: np.asarray(a, dtype), jax.device_get(best.ema_params))
  images = _calibration_images(build_model(config), source)
  weights = calibrate_weights(
    args.name,
    config,
    params,
    images,
    card={
      "flags": train_flags.resolved(args),
      "step": int(best.step),
      **_trained_on(args, workdir, source).to_card(),
      "cae_jax": cae_jax.__version__,
      "jax": jax.__version__,
      "device": jax.devices()[0].device_kind,
    },
  )
  save_weights(workdir / "weights.safetensors", weights)
  return weights


def _keep_trained_on(workdir: Path, place: Mapping[str, Any]) -> None:
  """Writes down what a state carried here was trained on before."""
  if jax.process_index() == 0:
    with replace_atomically(workdir / _CARRIED) as temporary:
      temporary.write_text(json.dumps(TrainedOn.from_card(place).to_card()))


def _trained_on(args: Args, workdir: Path, source: ImageSource) -> TrainedOn:
  """Lists the images of this run, and those of the weights or the state that it started from."""
  seen = TrainedOn.of(image_digests(source))
  if args.start_weights:
    seen |= TrainedOn.from_card(_start_weights(args).card)
  if (workdir / _CARRIED).exists():
    seen |= TrainedOn.from_card(json.loads((workdir / _CARRIED).read_text()))
  return seen


def _calibration_images(model: Model, source: ImageSource) -> Iterator[np.ndarray]:
  """Yields all images for the paper's model, which counts latents; for others some, cut to size."""
  if model.objective == "reconstruction":
    yield from (example["image"] for example in source)
    return
  side = -(-CALIBRATION_SIDE // model.multiple) * model.multiple
  count = min(CALIBRATION_IMAGES, len(source))
  for index in np.linspace(0, len(source) - 1, count).astype(int).tolist():
    yield center_crop(source[index]["image"], side)


def _report(
  args: Args,
  workdir: Path,
  weights: Weights,
  test: ImageSource | None,
  best: TrainState,
  result: Result | None,
) -> None:
  figures_of_test = None
  if test is not None:
    figures_of_test = run_report.write(workdir, codec.from_weights(weights), test)
    print((workdir / "table.md").read_text())
  summary = {
    "steps": args.steps,
    "exported_step": weights.card["step"],
    "skipped_steps": int(best.skipped if result is None else result.state.skipped),
    "step_seconds": None
    if result is None or np.isnan(result.step_seconds)
    else result.step_seconds,
    "test": figures_of_test,
    **{k: weights.card[k] for k in ("cae_jax", "jax", "device", "flags")},
  }
  with replace_atomically(workdir / "result.json") as temporary:
    temporary.write_text(json.dumps(summary, indent=2) + "\n")
  logging.info("wrote %s", workdir / "result.json")


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
