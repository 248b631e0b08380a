"""A tiny training run as users start it: the command line, on a folder of pictures."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.images.files import read_rgb, write_image
from cae_jax.weights import save_weights
from experiments import cli, train
from tests import tiny_run
from tests.models import paper_codec

NAMES = ("a", "b", "c", "valid", "test")
_FLAGS = (*tiny_run.FLAGS, "--log_every=1", "--validate_every=4")


@dataclasses.dataclass(frozen=True)
class TinyTraining:
  """Starts `experiments.train` on a folder of generated pictures."""

  source_dir: Path

  def flags(self, workdir: Path, *flags: str) -> list[str]:
    return [*_FLAGS, f"--workdir={workdir}", f"--source_dir={self.source_dir}", *flags]

  def command(self, workdir: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "experiments.train", *self.flags(workdir, *flags)]

  def run_here(self, workdir: Path, *flags: str) -> int:
    """Runs it in this process, which has imported everything already; gives the exit status."""
    return cli.run(train.main, train.define_flags, self.flags(workdir, *flags))

  def run(self, workdir: Path, *flags: str, devices: int = 1) -> subprocess.CompletedProcess:
    return subprocess.run(
      self.command(workdir, *flags), env=environment(devices), capture_output=True, text=True
    )


def environment(devices: int = 1) -> dict[str, str]:
  """This process's environment, for a child that sees some number of CPU devices."""
  return {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
  }


@pytest.fixture(scope="session")
def finished_run(tiny_training, tmp_path_factory) -> Path:
  """A workdir as a run on a.png, b.png and c.png leaves it, but its network is untrained."""
  workdir = tmp_path_factory.mktemp("finished")
  seen = [pixel_digest(read_rgb(tiny_training.source_dir / f"{name}.png")) for name in "abc"]
  card = {"step": 0, **TrainedOn.of(seen).to_card()}
  weights = dataclasses.replace(paper_codec().weights, name="paper", card=card)
  save_weights(workdir / "weights.safetensors", weights)
  return workdir


# `python -m experiments.train`, and a look at what that has imported.
_WITHOUT_TENSORFLOW = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
  runpy.run_module("experiments.train", run_name="__main__")
except SystemExit as end:
  assert not end.code, end
assert "tensorflow" not in sys.modules, "training imports TensorFlow"
"""


@pytest.fixture(scope="session")
def reference(tiny_training, tmp_path_factory) -> Path:
  """The workdir of an uncut run of 12 steps on one device, which does without TensorFlow."""
  workdir = tmp_path_factory.mktemp("reference")
  python, _, *arguments = tiny_training.command(workdir, "--steps=12")
  done = subprocess.run(
    [python, "-c", _WITHOUT_TENSORFLOW, *arguments],
    env=environment(),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture(scope="session")
def tiny_training(tmp_path_factory) -> TinyTraining:
  folder = tmp_path_factory.mktemp("pictures")
  for index, name in enumerate(NAMES):
    write_image(folder / f"{name}.png", _picture(index))
  return TinyTraining(folder)


def _picture(seed: int) -> np.ndarray:
  """Smooth colours with an edge, 48x64."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:48, :64] / 48
  waves = [np.sin(rng.normal(size=2) @ [y.ravel(), x.ravel()] * 4 + c) for c in range(3)]
  picture = np.stack(waves, -1).reshape(48, 64, 3) * 60 + 128
  picture[:, 20 + seed :] += 50
  return np.clip(picture, 0, 255).astype(np.uint8)
