"""`experiments.compress_dataset` as users start it: processes, a kill, the same command again."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec

import numpy as np
import pytest

from cae_jax.bulk import jobs, places, results
from cae_jax.data.shards import list_shards
from cae_jax.images.files import read_rgb, write_image
from experiments import compress_dataset

needs_beam = pytest.mark.skipif(
  find_spec("apache_beam") is None,
  reason='Apache Beam is not there; pip install "cae_jax[beam]" in an environment of its own',
)


@pytest.fixture(autouse=True)
def _process_of_many_tests(monkeypatch):
  """A job in this process leaves the other tests their threads."""
  monkeypatch.setattr(jobs, "prepare_process", lambda: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Twenty pictures of noise, and one that is broken."""
  folder = tmp_path_factory.mktemp("source")
  rng = np.random.default_rng(0)
  for number in range(20):
    picture = rng.integers(0, 200, (16, 24, 3)).astype(np.uint8)
    write_image(folder / f"{number:02}.png", picture)
  (folder / "bad.png").write_bytes((folder / "00.png").read_bytes()[:90])
  return folder


def command(*flags):
  return [sys.executable, "-m", "experiments.compress_dataset", *map(str, flags)]


def run(*flags):
  return compress_dataset.run([str(flag) for flag in flags])


def files(folder):
  return {path.name: path.read_bytes() for path in list_shards(folder)}


@needs_beam
def test_killed_and_started_again(source, tmp_path, capfd):
  flags = ["--lossless", "--images_per_shard=2", f"--source_dir={source}"]
  assert run(*flags, f"--output_dir={tmp_path / 'whole'}") == 2
  output, errors = capfd.readouterr()
  assert output.startswith("20 images in 11 shards, ")
  assert errors.splitlines()[-1].startswith("error: 1 failed, see ")
  (failure,) = (tmp_path / "whole" / "failures.jsonl").read_text().splitlines()
  assert json.loads(failure)["name"] == "bad.png"

  cut = tmp_path / "cut"
  command_line = command(*flags, f"--output_dir={cut}", "--jobs=2")
  process = subprocess.Popen(command_line, start_new_session=True, stderr=subprocess.PIPE)
  deadline = time.monotonic() + 600
  # A name that begins with a dot is a record still being written, and may be gone with the kill.
  while not (done := list(cut.glob("done/[!.]*.json"))) and process.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.005)
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  times = {path: path.stat().st_mtime_ns for path in done}

  again = subprocess.run(command_line, capture_output=True, text=True)
  assert again.returncode == 2
  assert again.stdout.startswith("20 images in 11 shards, ")
  assert files(cut) == files(tmp_path / "whole")
  assert {path: path.stat().st_mtime_ns for path in done} == times
  assert not list(cut.rglob(".tmp-*"))

  back = tmp_path / "back"
  assert run("--decompress", f"--source_dir={cut}", f"--output_dir={back}") == 0
  for number in range(20):
    name = f"{number:02}.png"
    np.testing.assert_array_equal(read_rgb(back / name), read_rgb(source / name))
  summary = json.loads((back / "summary.json").read_text())
  assert (summary["images"], summary["failures"]) == (20, 0)


@needs_beam
def test_other_settings_for_the_same_folder(source, tmp_path, capsys):
  flags = [f"--source_dir={source / '00.png'}", f"--output_dir={tmp_path}"]
  assert run(*flags, "--lossless") == 0
  assert run(*flags, "--near_lossless=2") == 2
  assert "holds another job: lossless was True, is False" in capsys.readouterr().err


@needs_beam
def test_other_shards_for_the_same_folder(source, tmp_path, capsys):
  for name in ("00.png", "01.png"):
    shards = tmp_path / name
    assert run(f"--source_dir={source / name}", f"--output_dir={shards}", "--lossless") == 0
  back = f"--output_dir={tmp_path / 'back'}"
  assert run("--decompress", f"--source_dir={tmp_path / '00.png'}", back) == 0
  assert run("--decompress", f"--source_dir={tmp_path / '01.png'}", back) == 2
  assert "holds another job: its shards were others" in capsys.readouterr().err


@needs_beam
def test_a_second_start_while_the_first_works(source, tmp_path, capsys):
  flags = [f"--source_dir={source / '00.png'}", f"--output_dir={tmp_path}", "--lossless"]
  unfinished = tmp_path / ".tmp-0123456789abcdef.array_record"
  with places.locked(tmp_path):
    results.begin(tmp_path, {})
    unfinished.touch()
    assert run(*flags) == 2
  assert "another job is at work here (process " in capsys.readouterr().err
  assert unfinished.exists()


@needs_beam
def test_a_tar_file_that_has_changed(source, tmp_path, capsys):
  tar = tmp_path / "a.tar"
  flags = [f"--source_dir={tar}", f"--output_dir={tmp_path / 'shards'}", "--lossless"]
  with tarfile.open(tar, "w") as archive:
    archive.add(source / "00.png", "00.png")
  assert run(*flags) == 0
  assert run(*flags) == 0
  with tarfile.open(tar, "a") as archive:
    archive.add(source / "01.png", "01.png")
  assert run(*flags) == 2
  assert "its images were others, or a tar file" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--bpp=1", "--lossless"], "expected one target, got bpp and lossless"),
    (["--quality=176"], "quality 176: expected 0 to 175"),
    (["--effort=10"], "effort 10: expected 0 or 1"),
    (["--tune=ear"], "tune 'ear': expected psnr or eye"),
    (["--tune=psnr", "--weights=context"], "--weights and --tune: expected one of them, got both"),
    (["--dataset=kodak"], "expected one of --source_dir and --dataset"),
    (["--decompress", "--bpp=1"], "--decompress: expected --source_dir of shards, and no --bpp"),
    (["--weights=none.safetensors"], "none.safetensors"),
    (["--jobs=2", "--", "--runner=FlinkRunner"], "--jobs is of this machine"),
  ],
)
def test_wrong_flags(source, tmp_path, capsys, flags, message):
  status = run(f"--source_dir={source}", f"--output_dir={tmp_path}", *flags)
  assert status == 2
  assert message in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("apache_beam") is not None, reason="Apache Beam is there")
def test_without_beam(source, tmp_path, capsys):
  assert run(f"--source_dir={source}", f"--output_dir={tmp_path}") == 2
  assert 'Apache Beam is not installed: pip install "cae_jax[beam]"' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())
