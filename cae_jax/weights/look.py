"""Looks: what is added to a synthesis' parameters to make its pictures look more real."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cae_jax.weights import Weights, files
from cae_jax.weights.files import WeightsError

FORMAT = "cae_jax look 1"
SUFFIX = ".look.safetensors"


@dataclasses.dataclass(frozen=True)
class Look:
  """A learned difference of the parameters of some weights, added when a file is decoded.

  Attributes:
    weights_name, weights_hash: of the weights that it belongs to; the hash in hexadecimal digits.
    difference: nested dictionaries of arrays, those of the weights' parameters that it changes.
    fade: two qualities; up to the first a look counts in full, from the second on not at all.
    card: JSON-able; where it comes from.
  """

  weights_name: str
  weights_hash: str
  difference: Mapping[str, Any]
  fade: tuple[float, float]
  card: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def hash(self) -> bytes:
    """Returns 8 bytes of SHA-256 over all but the weights' name and the card."""
    return files.hash_of({"fade": self.fade, "weights": self.weights_hash}, self.difference)

  def strength(self, amount: float, quality: float) -> float:
    """Returns how much of the difference is added for a look of 0 to 1 at a quality of 0 to 175.

    Where the rate is high, what was coded says enough: a look fades there.
    """
    full, gone = self.fade
    return amount * min(max((gone - quality) / (gone - full), 0.0), 1.0)


def save_look(path: str | os.PathLike, look: Look) -> None:
  """Writes one safetensors file; an older file of that name is replaced at the end."""
  metadata = {
    "format": FORMAT,
    "name": look.weights_name,
    "weights": look.weights_hash,
    "fade": json.dumps(look.fade),
    "card": files.as_json(look.card),
    "hash": look.hash().hex(),
  }
  files.write_file(path, look.difference, metadata)


def load_look(path: str | os.PathLike) -> Look:
  """Reads a file of `save_look`.

  Raises:
    WeightsError: no such file, not a look, or its content does not match its hash.
  """
  difference, metadata = files.read_file(path, "look", FORMAT)
  with files.entries_of(path, "look"):
    full, gone = json.loads(metadata["fade"])
    card = json.loads(metadata["card"])
    look = Look(metadata["name"], metadata["weights"], difference, (full, gone), card)
  files.check_hash(path, look.hash(), metadata.get("hash"))
  return look


def look_file(weights_file: str | os.PathLike) -> Path:
  """Returns where the look of a weights file is, if it has one: beside it."""
  path = Path(weights_file)
  return path.with_name(f"{path.name.removesuffix('.safetensors')}{SUFFIX}")


def look_of(weights_file: str | os.PathLike) -> Look | None:
  """Loads the look that lies beside a weights file; None if there is none.

  Raises:
    WeightsError: it is damaged.
  """
  path = look_file(weights_file)
  return load_look(path) if path.is_file() else None


def check_look(look: Look, weights: Weights, weights_hash: str) -> None:
  """Raises WeightsError unless a look belongs to these weights, of this hash."""
  if look.weights_hash != weights_hash:
    raise WeightsError(
      f"the look beside the weights {weights.name!r} ({weights_hash}) belongs to "
      f"{look.weights_name!r} ({look.weights_hash}); move its {SUFFIX} away, or get the right one"
    )
  params = files.flat_arrays(weights.params)
  for name, array in files.flat_arrays(look.difference).items():
    expected = params[name].shape if name in params else "nothing"
    if array.shape != expected:
      raise WeightsError(f"the look has {name} of shape {array.shape}, expected {expected}")
