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

from cae_jax.training import sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.interruption import Interruption
from cae_jax.training.losses import Batch, LossFn
from cae_jax.training.reporting import MetricsLog
from cae_jax.training.state import TrainState, create_state
from cae_jax.training.step import make_train_step

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
  """

  steps: int
  log_every: int = 20
  validate_every: int = 500
  seed: int = 0
  ema_decay: float = 0.999
  max_minutes: float = math.inf


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
  parameters to the last bit. SIGTERM and Ctrl-C save a checkpoint and return; a second Ctrl-C
  raises KeyboardInterrupt.

  Args:
    params: initial parameters, used only where there is neither checkpoint nor `start`.
    loss_fn: see `cae_jax.training.losses`.
    errors_fn: (params, batch) -> figures for each image, {"loss": [B], ...}.
    batches: this process's part of each batch.
    valid_batches: {"image", "mask"}, the same on every process.
    on_validation: called on the first process after each validation, e.g. to draw curves.
    start: a state and its place in the data to go on from (`portable.read_parts`) where there is
      no checkpoint yet, instead of `params` at step 0; without a place the data begin anew.
  """
  with Checkpoints(Path(workdir) / "checkpoints") as checkpoints, Interruption() as interruption:
    fresh = start or (create_state(params, optimizer), None)
    state, data_state = _newest(checkpoints, fresh, mesh)
    if data_state is not None:
      batches.set_state(data_state)
    if int(state.step):
      tqdm.write(f"resuming at step {int(state.step)} of {config.steps}")
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
          bar.set_postfix(loss=f"{means['loss']:.3g}", psnr_db=f"{means['psnr_db']:.2f}")
        # Steps are queued ahead of the device; a log line waits for them.
        interruption.requested |= log_now and time.monotonic() > end
        stop_now = interruption.agreed(log_now)
        valid_loss = math.inf
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
  """Means over images of what `errors_fn` measures; rows with mask 0 are padding."""
  sums: dict[str, float] = {}
  images = 0.0
  for batch in batches:
    for name, values in errors_fn(params, {"image": batch["image"]}).items():
      sums[name] = sums.get(name, 0.0) + float(np.asarray(values, np.float64) @ batch["mask"])
    images += float(batch["mask"].sum())
  return {name: total / images for name, total in sums.items()}


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
    self._figures: list[dict[str, jax.Array]] = []
    self._seconds: list[float] = []
    self.restart_clock()

  def add(self, figures: dict[str, jax.Array]) -> None:
    self._figures.append(figures)

  def restart_clock(self) -> None:
    """Leaves out of the step time what is not a step."""
    self._clock, self._timed_from = time.perf_counter(), len(self._figures)

  def close(self) -> dict[str, float]:
    """Means over the window; steps that were not finite do not count, if any was."""
    fetched = jax.device_get(self._figures)
    seconds = (time.perf_counter() - self._clock) / (len(fetched) - self._timed_from)
    self._seconds.append(seconds)
    self._figures = []
    self.restart_clock()
    kept = [f for f in fetched if np.isfinite([f["loss"], f["grad_norm"]]).all()] or fetched
    means = {name: float(np.mean([f[name] for f in kept])) for name in fetched[0]}
    return {**means, "steps_per_s": 1 / seconds}

  @property
  def step_seconds(self) -> float:
    return float(np.median(self._seconds)) if self._seconds else math.nan
