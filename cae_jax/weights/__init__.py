"""Trained weights as safetensors files: parameters, coding tables, configuration, model card."""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

from cae_jax.weights import files
from cae_jax.weights.files import WeightsError, read_metadata

__all__ = ["FORMAT", "Weights", "WeightsError", "load_weights", "read_metadata", "save_weights"]

FORMAT = "cae_jax weights 1"


@dataclasses.dataclass(frozen=True)
class Weights:
  """All that a codec is made from.

  Attributes:
    name: the stable model id that files carry, at most 32 ASCII characters without spaces.
    config: JSON-able; "model" names the network, the rest are its settings.
    params: the network's parameters, nested dictionaries of arrays.
    tables: arrays that drive the coder, nested likewise: ranges, frequencies.
    card: JSON-able; where the weights come from (flags, steps, data, version).
    whole_hash: of the weights that these are the decoding part of, in hexadecimal digits; empty if
      they are whole (`parts.decoding_part`).
  """

  name: str
  config: Mapping[str, Any]
  params: Mapping[str, Any]
  tables: Mapping[str, Any]
  card: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  whole_hash: str = ""

  def hash(self) -> bytes:
    """Returns 8 bytes of SHA-256 over configuration, parameters and tables; not name and card.

    It is that of the whole where these are a part.
    """
    return bytes.fromhex(self.whole_hash) or self._content_hash

  @functools.cached_property
  def _content_hash(self) -> bytes:
    return files.hash_of(self.config, self._arrays())

  def check_whole(self) -> None:
    """Raises WeightsError if these can decode only."""
    if self.whole_hash:
      raise WeightsError(
        f"the weights {self.name!r} are of an earlier version and can only decode; use newer ones"
      )

  def in_numpy(self) -> "Weights":
    """Returns these weights with arrays of NumPy only."""
    params, tables = map(files.in_numpy, (self.params, self.tables))
    return dataclasses.replace(self, params=params, tables=tables)

  def table(self, name: str) -> Any:
    """Returns one of the tables.

    Raises:
      WeightsError: they have none of that name.
    """
    if name not in self.tables:
      found = ", ".join(self.tables) or "none"
      raise WeightsError(f"the weights {self.name!r} lack the table {name!r}; they have {found}")
    return self.tables[name]

  def _arrays(self) -> dict[str, Any]:
    return {"params": self.params, "tables": self.tables}


def save_weights(path: str | os.PathLike, weights: Weights) -> None:
  """Writes one safetensors file; an older file of that name is replaced at the end."""
  metadata = {
    "format": FORMAT,
    "name": weights.name,
    "config": files.as_json(weights.config),
    "card": files.as_json(weights.card),
    "hash": weights.hash().hex(),
  }
  if weights.whole_hash:
    metadata["part_hash"] = weights._content_hash.hex()
  files.write_file(path, weights._arrays(), metadata)


def load_weights(path: str | os.PathLike) -> Weights:
  """Reads a file of `save_weights`.

  Raises:
    WeightsError: no such file, not a weights file, or its content does not match its hash.
  """
  arrays, metadata = files.read_file(path, "weights", FORMAT)
  with files.entries_of(path, "weights"):
    weights = Weights(
      name=metadata["name"],
      config=json.loads(metadata["config"]),
      params=arrays.get("params", {}),
      tables=arrays.get("tables", {}),
      card=json.loads(metadata["card"]),
      whole_hash=metadata["hash"] if "part_hash" in metadata else "",
    )
  files.check_hash(path, weights._content_hash, metadata.get("part_hash", metadata.get("hash")))
  return weights
