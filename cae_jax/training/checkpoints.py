"""Saving and restoring a run: train state, data position, and the best validation loss so far."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from cae_jax.training.state import TrainState


class Checkpoints:
  """The last and the best checkpoint of a run, written in the background.

  Every process of a run takes part in each call. Only complete checkpoints are ever seen: Orbax
  writes to a temporary name and renames.
  """

  def __init__(self, folder: str | Path):
    policy = preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.LatestN(1),
        preservation_policy.BestN(get_metric_fn=_valid_loss, reverse=True, n=1),
      ]
    )
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policy, best_fn=_valid_loss, best_mode="min"
    )
    self._manager = ocp.CheckpointManager(Path(folder).absolute(), options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *exception) -> None:
    self._manager.wait_until_finished()
    self._manager.close()

  @property
  def last_step(self) -> int | None:
    """Step of the newest checkpoint; None in a fresh folder."""
    return self._manager.latest_step()

  @property
  def best_step(self) -> int | None:
    """Step of the checkpoint with the lowest validation loss."""
    return self._manager.best_step()

  def save(self, state: TrainState, data_state: Any, valid_loss: float) -> None:
    """Saves under the state's step and returns before the writing is done.

    Args:
      data_state: where the data iterator stands, JSON-able.
      valid_loss: inf where this step was not validated; such a checkpoint is never the best.
    """
    self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data_state)
      ),
      metrics={"valid_loss": valid_loss},
    )

  def restore(self, like: TrainState, step: int | None = None) -> tuple[TrainState, Any]:
    """Reads a checkpoint, the last one by default.

    Args:
      like: gives shapes, types and shardings; a run may be restored on other devices.
    Returns:
      (state, data_state).
    Raises:
      FileNotFoundError: there is none.
    """
    step = self.last_step if step is None else step
    if step is None:
      raise FileNotFoundError(f"no checkpoint in {self._manager.directory}")
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    items = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
      ),
    )
    return items.state, items.data


def _valid_loss(metrics) -> float:
  return metrics["valid_loss"]
