"""Trains an autoencoder, exports its weights and reports on the test split.

  python -m experiments.train --flagfile=experiments/flags/kodak_paper.flags --source_dir=DIR

The same command resumes an interrupted run; --carry_to and --carry_from take it to another machine.
The workdir then holds flags.txt, metrics.jsonl, TensorBoard events, checkpoints/, curves.png,
weights.safetensors, and the report on the test split: result.json, records.jsonl, table.md,
reconstructions.png.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

import cae_jax
from cae_jax import backend, codec
from cae_jax.codec.calibration import calibrate_weights
from cae_jax.data.crops import center_crop
from cae_jax.data.patches import PatchIterator, center_patches, random_blocks, training_patches
from cae_jax.data.sources import ImageSource, cached, load_source, rescaled
from cae_jax.evaluation import figures, run_report
from cae_jax.images.files import replace_atomically
from cae_jax.models import Model, build_model, init_params, model_class, settings
from cae_jax.models.base import setting_fields
from cae_jax.training import losses, portable, sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.loop import LoopConfig, Result, train
from cae_jax.training.optimizers import make_optimizer, make_schedule
from cae_jax.training.state import TrainState, create_state
from cae_jax.weights import Weights, load_weights, save_weights, shipped
from experiments import cli
from experiments import train_flags as flags

# What shows how large a codec model's activations get.
CALIBRATION_IMAGES = 48
CALIBRATION_SIDE = 256


def main(argv: Sequence[str]) -> None:
  """Runs the program with the parsed flags."""
  del argv
  if flags.COORDINATOR.value:
    jax.distributed.initialize(
      flags.COORDINATOR.value, flags.NUM_PROCESSES.value, flags.PROCESS_ID.value
    )
  backend.require()
  workdir = flags.workdir()
  first_process = jax.process_index() == 0
  if first_process:
    flags.keep_flags(workdir / "flags.txt")
  source = cached(_source(flags.DATASET.value, flags.TRAIN_SPLIT.value), _cache_bytes())
  result = None if flags.EXPORT_ONLY.value else _train(workdir, source)
  if result is not None and not result.finished:
    print(f"stopped at step {int(result.state.step)}; the same command resumes")
    return
  best = _best_state(workdir)  # every process takes part in reading a checkpoint
  if first_process:
    weights = _export(workdir, best, source)
    _report(workdir, weights, best, result)


def _source(dataset: str, split: str, source_dir: bool = True) -> ImageSource:
  source = load_source(
    dataset,
    split,
    source_dir=flags.SOURCE_DIR.value if source_dir else None,
    data_dir=flags.DATA_DIR.value,
  )
  if flags.RESCALE.value:
    height, width = map(int, flags.RESCALE.value)
    source = rescaled(source, height, width)
  return source


def _valid_source() -> ImageSource:
  name = flags.VALID_DATASET.value
  return _source(name, flags.VALID_SPLIT.value, source_dir=name == flags.DATASET.value)


def _cache_bytes() -> int:
  return int(flags.CACHE_GIB.value * 2**30)


def _config() -> dict:
  """The network's and the codec's settings, as weights files keep them."""
  defaults = setting_fields(model_class(flags.MODEL.value))
  fields = {name: flags.model_setting(name, default) for name, default in defaults.items()}
  return {"model": flags.MODEL.value, **fields}


def _optimizer():
  schedule = make_schedule(
    flags.SCHEDULE.value, flags.LEARNING_RATE.value, flags.STEPS.value, flags.WARMUP_STEPS.value
  )
  return make_optimizer(flags.OPTIMIZER.value, schedule, flags.CLIP_NORM.value)


def _train(workdir: Path, source: ImageSource) -> Result:
  model = build_model(_config(), jnp.dtype(flags.COMPUTE_DTYPE.value))
  loss_fn, errors_fn = _objectives(model)
  batches = training_patches(
    source,
    patch_size=flags.PATCH_SIZE.value,
    batch_size=sharding.process_batch_size(flags.BATCH_SIZE.value),
    seed=flags.SEED.value,
    shard_index=jax.process_index(),
    shard_count=jax.process_count(),
    min_scale=flags.MIN_SCALE.value,
  )
  valid_batches = center_patches(
    _valid_source(), patch_size=flags.VALID_PATCH_SIZE.value, batch_size=4
  )
  config = LoopConfig(
    steps=flags.STEPS.value,
    log_every=flags.LOG_EVERY.value,
    validate_every=flags.VALIDATE_EVERY.value,
    seed=flags.SEED.value,
    ema_decay=flags.EMA_DECAY.value,
    max_minutes=flags.MAX_MINUTES.value,
  )
  optimizer, params, start = _optimizer(), _initial_params(model, source), None
  if flags.CARRY_FROM.value:
    start = _carried(batches, portable.read_parts(flags.CARRY_FROM.value, params, optimizer))
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
  if flags.CARRY_TO.value and jax.process_index() == 0:
    portable.write_parts(flags.CARRY_TO.value, result.state, batches.get_state())
  return result


def _carried(batches: PatchIterator, start: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
  """The start of a carried run; if its patches were others, the data begin anew."""
  state, place = start
  differences = batches.differences(place)
  if differences:
    print(f"the data begin anew: {', '.join(differences)}")
  return state, None if differences else place


def _objectives(model: Model) -> tuple[losses.LossFn, Callable]:
  """What training minimises and what validation measures."""
  objective, distortion = losses.OBJECTIVES[model.objective], flags.DISTORTION.value
  loss_fn = objective.loss(model, distortion, flags.COST_POWER.value)
  return loss_fn, objective.errors(model, distortion)


def _initial_params(model: Model, source: ImageSource) -> Any:
  params = init_params(model, flags.SEED.value)
  if flags.START_WEIGHTS.value:
    return _params_of(flags.START_WEIGHTS.value, model, params)
  if flags.BLOCK_TRANSFORM.value == "klt":
    blocks = lambda count, side: random_blocks(source, count, side, flags.SEED.value)
    return model.start(params, blocks)
  return params


def _params_of(name_or_path: str, model: Model, params: Any) -> Any:
  """The parameters of trained weights, of the same network or of a smaller one that can grow."""
  weights = load_weights(shipped.find(name_or_path))
  trained, smaller = weights.params, build_model(weights.config)
  if (type(smaller), settings(smaller)) != (type(model), settings(model)):
    trained = model.grow(params, smaller, trained)
  return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), trained)


def _best_state(workdir: Path) -> TrainState:
  """Of the best checkpoint; where there is none, the state that was carried here."""
  params, optimizer = init_params(build_model(_config()), flags.SEED.value), _optimizer()
  with Checkpoints(workdir / "checkpoints") as checkpoints:
    if flags.CARRY_FROM.value and checkpoints.best_step is None:
      return portable.read_parts(flags.CARRY_FROM.value, params, optimizer)[0]
    initial = jax.device_put(
      create_state(params, optimizer), sharding.replicated(sharding.data_mesh())
    )
    return checkpoints.restore(initial, checkpoints.best_step)[0]


def _export(workdir: Path, best: TrainState, source: ImageSource) -> Weights:
  """Weights from the averaged parameters of the best checkpoint, with their coding tables."""
  config, dtype = _config(), np.dtype(flags.EXPORT_DTYPE.value)
  params = jax.tree.map(lambda a: np.asarray(a, dtype), jax.device_get(best.ema_params))
  images = _calibration_images(build_model(config), source)
  weights = calibrate_weights(
    flags.NAME.value,
    config,
    params,
    images,
    card={
      "flags": flags.resolved(),
      "step": int(best.step),
      "trained_on": [e["name"] for e in source],
      "cae_jax": cae_jax.__version__,
      "jax": jax.__version__,
      "device": jax.devices()[0].device_kind,
    },
  )
  save_weights(workdir / "weights.safetensors", weights)
  return weights


def _calibration_images(model: Model, source: ImageSource) -> Iterator[np.ndarray]:
  """Of the paper's model all images, whose latents it counts; of others some, cut to one size."""
  if model.objective == "reconstruction":
    yield from (example["image"] for example in source)
    return
  side = -(-CALIBRATION_SIDE // model.multiple) * model.multiple
  count = min(CALIBRATION_IMAGES, len(source))
  for index in np.linspace(0, len(source) - 1, count).astype(int).tolist():
    yield center_crop(source[index]["image"], side)


def _report(workdir: Path, weights: Weights, best: TrainState, result: Result | None) -> None:
  figures_of_test = None
  if flags.TEST_SPLIT.value:
    test = _source(flags.DATASET.value, flags.TEST_SPLIT.value)
    figures_of_test = run_report.write(workdir, codec.from_weights(weights), test)
    print((workdir / "table.md").read_text())
  summary = {
    "steps": flags.STEPS.value,
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
  cli.run(main)
