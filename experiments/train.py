"""Trains a model or its look, exports its weights and reports on the test split.

  python -m experiments.train --flagfile=experiments/flags/kodak_paper.flags --source_dir=DIR

The same command resumes an interrupted run; --carry_to and --carry_from take it to another machine.
The workdir then holds flags.txt, metrics.jsonl, TensorBoard events, checkpoints/, curves.png,
weights.safetensors, and the report on the test split: result.json, records.jsonl, table.md,
reconstructions.png. --task=look trains the look of --start_weights instead, and leaves it as
weights.look.safetensors (experiments/flags/look.flags).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

import cae_jax
from cae_jax import backend, codec
from cae_jax.atomic import write_json, write_text
from cae_jax.data.patches import random_blocks
from cae_jax.data.shards import ShardSource
from cae_jax.data.sources import (
  ImageSource,
  SplitError,
  image_digests,
  image_names,
  load_source,
  rescaled,
)
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.evaluation import figures, run_report
from cae_jax.training import portable, sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.loop import LoopConfig, Result, train
from cae_jax.training.optimizers import fitting_warmup, make_schedule
from cae_jax.training.reporting import say
from cae_jax.training.state import TrainState, create_state
from cae_jax.training.workdir import holds_checkpoint, holds_run, last_step, locked
from experiments import cli, train_flags, train_parts, train_subject, train_tasks
from experiments.program_flags import Args
from experiments.train_flags import define_flags

SHARDS = "cae_shards"  # of --dataset: what experiments.compress_dataset writes
_CARRIED = "trained_on_before.json"
# What comes of images that were trained on, by their use.
_SEEN_SAYS = {
  "valid": "the checkpoint is chosen by what it has learnt from",
  "test": "the figures of the report are too good",
}


def main(args: Args) -> None:
  """Runs the program."""
  train_parts.check_name(args.name)
  _join_processes(args)
  backend.require()
  workdir = train_flags.workdir(args)
  with locked(workdir):
    sharding.on_first_process(lambda: _open(args, workdir))
    _run(args, workdir)


def _join_processes(args: Args) -> None:
  """Joins the processes that train together, if flags tell of any.

  Raises:
    UsageError: some of these flags are missing.
  """
  names = "coordinator_address", "num_processes", "process_id"
  given = [args[name].serialize() for name in names if args[name].value is not None]
  if given and len(given) < len(names):
    every = " ".join(f"--{name}" for name in names)
    raise UsageError(f"{' '.join(given)}: expected all of {every}, or none of them")
  if given:
    jax.distributed.initialize(args.coordinator_address, args.num_processes, args.process_id)


def _open(args: Args, workdir: Path) -> None:
  """Begins or resumes the run of a folder; what a command left that never ran does not count."""
  if not holds_run(workdir):
    (workdir / _CARRIED).unlink(missing_ok=True)
  steps_before = train_flags.kept_steps(workdir / "flags.txt")
  train_flags.keep_flags(args, workdir / "flags.txt")
  if steps_before is not None and not args.export_only:
    _say_rates(args, last_step(workdir), steps_before)


def _say_rates(args: Args, step: int | None, steps_before: int) -> None:
  """Says what another --steps than before does to the learning rate of a run that goes on."""
  if step is None:
    return
  before, now = (
    float(make_schedule(args.schedule, args.learning_rate, steps, args.warmup_steps)(step))
    for steps in (steps_before, args.steps)
  )
  if before != now:
    say(
      f"note: with --steps={args.steps}, of {steps_before} before, the learning rate at step "
      f"{step} is {now:.3g} instead of {before:.3g}"
    )


def _run(args: Args, workdir: Path) -> None:
  source = _source(args, "train")
  sharding.on_first_process(lambda: train_parts.check_photographs(args, workdir, source))
  if not args.export_only:
    sharding.on_first_process(lambda: train_parts.keep_photographs(workdir, source))
  # Opened before training: a split that is not there is no news for the end of it.
  test = _source(args, "test") if args.test_split else None
  validates_on = args.valid_dataset, args.valid_split
  if test is not None and (args.dataset, args.test_split) == validates_on:
    print(
      f"note: the report is of the images that choose the checkpoint ({args.dataset}, split "
      f"{args.test_split}), so its figures are a little too good"
    )
  result = None if args.export_only else _train(args, workdir, source, test)
  if result is not None and not result.finished:
    print(f"stopped at step {int(result.state.step)}; the same command resumes")
    return
  best = _best_state(args, workdir, result)  # every process takes part in reading a checkpoint
  if jax.process_index() == 0:
    path, seen = workdir / "weights.safetensors", _trained_on(args, workdir, source)
    if args.export_only:
      _say_seen(args, seen, test=test)
    card = train_subject.of(args).export(args, path, best, source, seen)
    _report(args, workdir, card, test, best, result)


def _source(args: Args, use: str) -> ImageSource:
  """Opens the images to train on, to validate on ("valid") or to report on ("test")."""
  dataset = args.valid_dataset if use == "valid" else args.dataset
  split = getattr(args, f"{use}_split")
  try:
    source = (_shards if dataset == SHARDS else _records)(args, dataset, split)
  except SplitError as error:
    raise UsageError(f"--{use}_split={split}: {error}") from error
  return rescaled(source, *args.rescale) if args.rescale else source


def _records(args: Args, dataset: str, split: str) -> ImageSource:
  source_dir = args.source_dir if dataset == args.dataset else None
  return load_source(dataset, split, source_dir=source_dir, data_dir=args.data_dir)


def _shards(args: Args, dataset: str, split: str) -> ImageSource:
  if args.source_dir is None:
    raise UsageError(f"{dataset}: give --source_dir, a folder of shards of .cae files")
  return ShardSource(args.source_dir, cae_jax.decompress, split)


def _train(args: Args, workdir: Path, source: ImageSource, test: ImageSource | None) -> Result:
  subject = train_subject.of(args)
  model = subject.model(args)
  valid = _source(args, "valid")
  task = train_tasks.make(args, model, workdir, source, valid)
  config = LoopConfig(
    steps=args.steps,
    log_every=args.log_every,
    validate_every=args.validate_every,
    seed=args.seed,
    ema_decay=args.ema_decay,
    max_minutes=args.max_minutes,
    max_skipped=args.max_skipped,
    # Each validation of a look says by itself what the weights do without it.
    validate_start=args.start_weights is not None and args.task == "model",
  )
  warmup_steps = fitting_warmup(args.warmup_steps, args.steps)
  if warmup_steps != args.warmup_steps:
    say(
      f"--warmup_steps={args.warmup_steps} is longer than half of the run: {warmup_steps} instead"
    )
  optimizer = subject.optimizer(args)
  goes_on, start = holds_checkpoint(workdir), None
  if goes_on or args.carry_from:
    params = _zeros(subject.parameter_shapes(args))  # of these the shapes are taken alone
    if not goes_on:
      carried = portable.read_parts(args.carry_from, params, optimizer)
      start = _carried(workdir, task.batches, carried)
  else:
    blocks = lambda count, side: random_blocks(source, count, side, args.seed)
    params = subject.initial_params(args, model, blocks)
  if jax.process_index() == 0:
    _say_seen(args, _trained_on(args, workdir, source), valid=valid, test=test)
  result = train(
    config,
    params=params,
    optimizer=optimizer,
    workdir=workdir,
    mesh=sharding.data_mesh(),
    on_validation=lambda: figures.save(
      figures.training_curves(workdir / "metrics.jsonl"), workdir / "curves.png"
    ),
    start=start,
    **task._asdict(),
  )
  if args.carry_to and jax.process_index() == 0:
    place = {**task.batches.get_state(), **_trained_on(args, workdir, source).to_card()}
    portable.write_parts(args.carry_to, result.state, place)
  return result


def _carried(workdir: Path, batches: Any, start: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
  """Returns the start of a carried run; if its patches were others, the data begin anew."""
  state, place = start
  _keep_trained_on(workdir, place)
  differences = batches.differences(place)
  if differences:
    print(f"the data begin anew: {', '.join(differences)}")
  return state, None if differences else place


def _zeros(shapes: Any) -> Any:
  """Makes parameters that are all zero, shaped as others."""
  return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes)


def _best_state(args: Args, workdir: Path, result: Result | None) -> TrainState:
  """Reads the best checkpoint; where there is none, the state that was carried here.

  Of a look the last one: its loss is of a discriminator that learns, too.
  """
  subject = train_subject.of(args)
  params = _zeros(subject.parameter_shapes(args) if result is None else result.state.params)
  optimizer = subject.optimizer(args)
  with Checkpoints(workdir / "checkpoints") as checkpoints:
    if args.carry_from and checkpoints.last_step is None:
      state, place = portable.read_parts(args.carry_from, params, optimizer)
      _keep_trained_on(workdir, place)
      return state
    initial = jax.device_put(
      create_state(params, optimizer), sharding.replicated(sharding.data_mesh())
    )
    restore = checkpoints.restore if args.task == "look" else checkpoints.restore_best
    return restore(initial)[0]


def _keep_trained_on(workdir: Path, place: Mapping[str, Any]) -> None:
  """Writes down what a state carried here was trained on before."""
  if jax.process_index() == 0:
    write_text(workdir / _CARRIED, json.dumps(TrainedOn.from_card(place).to_card()))


def _trained_on(args: Args, workdir: Path, source: ImageSource) -> TrainedOn:
  """Lists the images of this run, and those of the weights or the state that it started from."""
  seen = train_subject.of(args).trained_on(args, source)
  if (workdir / _CARRIED).exists():
    seen |= TrainedOn.from_card(json.loads((workdir / _CARRIED).read_text()))
  return seen


def _say_seen(args: Args, seen: TrainedOn, **sources: ImageSource | None) -> None:
  """Says how many images to validate on ("valid") or to report on ("test") were trained on."""
  for use, source in sources.items():
    if source is None:
      continue
    known = zip(image_names(source), image_digests(source), strict=True)
    if count := sum(seen.has(*image) for image in known):
      say(
        f"note: {count} of {len(source)} images of {args[f'{use}_split'].serialize()} were trained "
        f"on, here or before; {_SEEN_SAYS[use]}"
      )


def _report(
  args: Args,
  workdir: Path,
  card: Mapping[str, Any],
  test: ImageSource | None,
  best: TrainState,
  result: Result | None,
) -> None:
  figures_of_test = None
  if test is not None:
    figures_of_test = run_report.write(workdir, codec.load(workdir / "weights.safetensors"), test)
    print((workdir / "table.md").read_text())
  summary = {
    "steps": args.steps,
    "exported_step": card["step"],
    "skipped_steps": int(best.skipped if result is None else result.state.skipped),
    "step_seconds": None
    if result is None or np.isnan(result.step_seconds)
    else result.step_seconds,
    "test": figures_of_test,
    **{k: card[k] for k in ("cae_jax", "jax", "device", "flags")},
  }
  write_json(workdir / "result.json", summary)
  logging.info("wrote %s", workdir / "result.json")


if __name__ == "__main__":
  sys.exit(cli.run(main, define_flags))
