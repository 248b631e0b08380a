"""What a training run learns from and what for, by the objective of its model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cae_jax.data.patches import PatchIterator, center_patches, training_patches
from cae_jax.data.sources import ImageSource, cached
from cae_jax.errors import UsageError
from cae_jax.models import Network
from cae_jax.models.lossless.model import finest_blocks
from cae_jax.training import lossless_blocks, sharding
from cae_jax.training.code_length import code_length_errors, code_length_loss
from cae_jax.training.losses import ErrorsFn, LossFn
from experiments import train_look, train_parts
from experiments.program_flags import Args

_VALID_BLOCKS = 640
_VALID_BATCH = 64


class Task(NamedTuple):
  """What `training.loop.train` is to do.

  Attributes:
    batches: this process's part of each batch.
    valid_batches: to validate on.
    loss_fn, errors_fn: see `training.losses`, and of players `training.step`.
  """

  batches: PatchIterator | lossless_blocks.BlockIterator
  valid_batches: Sequence[Any]
  loss_fn: LossFn | Mapping[str, LossFn]
  errors_fn: ErrorsFn


def make(args: Args, model: Network, workdir: Path, train: ImageSource, valid: ImageSource) -> Task:
  """Makes what a run of the model needs.

  Args:
    args: the flags.
    model: to be trained.
    workdir: of the run.
    train: photographs to learn from.
    valid: photographs to validate on.
  Raises:
    UsageError: the batch does not split evenly over the devices or is too small, or there are no
      photographs.
  """
  if args.task == "look":
    return _patches(args, train_look.objectives(args, model), train, valid)
  if model.objective == "code_length":
    return _blocks(args, model, workdir, train, valid)
  return _patches(args, train_parts.objectives(args, model), train, valid)


def _patches(
  args: Args, objectives: tuple[Any, ErrorsFn], train: ImageSource, valid: ImageSource
) -> Task:
  """Of a model that makes images: patches of photographs."""
  batches = training_patches(
    cached(train, int(args.cache_gib * 2**30)),
    patch_size=args.patch_size,
    batch_size=sharding.process_batch_size(args.batch_size),
    seed=args.seed,
    shard_index=jax.process_index(),
    shard_count=jax.process_count(),
    min_scale=args.min_scale,
  )
  valid_batches = center_patches(valid, patch_size=args.valid_patch_size, batch_size=4)
  return Task(batches, valid_batches, *objectives)


def _blocks(
  args: Args, model: Network, workdir: Path, train: ImageSource, valid: ImageSource
) -> Task:
  """Of a model that says how probable samples are: blocks of prepared photographs."""
  sharding.process_batch_size(args.batch_size)  # raises
  if not 0 < finest_blocks(args.batch_size) < args.batch_size:
    raise UsageError(
      f"{args['batch_size'].serialize()}: a batch has blocks of the finest level and of coarser "
      "ones; give 2 or more"
    )
  folder = args.data_dir or workdir
  stores = [
    lossless_blocks.prepare(source, folder / "blocks", train_parts.variation(args))
    for source in (train, valid)
  ]
  side = args.patch_size // 2
  return Task(
    lossless_blocks.BlockIterator(
      stores[0],
      args.batch_size,
      side,
      args.seed,
      shard_index=jax.process_index(),
      shard_count=jax.process_count(),
    ),
    lossless_blocks.validation_batches(
      stores[1], _VALID_BLOCKS // _VALID_BATCH, _VALID_BATCH, side
    ),
    code_length_loss(model),
    code_length_errors(model),
  )
