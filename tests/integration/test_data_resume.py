"""A run that is continued in a new process sees the batches that it would have seen."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

from cae_jax.data import patches, sources

REPOSITORY = pathlib.Path(__file__).parents[2]
PROGRAM = """
import json, sys
from tests.integration import test_data_resume
print(json.dumps(test_data_resume.batches(*json.loads(sys.argv[1]))))
"""


def batches(folder, data_dir, threads, count, state):
  """Hashes of some batches, from a state on, and the state after them."""
  source = sources.load_source("photos", "train", source_dir=folder, data_dir=data_dir)
  iterator = patches.training_patches(
    sources.cached(source, 10**6), patch_size=16, batch_size=4, seed=3, num_threads=threads
  )
  if state is not None:
    iterator.set_state(state)
  hashes = [hashlib.sha256(next(iterator)["image"].tobytes()).hexdigest() for _ in range(count)]
  state = iterator.get_state()
  iterator.close()
  return {"state": state, "hashes": hashes}


def in_a_new_process(*arguments):
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(arguments)],
    capture_output=True, text=True, cwd=REPOSITORY, check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def write_photos(folder):
  folder.mkdir()
  for number in range(5):
    pixels = np.random.default_rng(number).integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.png")
  return str(folder)


def test_resumed_in_a_new_process(tmp_path):
  folder, data_dir = write_photos(tmp_path / "photos"), str(tmp_path / "prepared")
  whole = batches(folder, data_dir, 2, 23, None)
  first = batches(folder, data_dir, 1, 10, None)
  second = in_a_new_process(folder, str(tmp_path / "prepared anew"), 8, 13, first["state"])
  assert first["hashes"] + second["hashes"] == whole["hashes"]
  assert second["state"] == whole["state"]
  assert len(set(whole["hashes"])) == 23


def test_kept_encoded_and_read_as_it_was(tmp_path):
  """From file to patch without a change of a pixel."""
  pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
  (tmp_path / "photos").mkdir()
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  (tmp_path / "photos" / "a.png").write_bytes(buffer.getvalue())
  source = sources.load_source(
    "photos", "train", source_dir=tmp_path / "photos", data_dir=tmp_path / "prepared"
  )
  (batch,) = patches.center_patches(source, patch_size=16, batch_size=1)
  np.testing.assert_array_equal(batch["image"][0], pixels)
