"""One process encodes, others decode: with other instructions and threads, to the same samples."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from cae_jax.codec.lossless.image import LosslessCodec
from tests.lossless import tiny_weights

SCRIPT = """
import hashlib, sys
import numpy as np
from cae_jax.codec.lossless.image import LosslessCodec
from tests.lossless import tiny_weights

codec = LosslessCodec(tiny_weights(biases=True))
for name in sys.argv[1:]:
  print(hashlib.sha256(codec.decompress(open(name, "rb").read()).tobytes()).hexdigest())
"""
# What this machine does not know is ignored, with a word from NumPy.
CONFIGURATIONS = {
  "one thread": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
  "AVX2 at most": {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SKX",
  },
  "SSE4 at most": {
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SKX,AVX2,FMA3",
  },
}


def _image(dtype):
  rng = np.random.default_rng(0)
  peak = np.iinfo(dtype).max
  ramp = np.add.outer(np.arange(130), np.arange(140))[..., None] / 230
  return np.clip((ramp + rng.normal(0, 0.01, (130, 140, 3))) * peak, 0, peak).astype(dtype)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Files by path, and hashes of what they decode to here."""
  codec = LosslessCodec(tiny_weights(biases=True))
  folder = tmp_path_factory.mktemp("exact")
  hashes = {}
  for dtype in (np.uint8, np.uint16):
    for error in (0, 3):
      path = folder / f"{np.dtype(dtype).name}_{error}.cae"
      path.write_bytes(codec.compress(_image(dtype), near_lossless=error))
      decoded = codec.decompress(path.read_bytes())
      assert np.abs(decoded.astype(int) - _image(dtype)).max() == error
      hashes[path] = hashlib.sha256(decoded.tobytes()).hexdigest()
  return hashes


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_samples_are_the_same_everywhere(files, name):
  command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, files)]
  env = {**os.environ, **CONFIGURATIONS[name]}
  done = subprocess.run(command, env=env, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == list(files.values())
