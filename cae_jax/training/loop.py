"""The training loop: steps, validation, checkpoints, progress, interruption."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from cae_jax.errors import Error
from cae_jax.training import sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.interruption import Interruption
from cae_jax.training.losses import ErrorsFn, LossFn
from cae_jax.training.reporting import MetricsLog, say
from cae_jax.training.state import Optimizer, TrainState, create_state
from cae_jax.training.step import StepFn, make_train_step
from cae_jax.training.workdir import locked

# By the progress bar; the loss's own figures are.
_NOT_SHOWN = ("grad_norm", "discriminator_grad_norm", "steps_per_s")


class Batches(Protocol):
  """An endless, resumable stream of this process's part of each batch: arrays by name."""

  def __next__(self) -> Any: ...
  def get_state(self) -> Any: ...
  def set_state(self, state: Any) -> None: ...


class Stepper(Protocol):
  """What does the steps of a run, some at a time, each the same whatever was cut before it."""

  def advance(
    self, state: TrainState, step: int, limit: int
  ) -> tuple[TrainState, Mapping[str, Any]]:
    """Does from one to `limit` steps after `step`; figures [n] each, or of one step []."""
    ...

  def finished(self, step: int) -> bool:
    """Tells whether the run is over after this step."""
    ...

  def get_state(self) -> Any: ...
  def set_state(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """How long to train, and how often to look up.

  Attributes:
    steps: length of the run; of a run by minutes (`run_steps`) only what a display may show.
    log_every, validate_every: in steps. A checkpoint goes with every validation.
    seed: of everything random in the steps.
    ema_decay: of the average of the parameters, which is what is validated.
    max_minutes: after which a call stops at its next log line, as if interrupted.
    max_skipped: so many skipped steps in a row, or as many as half the run, at a log line: the run
      has diverged.
    validate_start: validates before the first step, too: what a run that goes on from trained
      weights has to beat. No checkpoint goes with that.
  """

  steps: int
  log_every: int = 20
  validate_every: int = 500
  seed: int = 0
  ema_decay: float = 0.999
  max_minutes: float = math.inf
  max_skipped: int = 20
  validate_start: bool = False


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
  loss_fn: LossFn | Mapping[str, LossFn],
  errors_fn: ErrorsFn,
  optimizer: Optimizer,
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
    loss_fn: see `cae_jax.training.losses`; with several players, here and in `optimizer`, see
      `cae_jax.training.step`.
    errors_fn: (params, batch) -> figures for each image, {"loss": [B], ...}.
    batches: this process's part of each batch.
    workdir: is made if need be; no other run may be at work there.
    valid_batches: a batch's arrays and "mask", the same on every process.
    on_validation: called on the first process after each validation, e.g. to draw curves.
    start: a state and its place in the data to go on from (`portable.read_parts`) where there is
      no checkpoint yet, instead of `params` at step 0; without a place the data begin anew.
  Raises:
    DivergedError: see `LoopConfig.max_skipped`. The checkpoints so far are left.
    UsageError: another run is at work in the folder.
    CheckpointError: there are checkpoints, and none can be read.
  """
  step_fn = make_train_step(loss_fn, optimizer, mesh, seed=config.seed, ema_decay=config.ema_decay)
  return run_steps(
    config,
    _FedSteps(step_fn, batches, config.steps, mesh),
    start=start or (create_state(params, optimizer), None),
    errors_fn=jax.jit(errors_fn),
    valid_batches=valid_batches,
    workdir=workdir,
    mesh=mesh,
    on_validation=on_validation,
  )


def run_steps(
  config: LoopConfig,
  stepper: Stepper,
  *,
  start: tuple[TrainState, Any],
  errors_fn: ErrorsFn,
  valid_batches: Sequence[Any],
  workdir: str | Path,
  mesh: Mesh,
  on_validation: Callable[[], None] = lambda: None,
) -> Result:
  """Does steps until the run is over or interrupted, with all that goes with it; see `train`.

  Args:
    start: a state, and its place in the data or None; used only where there is no checkpoint.
    errors_fn: compiled.
  """
  with (
    locked(workdir),
    Interruption() as interruption,  # outside: a second signal must not end the last writing
    Checkpoints(Path(workdir) / "checkpoints") as checkpoints,
  ):
    state, data_state = _newest(checkpoints, start, mesh)
    if data_state is not None:
      stepper.set_state(data_state)
    if int(state.step):
      say(f"resuming at step {int(state.step)} of {config.steps}")
    first = step = int(state.step)
    window = _Window()
    end = time.monotonic() + 60 * config.max_minutes
    with MetricsLog(Path(workdir), first) as log, _progress(first, config.steps) as bar:

      def validate_and_log(state: TrainState, step: int) -> float:
        """Writes a line of what is measured, and returns the loss."""
        means = validate(errors_fn, state.ema_params, valid_batches)
        log.write(step, "valid", {**means, "skipped": int(state.skipped)})
        if jax.process_index() == 0:
          on_validation()
        return means["loss"]

      if config.validate_start and not step:
        validate_and_log(state, step)
      final = stepper.finished(step)
      while not final:
        limit = min(every - step % every for every in (config.log_every, config.validate_every))
        state, figures = stepper.advance(state, step, limit)
        done = window.add(figures)
        step += done
        bar.update(done)
        final = stepper.finished(step)
        log_now = final or step % config.log_every == 0
        validate_now = final or step % config.validate_every == 0
        if log_now:
          means = window.close()
          log.write(step, "train", means)
          bar.set_postfix(_shown(means), refresh=False)
          if window.skipped_in_a_row >= min(config.max_skipped, max(config.steps // 2, 1)):
            raise DivergedError(_advice(step, window.skipped_in_a_row, checkpoints))
        # Steps are queued ahead of the device; a log line waits for them.
        interruption.requested |= log_now and time.monotonic() > end
        stop_now = interruption.agreed(log_now)
        valid_loss = validate_and_log(state, step) if validate_now else None
        if validate_now or stop_now:
          checkpoints.save(state, stepper.get_state(), valid_loss)
          window.restart_clock()
        if stop_now:
          break
    return Result(state, final, window.step_seconds)


class _FedSteps:
  """Single steps, with batches that the host makes."""

  def __init__(self, step_fn: StepFn, batches: Batches, steps: int, mesh: Mesh):
    self._step_fn, self._batches, self._steps, self._mesh = step_fn, batches, steps, mesh

  def advance(self, state, step, limit):
    del step, limit
    return self._step_fn(state, sharding.to_global(next(self._batches), self._mesh))

  def finished(self, step):
    return step >= self._steps

  def get_state(self):
    return self._batches.get_state()

  def set_state(self, state):
    self._batches.set_state(state)


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
    inputs = {name: array for name, array in batch.items() if name != "mask"}
    for name, values in errors_fn(params, inputs).items():
      # Padding may have figures that are not finite.
      counted = np.where(batch["mask"] > 0, np.asarray(values, np.float64), 0)
      sums[name] = sums.get(name, 0.0) + float(counted.sum())
    images += float(batch["mask"].sum())
  return {name: total / images for name, total in sums.items()}


def _advice(step: int, skipped: int, checkpoints: Checkpoints) -> str:
  best = checkpoints.best_step
  return (
    f"the run has diverged: loss, gradient or parameters were not finite in the last {skipped} "
    f"steps up to step {step}; start again with a lower learning rate in another workdir"
    + ("" if best is None else f", or export the best checkpoint, of step {best} (--export_only)")
  )


def _shown(means: Mapping[str, float]) -> dict[str, str]:
  """The figures of a log line that stand by the progress bar."""
  return {name: f"{value:.4g}" for name, value in means.items() if name not in _NOT_SHOWN}


def _progress(start: int, steps: int) -> tqdm:
  return tqdm(
    total=steps,
    initial=start,
    unit="step",
    disable=jax.process_index() > 0,
    mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds; a log file is no live display
  )


class _Window:
  """The figures of the steps since the last log line, fetched from the device only there.

  The first steps of a call compile their program, so they are not timed.
  """

  def __init__(self):
    self.skipped_in_a_row = 0  # up to the last log line
    self._figures: list[Mapping[str, Any]] = []
    self._seconds: list[float] = []
    self._steps = 0
    self._compiled = False
    self.restart_clock()

  def add(self, figures: Mapping[str, Any]) -> int:
    """Adds the figures of one or several steps; returns how many."""
    self._figures.append(figures)
    steps = np.size(figures["loss"])
    self._steps += steps
    if not self._compiled:
      self._compiled = True
      jax.block_until_ready(figures)
      self.restart_clock()
    return steps

  def restart_clock(self) -> None:
    """Leaves out of the step time what is not a step."""
    self._clock, self._timed_from = time.perf_counter(), self._steps

  def close(self) -> dict[str, float]:
    """Takes means over the window; skipped steps do not count, unless all were skipped.

    The speed is left out where no step was timed.
    """
    fetched = jax.device_get(self._figures)
    timed, speed = self._steps - self._timed_from, {}
    if timed:
      seconds = (time.perf_counter() - self._clock) / timed
      self._seconds.append(seconds)
      speed = {"steps_per_s": 1 / seconds}
    self._figures, self._steps = [], 0
    self.restart_clock()
    columns = {name: np.concatenate([np.ravel(f[name]) for f in fetched]) for name in fetched[0]}
    skipped = columns.pop("skipped").astype(bool)
    for step_was_skipped in skipped.tolist():
      self.skipped_in_a_row = self.skipped_in_a_row + 1 if step_was_skipped else 0
    kept = ~skipped if not skipped.all() else skipped
    means = {name: float(values[kept].mean()) for name, values in columns.items()}
    return means | speed

  @property
  def step_seconds(self) -> float:
    return float(np.median(self._seconds)) if self._seconds else math.nan
