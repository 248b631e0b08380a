"""The codec imports only what it runs: on a CPU neither JAX nor Flax, whichever way it is begun."""

import os
import subprocess
import sys

import pytest

from tests.golden import FOLDER

# Stops at the import itself, so that the traceback shows who asks for it.
_REFUSE = """
import pathlib, sys
class Refuse:
  def find_spec(self, name, *_):
    if name in ("jax", "jaxlib", "flax", "scipy", "ml_dtypes"):
      raise AssertionError(f"the codec imports {name}, for which it has no use")
sys.meta_path.insert(0, Refuse())
import cae_jax
lossy, lossless, tiny = map(pathlib.Path, sys.argv[1:4])
"""
_WAYS = {
  "api": """
for path in (lossy, lossless):
  assert cae_jax.decompress(path.read_bytes()).shape[2] == 3
  part = cae_jax.decompress(path.read_bytes(), region=(8, 16, 24, 32))
  assert part.shape == (24, 32, 3)
  assert cae_jax.preview(path.read_bytes()).shape[2] == 3
""",
  "compressing": """
import numpy as np
y, x = np.mgrid[:50, :70]
image = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
for goal in ({}, {"bpp": 1.0}, {"psnr": 30}, {"ssimulacra2": 60}, {"size_bytes": 500}):
  assert len(cae_jax.compress(image, **goal)) < 3000
""",
  "looks": """
import numpy as np
from cae_jax import codec
from cae_jax.models.context.look import changed_part
from cae_jax.weights import load_weights
from cae_jax.weights.look import Look
weights = load_weights(tiny)
make = lambda value: {k: make(v) for k, v in value.items()} if isinstance(value, dict) else value
look = Look(weights.name, weights.hash().hex(), make(changed_part(weights.params)), (99.0, 100.0))
data = lossy.with_name("context-rgb.cae").read_bytes()
ours = codec.from_weights(weights, look)
assert (ours.decompress(data, look=1) != ours.decompress(data)).any()
""",
  "Pillow": """
import cae_jax.pillow
from PIL import Image
for path in (lossy, lossless):
  image = Image.open(path)
  image.load()
  image = Image.open(path)
  image.draft("RGB", (20, 20))
  image.load()
""",
  "command": """
import tempfile
from cae_jax import cli
with tempfile.TemporaryDirectory() as folder:
  out = folder + "/out.png"
  for words in ([], ["--preview"], ["--region=0,0,9,9"], ["--salvage"], ["--look=0"]):
    assert cli.main(["decompress", str(lossy), out, "--force", *words]) == 0
  assert cli.main(["decompress", str(lossless), out, "--force"]) == 0
  for words in ([], ["--bpp=1"], ["--tune=psnr"], ["--lossless"]):
    assert cli.main(["compress", out, folder + "/a.cae", "--force", *words]) == 0
""",
}


@pytest.mark.parametrize("way", _WAYS)
def test_it_works_without_jax(way):
  files = ("eye-released.cae", "lossless2-released.cae", "context.safetensors")
  paths = [str(FOLDER / name) for name in files]
  env = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")}
  command = [sys.executable, "-c", _REFUSE + _WAYS[way], *paths]
  done = subprocess.run(command, capture_output=True, text=True, env=env)
  assert done.returncode == 0, done.stderr
