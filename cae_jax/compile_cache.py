"""Compiled programs kept on disk from run to run, for programs that start often."""

import hashlib
import os
import platform
from pathlib import Path

import platformdirs

from cae_jax import backend

ENVIRONMENT = "CAE_JAX_CACHE_DIR"


def enable() -> None:
  """Lets JAX keep what it compiles in the user's cache folder.

  `CAE_JAX_CACHE_DIR` names another folder, or switches this off if it is empty. A cache that JAX
  has been given already, by `JAX_COMPILATION_CACHE_DIR` for instance, stays.
  """
  if _given():  # by an earlier call, too
    return
  path = folder()
  if path is None:
    return
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError:
    return  # it works without, only slower
  _configure("jax_compilation_cache_dir", str(path))
  _configure("jax_persistent_cache_min_compile_time_secs", 0)
  _configure("jax_persistent_cache_min_entry_size_bytes", -1)


def _given() -> bool:
  """Whether JAX has a cache already."""
  jax = backend.imported_jax()
  if jax is not None:
    return jax.config.jax_compilation_cache_dir is not None
  return "JAX_COMPILATION_CACHE_DIR" in os.environ


def _configure(name: str, value: str | int) -> None:
  """Sets an option of JAX; does not import it, since decoders may do without."""
  jax = backend.imported_jax()
  if jax is not None:
    jax.config.update(name, value)
  else:
    os.environ[name.upper()] = str(value)


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
