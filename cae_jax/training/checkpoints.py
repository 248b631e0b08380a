"""Saving and restoring a run: train state, data position, and the best validation loss so far."""

import contextlib
import functools
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from cae_jax.atomic import replace_atomically
from cae_jax.errors import Error
from cae_jax.training import sharding
from cae_jax.training.reporting import say
from cae_jax.training.state import TrainState

# Where checkpoints go before they are deleted, by a rename: a run that is killed meanwhile leaves
# no half of one among those that can be read.
_DELETED = "deleted"


class CheckpointError(Error):
  """A checkpoint cannot be written, none of a run can be read, or none is worth it."""


class Checkpoints:
  """The last two checkpoints of a run and the best, written in the background.

  Every process of a run takes part in each call. Only complete checkpoints are ever seen: Orbax
  writes to a temporary name and renames. One that was damaged since then is passed over for the
  next, with a word, and renamed to STEP.damaged.
  """

  def __init__(self, folder: str | Path):
    self._folder = Path(folder).absolute()
    policy = preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.LatestN(2),
        preservation_policy.BestN(get_metric_fn=_rank, reverse=True, n=1),
      ]
    )
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policy, best_fn=_rank, best_mode="min", todelete_subdir=_DELETED
    )
    # Orbax would fail at the first metrics that it cannot read.
    sharding.on_first_process(lambda: _mend_metrics(self._folder))
    self._delete()
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *exception) -> None:
    with self._writing():
      self._manager.wait_until_finished()
      self._manager.close()
    self._delete()

  @property
  def last_step(self) -> int | None:
    """Step of the newest checkpoint; None in a fresh folder."""
    return self._manager.latest_step()

  @property
  def best_step(self) -> int | None:
    """Step of the lowest validation loss; where none is known, of the newest without validation.

    None where there is neither: every validation was NaN or infinite.
    """
    return next(iter(self._steps_by_loss()), None)

  def save(self, state: TrainState, data_state: Any, valid_loss: float | None) -> None:
    """Saves under the state's step and returns before the writing is done.

    Args:
      data_state: where the data iterator stands, JSON-able.
      valid_loss: None where this step was not validated. Such a checkpoint is never better than a
        validated one, and one whose loss is not finite is the worst.
    Raises:
      CheckpointError: this one, or the one before, cannot be written.
    """
    if valid_loss is None:
      valid_loss = math.inf
    elif not math.isfinite(valid_loss):
      valid_loss = math.nan
    with self._writing():
      self._manager.wait_until_finished()  # as Orbax would
      self._delete()
      self._manager.save(
        int(state.step),
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data_state)
        ),
        metrics={"valid_loss": valid_loss},
      )

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # what a full disk raises depends on the file that it hit
      raise CheckpointError(
        f"{self._folder}: a checkpoint cannot be written ({_reason(error)}); once it can, the same "
        "command goes on from the last one"
      ) from error

  def _delete(self) -> None:
    """Deletes what Orbax has set aside for it."""
    if jax.process_index() == 0:
      shutil.rmtree(self._folder / _DELETED, ignore_errors=True)

  def restore(self, like: TrainState) -> tuple[TrainState, Any]:
    """Reads the last checkpoint.

    Args:
      like: gives shapes, types and shardings; a run may be restored on other devices.
    Returns:
      (state, data_state).
    Raises:
      FileNotFoundError: there is none.
      CheckpointError: none can be read.
    """
    return self._restore_first(self._steps(), like)

  def restore_best(self, like: TrainState) -> tuple[TrainState, Any]:
    """Reads the checkpoint of `best_step`, see `restore`.

    Raises:
      CheckpointError: also where there is no `best_step`.
    """
    steps = self._steps_by_loss()
    if self._steps() and not steps:
      raise CheckpointError(
        f"{self._folder}: no validation loss of this run was finite; train it in another folder "
        "with a lower learning rate"
      )
    return self._restore_first(steps, like)

  def _steps(self) -> list[int]:
    """Newest first."""
    self._manager.wait_until_finished()
    return sorted(self._manager.all_steps(), reverse=True)

  def _steps_by_loss(self) -> list[int]:
    """Best first; without those whose loss is not finite."""
    ranks = {step: _rank(self._manager.metrics(step)) for step in self._steps()}
    return sorted((step for step in ranks if ranks[step] < math.inf), key=ranks.__getitem__)

  def _restore_first(self, steps: Sequence[int], like: TrainState) -> tuple[TrainState, Any]:
    """Reads the first of these checkpoints that can be read, and sets aside those before it."""
    if not steps:
      raise FileNotFoundError(f"no checkpoint in {self._folder}")
    failures: dict[int, str] = {}
    for step in steps:
      items, failure = self._read(step, like)
      if not sharding.any_process(items is None):
        sharding.on_first_process(lambda: self._set_aside(failures))
        if failures:
          self._manager.reload()
        return items.state, items.data
      failures[step] = failure or "another process could not read it"
    reasons = "; ".join(f"{self._folder / str(step)}: {why}" for step, why in failures.items())
    raise CheckpointError(f"no checkpoint can be read: {reasons}")

  def _read(self, step: int, like: TrainState) -> tuple[Any, str]:
    """(what the checkpoint holds or None, why it could not be read)."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore())
    _hide_leftovers()
    try:
      return self._manager.restore(step, args=args), ""
    except Exception as error:  # what damage raises depends on the file that it hit
      return None, _reason(error)

  def _set_aside(self, failures: dict[int, str]) -> None:
    for step, why in failures.items():
      path = self._folder / str(step)
      damaged = path.with_name(f"{step}.damaged")
      shutil.rmtree(damaged, ignore_errors=True)  # of an earlier accident
      path.rename(damaged)
      say(f"{path} cannot be read ({why}); it is now called {damaged.name}")


def _rank(metrics) -> float:
  """Orders checkpoints: finite losses, then what was not validated (inf), then NaN."""
  loss = metrics["valid_loss"]
  return math.inf if math.isnan(loss) else min(loss, sys.float_info.max)


def _mend_metrics(folder: Path) -> None:
  """Lets a checkpoint whose validation loss cannot be read count as not validated."""
  for checkpoint in (path for path in folder.glob("*") if path.name.isdecimal()):
    path = checkpoint / "metrics" / "metrics"
    try:
      json.loads(path.read_bytes())["valid_loss"]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
      path.parent.mkdir(exist_ok=True)
      with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps({"valid_loss": math.inf}))
      say(f"{path} cannot be read ({_reason(error)}); the checkpoint counts as not validated")


@functools.cache
def _hide_leftovers() -> None:
  """Hides from now on the reads that Orbax leaves when one fails.

  Each would print a traceback, when its data come or when it is collected.
  """
  show = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
    of_orbax = code is not None and Path(ocp.__file__).parent in Path(code.co_filename).parents
    if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
      show(unraisable)

  sys.unraisablehook = hook


def _reason(error: Exception) -> str:
  """Its beginning: TensorStore's messages take a page."""
  return textwrap.shorten(str(error), 200, placeholder="...") or type(error).__name__
