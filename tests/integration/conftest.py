"""A tiny training run as users start it: the command line, on a folder of pictures."""

import atexit
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cae_jax.images.files import write_image

_FLAGS = (
  "--dataset=photos",
  "--valid_dataset=photos",
  "--valid_split=valid",
  "--channels=4,6,8",
  "--patch_size=16",
  "--valid_patch_size=32",
  "--batch_size=8",
  "--learning_rate=0.01",
  "--warmup_steps=2",
  "--log_every=1",
  "--validate_every=4",
)


@dataclasses.dataclass(frozen=True)
class TinyTraining:
  """Starts `experiments.train` on a folder of generated pictures."""

  source_dir: Path

  def command(self, workdir: Path, *flags: str) -> list[str]:
    own = (f"--workdir={workdir}", f"--source_dir={self.source_dir}")
    return [sys.executable, "-m", "experiments.train", *_FLAGS, *own, *flags]

  def run(self, workdir: Path, *flags: str, devices: int = 1) -> subprocess.CompletedProcess:
    return subprocess.run(
      self.command(workdir, *flags), env=environment(devices), capture_output=True, text=True
    )


# Programs compiled once serve all processes of the tests.
_COMPILE_CACHE = tempfile.mkdtemp(prefix="cae_jax_tests_")
atexit.register(shutil.rmtree, _COMPILE_CACHE, ignore_errors=True)


def environment(devices: int = 1) -> dict[str, str]:
  """This process's environment, for a child that sees some number of CPU devices."""
  return {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "JAX_COMPILATION_CACHE_DIR": _COMPILE_CACHE,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
  }


def run_module(module: str, *flags: str) -> subprocess.CompletedProcess:
  """Runs a program of `experiments` in a process of its own."""
  command = [sys.executable, "-m", f"experiments.{module}", *flags]
  return subprocess.run(command, env=environment(), capture_output=True, text=True)


@pytest.fixture(scope="session")
def reference(tiny_training, tmp_path_factory) -> Path:
  """The workdir of an uncut run of 12 steps on one device."""
  workdir = tmp_path_factory.mktemp("reference")
  done = tiny_training.run(workdir, "--steps=12")
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture(scope="session")
def tiny_training(tmp_path_factory) -> TinyTraining:
  folder = tmp_path_factory.mktemp("pictures")
  for index, name in enumerate(("a", "b", "c", "valid", "test")):
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
