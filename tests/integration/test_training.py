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
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.images.files import read_rgb, write_image
from cae_jax.metrics_file import read_metrics
from cae_jax.weights import load_weights
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


def test_others_are_kept_out_until_sigterm_and_the_same_command_resumes(
  tiny_training, tmp_path, capsys
):
  process = subprocess.Popen(
    tiny_training.command(tmp_path, "--steps=1000000", "--validate_every=1000000"),
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline and not _losses(tmp_path):
    time.sleep(0.02)
  assert tiny_training.run_here(tmp_path, "--steps=1000000") == 2
  assert f"another run is at work here (process {process.pid} on " in capsys.readouterr().err
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  stopped = int(re.search(r"stopped at step (\d+)", output)[1])
  assert tiny_training.run_here(tmp_path, f"--steps={stopped + 4}", "--test_split=") == 0
  assert f"resuming at step {stopped} of {stopped + 4}" in capsys.readouterr().out
  assert list(_losses(tmp_path)) == list(range(1, stopped + 5))


@pytest.fixture(scope="module")
def cut(tiny_training, tmp_path_factory):
  """A run of 12 steps that was stopped after one; its state is in the folder `carried`."""
  workdir = tmp_path_factory.mktemp("cut")
  stopping = ("--max_minutes=0", f"--carry_to={workdir / 'carried'}")
  assert tiny_training.run_here(workdir, "--steps=12", *stopping) == 0
  assert list(_losses(workdir)) == [1]
  return workdir


def test_a_cut_run_ends_with_the_weights_of_the_uncut(tiny_training, reference, cut, tmp_path):
  workdir = shutil.copytree(cut, tmp_path / "run")
  assert tiny_training.run_here(workdir, "--steps=12", "--test_split=") == 0
  assert _losses(workdir) == _losses(reference)
  ours, theirs = (load_weights(folder / "weights.safetensors") for folder in (workdir, reference))
  assert ours.hash() == theirs.hash()


def test_a_state_from_elsewhere_can_be_exported_without_training(
  tiny_training, cut, tmp_path, capsys
):
  state, seen = cut / "carried", "--test_split=train[:2]"
  assert tiny_training.run_here(tmp_path, f"--carry_from={state}", "--export_only", seen) == 0
  assert f"note: 2 of 2 images of {seen} were trained on" in capsys.readouterr().out
  weights = load_weights(tmp_path / "weights.safetensors")
  assert weights.card["step"] == 1
  [part] = state.iterdir()
  arrays = load_file(part)
  for name, array in flatten_dict(weights.params, sep="/").items():
    np.testing.assert_array_equal(array, arrays[f"ema_params/{name}"])


def test_two_processes_of_four_devices_give_the_losses_of_one(tiny_training, reference, tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  own = ("--steps=12", "--validate_every=12", "--test_split=", "--num_processes=2")
  processes = [
    subprocess.Popen(
      tiny_training.command(
        tmp_path, *own, f"--coordinator_address={address}", f"--process_id={index}"
      ),
      env=environment(devices=4),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
  ours, theirs = _losses(tmp_path), _losses(reference)
  np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3)
  # one process of one device goes on from the checkpoint that they have written
  assert tiny_training.run_here(tmp_path, "--steps=16", "--test_split=") == 0
  assert max(_losses(tmp_path)) == 16


def test_half_precision_can_be_exported_without_training(tiny_training, reference, tmp_path):
  workdir = shutil.copytree(reference, tmp_path / "run")
  half_precision = ("--export_only", "--export_dtype=float16")
  assert tiny_training.run_here(workdir, "--steps=12", *half_precision) == 0
  full, half = (load_weights(folder / "weights.safetensors") for folder in (reference, workdir))
  sizes = [{a.dtype.itemsize for a in jax.tree.leaves(w.params)} for w in (full, half)]
  assert sizes == [{4}, {2}]
  psnr = lambda folder: json.loads((folder / "result.json").read_text())["test"]["paper"]
  [ours], [theirs] = psnr(workdir), psnr(reference)
  assert ours["mean_psnr_db"] == pytest.approx(theirs["mean_psnr_db"], abs=0.1)
  assert _losses(workdir) == _losses(reference)


def test_a_diverged_run_fails_and_exports_nothing(tiny_training, tmp_path, capsys):
  assert tiny_training.run_here(tmp_path, "--steps=4", "--learning_rate=1e30") == 2
  assert capsys.readouterr().err.splitlines()[-1].startswith("error: the run has diverged")
  assert not (tmp_path / "weights.safetensors").exists()


@pytest.fixture
def fails(tiny_training, tmp_path, capsys):
  """Runs the program with flags that are wrong: the one line on standard error."""

  def run(*flags, workdir=tmp_path):
    assert tiny_training.run_here(workdir, *flags) == 2
    [error] = capsys.readouterr().err.splitlines()
    return error

  return run


def test_other_flags_do_not_resume(fails, cut):
  error = fails("--steps=12", "--kernel_size=5", workdir=cut)
  assert "holds a run with --kernel_size=3, this one has --kernel_size=5" in error


def test_other_photographs_do_not_resume(tiny_training, fails, cut, reference, tmp_path):
  """Of the same names and sizes; nor are they put on the card of weights that are there."""
  others = shutil.copytree(tiny_training.source_dir, tmp_path / "others")
  write_image(others / "a.png", 255 - read_rgb(others / "a.png"))
  assert "learns from other photographs than" in fails(
    "--steps=12", f"--source_dir={others}", workdir=cut
  )
  finished = shutil.copytree(reference, tmp_path / "finished")
  before = (finished / "weights.safetensors").read_bytes()
  error = fails("--steps=12", "--export_only", f"--source_dir={others}", workdir=finished)
  assert "learns from other photographs than" in error
  assert (finished / "weights.safetensors").read_bytes() == before


def test_a_flag_newer_than_the_run_counts_as_its_default(fails, cut, tmp_path):
  lines = (cut / "flags.txt").read_text().splitlines()
  older = [line for line in lines if "latent_bits" not in line]
  (tmp_path / "flags.txt").write_text("\n".join(older) + "\n")
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n')
  error = fails("--steps=12", "--latent_bits=4")
  assert "holds a run with --latent_bits=0, this one has --latent_bits=4" in error
  # what comes next is found to be wrong
  assert "/nowhere" in fails("--steps=12", "--latent_bits=0", "--source_dir=/nowhere")


def test_a_command_that_failed_binds_no_one_to_its_flags(fails, cut, tmp_path):
  assert "trian" in fails("--train_split=trian", f"--carry_from={cut / 'carried'}")
  (tmp_path / "trained_on_before.json").touch()
  assert "/nowhere" in fails("--kernel_size=5", "--source_dir=/nowhere")
  assert not (tmp_path / "trained_on_before.json").exists()


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--optimizer=newton", "newton"),
    ("--no_such_flag", "no_such_flag"),
    ("--name=jpeg", "that of a baseline"),
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
    ("--learning_rate=nan", "learning"),
    ("--coordinator_address=localhost:1", "--coordinator_address=localhost:1: expected all of"),
    ("--process_id=0", "--process_id=0: expected all of --coordinator_address --num_processes"),
  ],
)
def test_bad_input_is_one_line_and_status_2(fails, flag, message):
  assert message in fails(flag)
