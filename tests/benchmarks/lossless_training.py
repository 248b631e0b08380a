"""Trains the lossless model until `experiments.train` does.

    python tests/benchmarks/lossless_training.py --workdir=DIR --blocks=DIR [--source_dir=PHOTOS]

The folder of blocks has train/ and valid/, made from the photographs where they are not there. The
same command resumes. The rate stays at its peak until the last 30 % of the steps.
"""

import pathlib
from functools import partial

import jax
from absl import app, flags

from cae_jax.data.sources import load_source
from cae_jax.models.lossless.model import LosslessModel
from cae_jax.training import lossless_blocks as blocks
from cae_jax.training import sharding
from cae_jax.training.code_length import code_length_loss, code_lengths
from cae_jax.training.loop import LoopConfig, train
from cae_jax.training.optimizers import make_optimizer, make_schedule

_WORKDIR = flags.DEFINE_string("workdir", None, "Of the run.", required=True)
_BLOCKS = flags.DEFINE_string("blocks", None, "Folder of prepared photographs.", required=True)
_SOURCE_DIR = flags.DEFINE_string("source_dir", None, "Photographs, where they are not prepared.")
_STEPS = flags.DEFINE_integer("steps", 40000, "Of the run.")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 3e-3, "At its peak.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Blocks.")
_SIDE = flags.DEFINE_integer("side", 16, "Of a block, in positions of its planes.")
_TRUNK = flags.DEFINE_list("trunk_widths", ["160", "128"], "Features.")
_HEAD = flags.DEFINE_integer("head_width", 64, "Features.")
_VALIDATE_EVERY = flags.DEFINE_integer("validate_every", 500, "Steps.")
_MAX_MINUTES = flags.DEFINE_float("max_minutes", float("inf"), "Of this call.")


def main(argv) -> None:
  del argv
  stores = {split: _store(split) for split in ("train", "valid")}
  model = LosslessModel(tuple(map(int, _TRUNK.value)), _HEAD.value)
  batches = blocks.BlockIterator(stores["train"], _BATCH_SIZE.value, _SIDE.value)
  valid = blocks.validation_batches(stores["valid"], 10, 64)
  schedule = make_schedule("trapezoidal", _LEARNING_RATE.value, _STEPS.value, 100)
  result = train(
    LoopConfig(
      steps=_STEPS.value,
      log_every=50,
      validate_every=_VALIDATE_EVERY.value,
      max_minutes=_MAX_MINUTES.value,
    ),
    params=jax.jit(partial(model.init, method="networks"))(jax.random.key(0))["params"],
    loss_fn=code_length_loss(model),
    errors_fn=code_lengths(model),
    optimizer=make_optimizer("soap", schedule, clip_norm=1.0),
    batches=batches,
    valid_batches=valid,
    workdir=_WORKDIR.value,
    mesh=sharding.data_mesh(),
  )
  print(f"step {int(result.state.step)}, {result.step_seconds:.3f} s a step")


def _store(split: str) -> blocks.BlockStore:
  folder = pathlib.Path(_BLOCKS.value) / split
  if _SOURCE_DIR.value is None:
    return blocks.BlockStore(folder)
  return blocks.prepare(load_source("photos", split, source_dir=_SOURCE_DIR.value), folder)


if __name__ == "__main__":
  app.run(main)
