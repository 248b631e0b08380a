import json
import re
import shutil
import signal
import socket
import subprocess
import time

import jax
import numpy as np
import pytest

from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.images.files import read_rgb
from cae_jax.metrics_file import read_metrics
from cae_jax.weights import load_weights
from experiments import cli, train
from tests.integration.conftest import NAMES, environment


def _losses(workdir, split="train"):
  """Loss by step; empty while there is no log."""
  log = workdir / "metrics.jsonl"
  lines = read_metrics(log) if log.exists() else []
  return {line["step"]: line["loss"] for line in lines if line["split"] == split}


def test_a_run_leaves_what_it_promises(tiny_training, reference):
  for name in (
    "flags.txt",
    "metrics.jsonl",
    "checkpoints",
    "curves.png",
    "weights.safetensors",
    "result.json",
    "records.jsonl",
    "table.md",
    "reconstructions.png",
  ):
    assert (reference / name).exists(), name
  assert list(reference.glob("events.out.tfevents.*"))
  losses = _losses(reference)
  assert list(losses) == list(range(1, 13))
  assert losses[12] < losses[1] / 2
  assert list(_losses(reference, "valid")) == [4, 8, 12]
  seen = TrainedOn.from_card(load_weights(reference / "weights.safetensors").card)
  digests = {n: pixel_digest(read_rgb(tiny_training.source_dir / f"{n}.png")) for n in NAMES}
  assert [name for name, digest in digests.items() if seen.has(name, digest)] == ["a", "b", "c"]
  result = json.loads((reference / "result.json").read_text())
  coded, _ = result["test"].values()
  assert coded[0]["mean_rate_bpp"] > 0


def test_sigterm_saves_and_the_same_command_resumes(tiny_training, tmp_path):
  process = subprocess.Popen(
    tiny_training.command(tmp_path, "--steps=1000000"),
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline and not _losses(tmp_path):
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  stopped = int(re.search(r"stopped at step (\d+)", output)[1])
  done = tiny_training.run(tmp_path, f"--steps={stopped + 4}")
  assert done.returncode == 0, done.stderr
  assert f"resuming at step {stopped} of" in done.stdout + done.stderr
  assert list(_losses(tmp_path)) == list(range(1, stopped + 5))


def test_eight_devices_give_the_losses_of_one(tiny_training, reference, tmp_path):
  done = tiny_training.run(tmp_path, "--steps=12", devices=8)
  assert done.returncode == 0, done.stderr
  ours, theirs = _losses(tmp_path), _losses(reference)
  np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3)


def test_two_processes_train_together(tiny_training, reference, tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  processes = [
    subprocess.Popen(
      tiny_training.command(
        tmp_path,
        "--steps=12",
        f"--coordinator_address={address}",
        "--num_processes=2",
        f"--process_id={index}",
      ),
      env=environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=120)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
  ours, theirs = _losses(tmp_path), _losses(reference)
  np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3)
  # one process goes on from the checkpoint that two have written
  done = tiny_training.run(tmp_path, "--steps=16")
  assert done.returncode == 0, done.stderr
  assert max(_losses(tmp_path)) == 16


def test_other_flags_do_not_resume(tiny_training, reference):
  done = tiny_training.run(reference, "--steps=12", "--kernel_size=5")
  assert done.returncode == 2
  assert done.stderr.strip().count("\n") == 0
  assert "holds a run with --kernel_size=3, this one has --kernel_size=5" in done.stderr


@pytest.fixture
def run_here(tiny_training):
  """Runs the program in this process: workdir, flags -> exit status."""

  def run(workdir, *flags):
    return cli.run(train.main, train.define_flags, tiny_training.flags(workdir, *flags))

  return run


@pytest.fixture
def fails(run_here, tmp_path, capsys):
  """Runs the program with flags that are wrong: the one line on standard error."""

  def run(*flags):
    assert run_here(tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert error.strip().count("\n") == 0
    return error

  return run


def test_half_precision_can_be_exported_without_training(run_here, reference, tmp_path):
  workdir = shutil.copytree(reference, tmp_path / "run")
  assert run_here(workdir, "--steps=12", "--export_only", "--export_dtype=float16") == 0
  full, half = (load_weights(folder / "weights.safetensors") for folder in (reference, workdir))
  sizes = [{a.dtype.itemsize for a in jax.tree.leaves(w.params)} for w in (full, half)]
  assert sizes == [{4}, {2}]
  psnr = lambda folder: json.loads((folder / "result.json").read_text())["test"]["paper"]
  [ours], [theirs] = psnr(workdir), psnr(reference)
  assert ours["mean_psnr_db"] == pytest.approx(theirs["mean_psnr_db"], abs=0.1)
  assert _losses(workdir) == _losses(reference)


def test_a_state_from_elsewhere_can_be_exported_without_training(run_here, tmp_path):
  there, here, state = tmp_path / "there", tmp_path / "here", tmp_path / "state"
  assert run_here(there, "--steps=4", f"--carry_to={state}") == 0
  assert run_here(here, "--steps=4", f"--carry_from={state}", "--export_only") == 0
  theirs, ours = (load_weights(folder / "weights.safetensors") for folder in (there, here))
  assert ours.hash() == theirs.hash()


def test_a_flag_newer_than_the_run_counts_as_its_default(fails, tiny_training, reference, tmp_path):
  kept = tmp_path / "flags.txt"
  lines = (reference / "flags.txt").read_text().splitlines()
  older = [line for line in lines if "latent_bits" not in line]
  kept.write_text("\n".join(older) + "\n")
  error = fails("--steps=12", "--latent_bits=4")
  assert "holds a run with --latent_bits=0, this one has --latent_bits=4" in error
  # what comes next is found to be wrong
  assert "/nowhere" in fails("--steps=12", "--latent_bits=0", "--source_dir=/nowhere")


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--optimizer=newton", "newton"),
    ("--no_such_flag", "no_such_flag"),
    ("--flagfile=nowhere.flags", "nowhere.flags"),
    ("--source_dir=/nowhere", "/nowhere"),
    ("--batch_size=0", "batch_size"),
    ("--name=a b", "--name=a b: expected 1 to 32 printable ASCII characters, no spaces"),
    ("--train_split=absent", "--train_split=absent: photos: no images in split 'absent'"),
    ("--valid_split=absent", "--valid_split=absent: photos: no images in split 'absent'"),
    ("--test_split=absent", "--test_split=absent: photos: no images in split 'absent'"),
    ("--channels=4", "no such network: --channels=4 (not enough values"),
    ("--patch_size=18", "--patch_size=18: this network takes multiples of 4"),
    ("--valid_patch_size=30", "--valid_patch_size=30: this network takes multiples of 4"),
  ],
)
def test_bad_input_is_one_line_and_status_2(fails, flag, message):
  assert message in fails(flag)
