"""Where an endless stream of batches stands, as JSON: the next batch, and what all depend on."""

from collections.abc import Mapping
from typing import Any

from cae_jax.errors import UsageError


def to_state(next_batch: int, config: Mapping[str, Any]) -> dict[str, Any]:
  """Makes the state of a stream; the config, JSON-able, is all that its batches depend on."""
  return {"next_batch": next_batch, "config": dict(config)}


def next_batch(state: Mapping[str, Any], config: Mapping[str, Any]) -> int:
  """Reads the number of the next batch; raises as `check`."""
  check(state, config)
  return int(state["next_batch"])


def check(state: Mapping[str, Any], config: Mapping[str, Any]) -> None:
  """Raises UsageError if a state is of other data, another seed or other sizes than the config."""
  different = differences(state, config)
  if different:
    raise UsageError(
      f"the saved position is of other patches: {', '.join(different)}; use the same settings, "
      "images and number of devices, or start anew"
    )


def differences(state: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
  """Says in what the batches of a state are others than these; then it is of no use here."""
  theirs = state.get("config", {})
  return [
    f"{key} was {theirs.get(key)}, is {mine}"
    for key, mine in config.items()
    if theirs.get(key) != mine
  ]
