"""Weights without what only encoding and training need: earlier generations, for their files."""

import dataclasses

from cae_jax.weights import Weights, WeightsError

# Of the model `context`; the networks of its entropy model are in the tables, as integers.
_DECODING = ("synthesis", "log_gain", "log_step", "spread")


def decoding_part(weights: Weights) -> Weights:
  """Returns weights that decode the same files, for half of the room, and do nothing else.

  Raises:
    WeightsError: they are of another model than `context`.
  """
  if weights.config["model"] != "context":
    raise WeightsError(f"{weights.name!r}: expected weights of the model context")
  params = {name: weights.params[name] for name in _DECODING}
  return dataclasses.replace(weights, params=params, whole_hash=weights.hash().hex())
