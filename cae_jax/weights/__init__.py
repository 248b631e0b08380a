"""Trained weights as safetensors files: parameters, coding tables, configuration, model card."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from cae_jax.errors import Error
from cae_jax.images.files import replace_atomically

FORMAT = "cae_jax weights 1"
_HASH_BYTES = 8


class WeightsError(Error, ValueError):
  """A weights file that is missing, damaged, or of another kind."""


@dataclasses.dataclass(frozen=True)
class Weights:
  """All that a codec is made from.

  Attributes:
    name: the stable model id that files carry, at most 32 ASCII characters without spaces.
    config: JSON-able; "model" names the network, the rest are its settings.
    params: the network's parameters, nested dictionaries of arrays.
    tables: arrays that drive the coder, nested likewise: ranges, frequencies.
    card: JSON-able; where the weights come from (flags, steps, data, version).
  """

  name: str
  config: Mapping[str, Any]
  params: Mapping[str, Any]
  tables: Mapping[str, Any]
  card: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def hash(self) -> bytes:
    """Returns 8 bytes of SHA-256 over configuration, parameters and tables; not name and card."""
    digest = hashlib.sha256(_json(self.config).encode())
    for key, array in sorted(self._arrays().items()):
      digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()[:_HASH_BYTES]

  def table(self, name: str) -> Any:
    """Returns one of the tables.

    Raises:
      WeightsError: they have none of that name.
    """
    if name not in self.tables:
      found = ", ".join(self.tables) or "none"
      raise WeightsError(f"the weights {self.name!r} lack the table {name!r}; they have {found}")
    return self.tables[name]

  def _arrays(self) -> dict[str, np.ndarray]:
    flat = dict(_flat({"params": self.params, "tables": self.tables}))
    return {key: np.asarray(array) for key, array in flat.items()}


def save_weights(path: str | os.PathLike, weights: Weights) -> None:
  """Writes one safetensors file; an older file of that name is replaced at the end."""
  metadata = {
    "format": FORMAT,
    "name": weights.name,
    "config": _json(weights.config),
    "card": _json(weights.card),
    "hash": weights.hash().hex(),
  }
  with replace_atomically(path) as temporary:
    temporary.write_bytes(save(weights._arrays(), metadata))  # save_file would make it private


def load_weights(path: str | os.PathLike) -> Weights:
  """Reads a file of `save_weights`.

  Raises:
    WeightsError: no such file, not a weights file, or its content does not match its hash.
  """
  path = Path(path)
  if not path.is_file():
    raise WeightsError(f"{path}: no such weights file; expected a .safetensors of cae_jax")
  try:
    metadata = read_metadata(path)
    arrays = load_file(path)
  except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
    raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
  if metadata.get("format") != FORMAT:
    found = metadata.get("format", "no format entry")
    raise WeightsError(f"{path}: expected {FORMAT!r}, got {found!r}")
  nested = _nested(arrays)
  weights = Weights(
    name=metadata["name"],
    config=json.loads(metadata["config"]),
    params=nested.get("params", {}),
    tables=nested.get("tables", {}),
    card=json.loads(metadata["card"]),
  )
  if weights.hash().hex() != metadata["hash"]:
    raise WeightsError(f"{path}: the content does not match its hash; get the file again")
  return weights


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
  """Reads what a weights file says of itself, "name" and "hash" among it, without its arrays."""
  with safe_open(path, framework="numpy") as file:
    return file.metadata() or {}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields the arrays of nested dictionaries, by their keys joined by slashes.

  Flax has the like, and brings JAX with it: weights are read where there is none in use.
  """
  for key, value in nested.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{key}/")
    else:
      yield f"{prefix}{key}", value


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Inverts `_flat`."""
  nested: dict[str, Any] = {}
  for path, value in flat.items():
    *parents, key = path.split("/")
    functools.reduce(lambda at, parent: at.setdefault(parent, {}), parents, nested)[key] = value
  return nested


def _json(value: Mapping[str, Any]) -> str:
  return json.dumps(value, sort_keys=True)
