"""The commands as users start them: compress in one process, decompress in another."""

import importlib.metadata
import os
import subprocess
import sys

import numpy as np
import pytest

from cae_jax.images.files import read_image, write_image
from cae_jax.weights import save_weights
from tests.integration.conftest import environment
from tests.models import context_codec, context_weights, photo


def _environment(folder):
  """Without JAX's own cache, that of the command is used."""
  given = environment()
  del given["JAX_COMPILATION_CACHE_DIR"]
  return {**given, "CAE_JAX_CACHE_DIR": str(folder / "cache")}


def _python(folder, *arguments):
  command = [sys.executable, *map(str, arguments)]
  return subprocess.run(command, env=_environment(folder), capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("commands")
  write_image(folder / "in.png", photo(100, 130))
  save_weights(folder / "tiny.safetensors", context_weights())
  weights = f"--weights={folder / 'tiny.safetensors'}"
  done = _python(
    folder, "-m", "experiments.compress", folder / "in.png", folder / "a.cae", "--bpp=0.4", weights
  )
  assert done.returncode == 0, done.stderr
  assert done.stderr == ""
  assert "a.cae: " in done.stdout
  return folder


def test_another_process_decodes_the_same_picture(folder):
  done = _python(
    folder,
    "-m",
    "experiments.decompress",
    folder / "a.cae",
    folder / "out.png",
    f"--weights={folder / 'tiny.safetensors'}",
  )
  assert done.returncode == 0, done.stderr
  assert done.stderr == ""
  data = (folder / "a.cae").read_bytes()
  assert 0.99 * 0.4 <= 8 * len(data) / (100 * 130) <= 0.4
  decoded = read_image(folder / "out.png").pixels
  assert np.abs(decoded.astype(int) - context_codec().decompress(data)).max() <= 1


def test_compiled_programs_are_kept(folder):
  """Those of effort 1, of other models, and on accelerators; there are none for all the rest."""
  programs = lambda: [path.name for path in (folder / "cache").glob("*/*")]
  assert programs() == []
  script = "from cae_jax import compile_cache; compile_cache.enable(); import jax\n"
  script += "jax.jit(lambda x: x + 1)(1)"
  done = _python(folder, "-c", script)
  assert done.returncode == 0, done.stderr
  assert any(name.startswith("jit__lambda") for name in programs())


def test_info_and_import_are_light(folder):
  script = (
    "import sys, cae_jax; from cae_jax import cli\n"
    f"status = cli.main(['info', {str(folder / 'a.cae')!r}])\n"
    "assert status == 0 and callable(cae_jax.load)\n"
    "unused = {'jax', 'flax', 'scipy', 'tensorflow', 'cae_jax.processes', 'webbrowser'}\n"
    "assert not unused & set(sys.modules), unused & set(sys.modules)"
  )
  done = _python(folder, "-c", script)
  assert done.returncode == 0, done.stderr
  assert "130 x 100 RGB" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_pool_works_without_jax_and_is_told_to_spawn_for_it(folder):
  """Nothing hangs, whether the codec is inherited or sent."""
  script = (
    "import multiprocessing, sys, numpy as np, cae_jax\n"
    "codec = cae_jax.load(sys.argv[1])\n"
    "cae_jax.backend.require()\n"
    "def inherited(x): return codec.compress(x)\n"
    "def refined(x): return codec.compress(x, effort=1)\n"
    "image = np.zeros((16, 16, 3), np.uint8)\n"
    "data = codec.compress(image)\n"
    "expected = codec.decompress(data)\n"
    "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
    "  wait = lambda work, *given: pool.apply_async(work, given).get(timeout=60)\n"
    "  assert wait(inherited, image) == wait(codec.compress, image) == data\n"
    "  assert (wait(codec.decompress, data) == expected).all()\n"
    "  try: wait(refined, image)\n"
    "  except cae_jax.BackendError as error: print(error)\n"
  )
  done = _python(folder, "-c", script, folder / "tiny.safetensors")
  assert done.returncode == 0, done.stderr
  assert done.stdout.count("start processes with multiprocessing.get_context('spawn')") == 1


def test_a_device_that_is_not_there_is_one_line(folder):
  script = "import os, sys; os.environ['JAX_PLATFORMS'] = 'rocm'\n"
  script += "from cae_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
  files = folder / "in.png", folder / "c.cae"
  done = _python(folder, "-c", script, "compress", *files)
  assert done.returncode == 2
  assert done.stderr.startswith("error: JAX_PLATFORMS=rocm: JAX finds no such device (")
  assert done.stderr.count("\n") == 1


def test_bad_input_is_one_line_and_status_2(folder):
  done = _python(folder, "-m", "experiments.compress", folder / "a.cae", folder / "b.cae")
  assert done.returncode == 2
  assert done.stdout == ""
  assert done.stderr.startswith(f"error: {folder / 'a.cae'}: not a readable image")
  assert done.stderr.count("\n") == 1


def test_the_installed_command():
  entry = importlib.metadata.entry_points(group="console_scripts", name="cae")
  if not entry:
    pytest.skip("the package was installed before it had the command; install it again")
  from cae_jax import cli

  assert entry["cae"].load() is cli.main


def test_decoding_imports_nothing_that_it_does_not_run(folder):
  """Each of these takes a tenth of a second or more of a cold start."""
  arguments = [folder / "a.cae", folder / "lean.png", f"--weights={folder / 'tiny.safetensors'}"]
  code = (
    "import sys; from cae_jax import cli\n"
    f"assert cli.main(['decompress', *{[*map(str, arguments)]}]) == 0\n"
    "tools = {'scipy', 'optax', 'orbax', 'grain', 'clu', 'matplotlib', 'pandas', 'tensorflow'}\n"
    "tools |= {'cae_jax.processes', 'cae_jax.evaluation', 'cae_jax.training', 'webbrowser'}\n"
    "assert not tools & set(sys.modules), tools & set(sys.modules)"
  )
  done = _python(folder, "-c", code)
  assert done.returncode == 0, done.stderr
