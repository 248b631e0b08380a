"""The training loop: steps, validation, checkpoints, progress, interruption."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from tqdm import tqdm

from cae_jax.errors import Error
from cae_jax.training import sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.interruption import Interruption
from cae_jax.training.losses import Batch, LossFn
from cae_jax.training.reporting import MetricsLog, say
from cae_jax.training.state import TrainState, create_state
from cae_jax.training.step import make_train_step
from cae_jax.training.workdir import locked

_NOT_SHOWN = ("grad_norm", "steps_per_s")  # by the progress bar; the loss's own figures are
ErrorsFn = Callable[[Any, Batch], dict[str, jax.Array]]


class Batches(Protocol):
  """An endless, resumable stream of this process's part of each batch: {"image": uint8 arrays}."""

  def __next__(self) -> Any: ...
  def get_state(self) -> Any: ...
  def set_state(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """How long to train, and how often to look up.

  Attributes:
    steps: length of the run.
    log_every, validate_every: in steps. A checkpoint goes with every validation.
    seed: of everything random in the steps.
    ema_decay: of the average of the parameters, which is what is validated.
    max_minutes: after which a call stops at its next log line, as if interrupted.
    max_skipped: so many skipped steps in a row, or as many as half the run, at a log line: the run
      has diverged.
  """

  steps: int
  log_every: int = 20
  validate_every: int = 500
  seed: int = 0
  ema_decay: float = 0.999
  max_minutes: float = math.inf
  max_skipped: int = 20


class DivergedError(Error):
  """Loss, gradient or parameters have not been finite for many steps in a row."""


@dataclasses.dataclass(frozen=True)
class Result:
  """How a call of `train` ended.

  Attributes:
    state: at the end of this call (not that of the best checkpoint).
    finished: all steps are done; else it was interrupted, and the same call resumes.
    step_seconds: median over this call's log lines; nan where it wrote none.
  """

  state: TrainState
  finished: bool
  step_seconds: float


def train(
  config: LoopConfig,
  *,
  params: Any,
  loss_fn: LossFn,
  errors_fn: ErrorsFn,
  optimizer: optax.GradientTransformation,
  batches: Batches,
  valid_batches: Sequence[Any],
  workdir: str | Path,
  mesh: Mesh,
  on_validation: Callable[[], None] = lambda: None,
  start: tuple[TrainState, Any] | None = None,
) -> Result:
  """Trains to `config.steps` or until interrupted, from where `workdir` stands.

  A resumed run continues exactly: same batches, same keys, and on the same devices the same
  parameters to the last bit. Ctrl-C and what else `Interruption` knows save a checkpoint and
  return; a second Ctrl-C raises KeyboardInterrupt.

  Args:
    params: initial parameters, used only where there is neither checkpoint nor `start`.
    loss_fn: see `cae_jax.training.losses`.
    errors_fn: (params, batch) -> figures for each image, {"loss": [B], ...}.
    batches: this process's part of each batch.
    workdir: is made if need be; no other run may be at work there.
    valid_batches: {"image", "mask"}, the same on every process.
    on_validation: called on the first process after each validation, e.g. to draw curves.
    start: a state and its place in the data to go on from (`portable.read_parts`) where there is
      no checkpoint yet, instead of `params` at step 0; without a place the data begin anew.
  Raises:
    DivergedError: see `LoopConfig.max_skipped`. The checkpoints so far are left.
    UsageError: another run is at work in the folder.
    CheckpointError: there are checkpoints, and none can be read.
  """
  with (
    locked(workdir),
    Interruption() as interruption,  # outside: a second signal must not end the last writing
    Checkpoints(Path(workdir) / "checkpoints") as checkpoints,
  ):
    fresh = start or (create_state(params, optimizer), None)
    state, data_state = _newest(checkpoints, fresh, mesh)
    if data_state is not None:
      batches.set_state(data_state)
    if int(state.step):
      say(f"resuming at step {int(state.step)} of {config.steps}")
    step_fn = make_train_step(
      loss_fn, optimizer, mesh, seed=config.seed, ema_decay=config.ema_decay
    )
    jit_errors_fn = jax.jit(errors_fn)
    first = int(state.step)
    steps = range(first + 1, config.steps + 1)
    window = _Window()
    end = time.monotonic() + 60 * config.max_minutes
    with MetricsLog(Path(workdir), first) as log, _progress(first, config.steps) as bar:
      for step in steps:
        state, figures = step_fn(state, sharding.to_global(next(batches), mesh))
        window.add(figures)
        bar.update()
        final = step == config.steps
        log_now = final or step % config.log_every == 0
        validate_now = final or step % config.validate_every == 0
        if log_now:
          means = window.close()
          log.write(step, "train", means)
          bar.set_postfix({k: f"{v:.4g}" for k, v in means.items() if k not in _NOT_SHOWN})
          if window.skipped_in_a_row >= min(config.max_skipped, max(config.steps // 2, 1)):
            raise DivergedError(_advice(step, window.skipped_in_a_row, checkpoints))
        # Steps are queued ahead of the device; a log line waits for them.
        interruption.requested |= log_now and time.monotonic() > end
        stop_now = interruption.agreed(log_now)
        valid_loss = None
        if validate_now:
          means = validate(jit_errors_fn, state.ema_params, valid_batches)
          valid_loss = means["loss"]
          log.write(step, "valid", {**means, "skipped": int(state.skipped)})
          if jax.process_index() == 0:
            on_validation()
        if validate_now or stop_now:
          checkpoints.save(state, batches.get_state(), valid_loss)
          window.restart_clock()
        if stop_now:
          break
  return Result(state, int(state.step) >= config.steps, window.step_seconds)


def _newest(checkpoints: Checkpoints, start: tuple[TrainState, Any], mesh: Mesh):
  """(state on the devices of the mesh, place in the data): the last checkpoint's, or `start`."""
  state, data_state = start
  state = jax.device_put(state, sharding.replicated(mesh))
  return (state, data_state) if checkpoints.last_step is None else checkpoints.restore(state)


def validate(errors_fn: ErrorsFn, params: Any, batches: Sequence[Any]) -> dict[str, float]:
  """Takes means over images of what `errors_fn` measures; rows with mask 0 are padding."""
  sums: dict[str, float] = {}
  images = 0.0
  for batch in batches:
    for name, values in errors_fn(params, {"image": batch["image"]}).items():
      sums[name] = sums.get(name, 0.0) + float(np.asarray(values, np.float64) @ batch["mask"])
    images += float(batch["mask"].sum())
  return {name: total / images for name, total in sums.items()}


def _advice(step: int, skipped: int, checkpoints: Checkpoints) -> str:
  best = checkpoints.best_step
  return (
    f"the run has diverged: loss, gradient or parameters were not finite in the last {skipped} "
    f"steps up to step {step}; start again with a lower learning rate in another workdir"
    + ("" if best is None else f", or export the best checkpoint, of step {best} (--export_only)")
  )


def _progress(start: int, steps: int) -> tqdm:
  return tqdm(
    total=steps,
    initial=start,
    unit="step",
    disable=jax.process_index() > 0,
    mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds; a log file is no live display
  )


class _Window:
  """The figures of the steps since the last log line, fetched from the device only there."""

  def __init__(self):
    self.skipped_in_a_row = 0  # up to the last log line
    self._figures: list[dict[str, jax.Array]] = []
    self._seconds: list[float] = []
    self.restart_clock()

  def add(self, figures: dict[str, jax.Array]) -> None:
    self._figures.append(figures)

  def restart_clock(self) -> None:
    """Leaves out of the step time what is not a step."""
    self._clock, self._timed_from = time.perf_counter(), len(self._figures)

  def close(self) -> dict[str, float]:
    """Takes means over the window; skipped steps do not count, unless all were skipped."""
    fetched = jax.device_get(self._figures)
    seconds = (time.perf_counter() - self._clock) / (len(fetched) - self._timed_from)
    self._seconds.append(seconds)
    self._figures = []
    self.restart_clock()
    for figures in fetched:
      self.skipped_in_a_row = self.skipped_in_a_row + 1 if figures["skipped"] else 0
    kept = [figures for figures in fetched if not figures["skipped"]] or fetched
    names = [name for name in fetched[0] if name != "skipped"]
    means = {name: float(np.mean([figures[name] for figures in kept])) for name in names}
    return {**means, "steps_per_s": 1 / seconds}

  @property
  def step_seconds(self) -> float:
    return float(np.median(self._seconds)) if self._seconds else math.nan
