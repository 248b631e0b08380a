"""Nested arrays with what they say of themselves, as safetensors files."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from cae_jax.atomic import replace_atomically
from cae_jax.errors import Error

_HASH_BYTES = 8


class WeightsError(Error, ValueError):
  """A weights file that is missing, damaged, or of another kind."""


def write_file(
  path: str | os.PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
  """Writes one file; an older file of that name is replaced at the end.

  Args:
    path: of the file.
    arrays: nested dictionaries of arrays.
    metadata: "format" among it.
  """
  with replace_atomically(path) as temporary:
    # save_file would make it private
    temporary.write_bytes(save(flat_arrays(arrays), dict(metadata)))


def read_file(path: str | os.PathLike, kind: str, file_format: str) -> tuple[dict, dict[str, str]]:
  """Reads a file of `write_file`: nested arrays and metadata.

  Args:
    path: of the file.
    kind: of what is expected, for errors.
    file_format: that the metadata have to name.
  Raises:
    WeightsError: no such file, or not one of this kind.
  """
  metadata = read_metadata(path, kind)
  if metadata.get("format") != file_format:
    found = metadata.get("format", "no format entry")
    raise WeightsError(f"{path}: expected {file_format!r}, got {found!r}")
  with _readable(path, kind):
    arrays = load_file(path)
  with entries_of(path, kind):
    return _nested(arrays), metadata


def read_metadata(path: str | os.PathLike, kind: str = "weights") -> dict[str, str]:
  """Reads what a file says of itself, "name" and "hash" among it, without its arrays.

  Args:
    path: of the file.
    kind: of what is expected, for errors.
  Raises:
    WeightsError: no such file, or no safetensors file.
  """
  with _readable(path, kind), safe_open(path, framework="numpy") as file:
    return file.metadata() or {}


@contextlib.contextmanager
def _readable(path: str | os.PathLike, kind: str) -> Iterator[None]:
  """Makes what safetensors raises of a file a WeightsError that names it."""
  if not os.path.isfile(path):
    raise WeightsError(f"{path}: no such {kind} file; expected a .safetensors of cae_jax")
  try:
    yield
  except (SafetensorError, OSError, AttributeError, TypeError) as error:  # types NumPy lacks
    raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error


@contextlib.contextmanager
def entries_of(path: str | os.PathLike, kind: str) -> Iterator[None]:
  """Makes a WeightsError that names the file of entries that are missing or make no sense."""
  try:
    yield
  except (KeyError, TypeError, ValueError) as error:
    raise WeightsError(f"{path}: a damaged {kind} file ({error}); get the file again") from error


def check_hash(path: str | os.PathLike, found: bytes, said: str | None) -> None:
  """Raises WeightsError unless the content of a file has the hash that it says."""
  if found.hex() != said:
    raise WeightsError(f"{path}: the content does not match its hash; get the file again")


def hash_of(config: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
  """Returns 8 bytes of SHA-256 over a configuration and nested arrays."""
  digest = hashlib.sha256(as_json(config).encode())
  for key, array in sorted(flat_arrays(arrays).items()):
    digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.digest()[:_HASH_BYTES]


def as_json(value: Mapping[str, Any]) -> str:
  """Writes a dictionary as one text, the same for equal ones."""
  return json.dumps(value, sort_keys=True)


def flat_arrays(nested: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns the arrays of nested dictionaries, by their keys joined by slashes.

  They lie as they look: safetensors would write what is behind a view in the order of memory.
  """
  return {key: np.asarray(array, order="C") for key, array in _flat(nested)}


def in_numpy(nested: Mapping[str, Any]) -> dict[str, Any]:
  """Returns nested dictionaries of arrays with arrays of NumPy."""
  inner = lambda value: in_numpy(value) if isinstance(value, Mapping) else np.asarray(value)
  return {key: inner(value) for key, value in nested.items()}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  # Flax has the like, and brings JAX with it: weights are read where there is none in use.
  for key, value in nested.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{key}/")
    else:
      yield f"{prefix}{key}", value


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Inverts `_flat`; raises ValueError if an array has a place below another one."""
  nested: dict[str, Any] = {}
  for path, value in flat.items():
    *parents, key = path.split("/")
    at = nested
    for parent in parents:
      at = at.setdefault(parent, {})
      if not isinstance(at, dict):
        raise ValueError(f"the array {path!r} below another one")
    at[key] = value
  return nested
