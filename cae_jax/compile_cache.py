"""Compiled programs kept on disk from run to run, for programs that start often."""

import hashlib
import os
import platform
from pathlib import Path

import platformdirs

ENVIRONMENT = "CAE_JAX_CACHE_DIR"


def enable() -> None:
  """Lets JAX keep what it compiles in the user's cache folder.

  `CAE_JAX_CACHE_DIR` names another folder, or switches this off if it is empty. A cache that JAX
  has been given already, by `JAX_COMPILATION_CACHE_DIR` for instance, stays.
  """
  import jax

  path = folder()
  if path is None or jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
    return
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError:
    return  # it works without, only slower
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def folder() -> Path | None:
  """Returns the folder of this machine's programs; None if they are not kept."""
  root = os.environ.get(ENVIRONMENT, platformdirs.user_cache_dir("cae_jax", appauthor=False))
  return Path(os.path.expanduser(root)) / _machine() if root else None


def _machine() -> str:
  """Names the processor: JAX's keys do not, and programs for another one may crash."""
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
  name = f"{platform.machine()} {platform.processor()} {features}"
  return hashlib.sha256(name.encode()).hexdigest()[:12]
