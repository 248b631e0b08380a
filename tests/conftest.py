"""Settings for all tests: bounded property tests, data sets and compiled programs in temporary
folders.
"""

import atexit
import ctypes
import gc
import importlib.metadata
import os
import shutil
import sys
import tempfile

import pytest
from hypothesis import settings

# Begun first, so that at the end of a run there are short ones for both processes.
_LONGEST = ("test_site", "test_visit", "test_notebooks", "test_image_codec", "test_growth")

settings.register_profile("default", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("default")


def _compile_hastily_and_once():
  """Sets what JAX reads when it is imported, which the other conftest files already do."""
  haste = "--xla_backend_optimization_level=0"
  if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones do not know the flag
    haste += " --xla_cpu_use_fusion_emitters=false"
    # Else programs are cut into parts for several threads, which is more work in all.
    haste += " --xla_cpu_parallel_codegen_split_count=1"
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {haste}"
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    folder = tempfile.mkdtemp(prefix="cae_jax_tests_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


if "PYTEST_XDIST_WORKER" not in os.environ:  # a process of pytest-xdist has them from the first
  _compile_hastily_and_once()


def pytest_configure(config):
  """Keeps the order of files, which pytest-xdist would sort by their numbers of tests."""
  config.option.loadscopereorder = False


def pytest_collection_finish():
  """Python looks for garbage after 20,000 more objects, not 700: tracing makes millions.

  Not by `gc.freeze`: Hypothesis looks for the referrers of what it manages among the rest.
  """
  gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(items):
  """Puts the longest files first."""
  first = {name: number for number, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: first.get(item.path.stem, len(first)))


@pytest.fixture(scope="session", autouse=True)
def _own_data_dir(tmp_path_factory):
  """No test reads or writes the user's prepared data sets."""
  os.environ["CAE_JAX_DATA_DIR"] = str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module", autouse=True)
def _programs_are_let_go():
  """Compiled programs take most of the memory; the next module finds its own on disk."""
  yield
  if "jax" in sys.modules:
    sys.modules["jax"].clear_caches()
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
      ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory: gigabytes after many programs
