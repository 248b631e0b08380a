"""A short run of tests/benchmarks/killed_training.py: the loop alone, on one matrix.

It works in a process of its own, since JAX hangs in forks of one that has used it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

KILLS = 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_killed_run_ends_as_the_uncut_one():
  done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == f"{KILLS} kills, right in the end"


def _train(source_dir: Path, workdir: Path) -> int:
  import numpy as np
  import optax

  from cae_jax.training import sharding
  from cae_jax.training.loop import LoopConfig, train
  from tests.benchmarks.killed_training import EVERY, STEPS

  del source_dir

  class Batches:
    """Noise, by number."""

    number = 0

    def __next__(self):
      self.number += 1
      return {"image": np.random.default_rng(self.number).random((4, 3)).astype(np.float32)}

    def get_state(self):
      return self.number

    def set_state(self, state):
      self.number = state

  loss = lambda params, x: ((x @ params["matrix"] - x) ** 2).mean(axis=1)
  result = train(
    LoopConfig(steps=STEPS, log_every=4, validate_every=EVERY),
    params={"matrix": np.eye(3, dtype=np.float32) / 2},
    loss_fn=lambda params, batch, *, key: (loss(params, batch["image"]).mean(), {}),
    errors_fn=lambda params, batch: {"loss": loss(params, batch["image"])},
    optimizer=optax.adam(1e-2),
    batches=Batches(),
    valid_batches=[{"image": np.eye(3, dtype=np.float32), "mask": np.ones(3)}],
    workdir=workdir,
    mesh=sharding.data_mesh(),
  )
  return 0 if result.finished else 1


def main() -> None:
  from tests.benchmarks import killed_training

  with tempfile.TemporaryDirectory() as folder:
    record = killed_training.run(Path(folder), KILLS, 0, seed=0, train=_train)
  assert record.finished
  print(f"{record.kills} kills, right in the end")


if __name__ == "__main__":
  main()
