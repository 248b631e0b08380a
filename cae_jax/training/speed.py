"""How fast a device multiplies matrices and does the steps of a run."""

import concurrent.futures
import dataclasses
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax.models.macs import count_macs
from cae_jax.training import background
from cae_jax.training.losses import LossFn
from cae_jax.training.resident import Dispatch
from cae_jax.training.state import TrainState

# Of the best: a smaller batch that is nearly as fast gives more steps.
_FAST_ENOUGH = 0.9


def machine() -> dict[str, Any]:
  """Says what the figures are measured on, JSON-able."""
  device = jax.devices()[0]
  memory = device.memory_stats() or {}
  return {
    "device": device.device_kind,
    "devices": jax.device_count(),
    "device_bytes": memory.get("bytes_limit"),
    "cores": os.cpu_count(),
    "jax": jax.__version__,
    "python": platform.python_version(),
  }


def matrix_flops_per_s(dtype: Any, side: int, seconds: float = 1.0) -> float:
  """Measures products of square matrices of random numbers, in FLOP/s, at JAX's default precision.

  The best of a few timings.

  Args:
    dtype: of the matrices.
    side: their rows and columns.
    seconds: about how long to measure.
  """
  a, b = (jax.random.normal(jax.random.key(seed), (side, side), dtype) for seed in (0, 1))
  multiply = jax.jit(jnp.matmul)

  def timed(calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
      c = multiply(a, b)
    c.block_until_ready()
    return (time.perf_counter() - begin) / calls

  timed(1)
  calls = max(1, round(seconds / 4 / timed(1)))
  return 2 * side**3 / min(timed(calls) for _ in range(3))


def step_macs_per_pixel(loss_fn: LossFn | Mapping[str, LossFn], params: Any, side: int) -> float:
  """Counts MACs of loss and gradient for a pixel of a training patch, without the optimiser's.

  Those of several players are added up, though what they have in common is computed once.
  """
  if isinstance(loss_fn, Mapping):
    return sum(step_macs_per_pixel(own, params, side) for own in loss_fn.values())
  image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)

  def gradient(params, image):
    objective = lambda params: loss_fn(params, {"image": image}, key=jax.random.key(0))
    return jax.value_and_grad(objective, has_aux=True)(params)

  return count_macs(gradient, params, image) / side**2


@dataclasses.dataclass(frozen=True)
class StepSpeed:
  """A dispatch's speed.

  Attributes:
    patch_size, batch_size: of its steps.
    compile_seconds: from function to program, other compilations going on beside it.
    step_seconds: of one step.
    megapixels_per_s: of patches.
    flops_per_s: of the networks alone: 2 * MACs * pixels a second.
    share_of_peak: of the rate of matrix products in the transforms' type.
  """

  patch_size: int
  batch_size: int
  compile_seconds: float
  step_seconds: float
  megapixels_per_s: float
  flops_per_s: float
  share_of_peak: float


def compile_all(
  dispatches: Sequence[Dispatch], state: TrainState, steps: int, timeout: float
) -> dict[Dispatch, float]:
  """Compiles programs in parallel.

  Args:
    state: gives shapes and types.
    steps: of a dispatch.
    timeout: seconds to wait; but one has to be ready.
  Returns:
    Of those that are compiled, the seconds that it took. The others go on in the background.
  """

  def timed(dispatch: Dispatch) -> float:
    begin = time.perf_counter()
    dispatch.compile(state, steps)
    return time.perf_counter() - begin

  futures = {background.start(timed, dispatch): dispatch for dispatch in dispatches}
  concurrent.futures.wait(futures, timeout)
  while not any(map(background.succeeded, futures)):
    waiting = [future for future in futures if not future.done()]
    if not waiting:
      next(iter(futures)).result()  # raises
    concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
  return {d: future.result() for future, d in futures.items() if background.succeeded(future)}


def measure_steps(
  compiled: Mapping[Dispatch, float],
  fresh: Callable[[], TrainState],
  steps: int,
  *,
  macs_per_pixel: float,
  peak_flops_per_s: float,
  learning_rate: float,
) -> dict[Dispatch, StepSpeed]:
  """Times compiled dispatches, each twice after a first time, one after another on a state.

  A batch that does not fit into the device's memory is left out.

  Args:
    compiled: of `compile_all`.
    fresh: makes a state to be donated.
    steps: of a dispatch.
    macs_per_pixel: see `step_macs_per_pixel`.
    peak_flops_per_s: see `matrix_flops_per_s`.
    learning_rate: of the steps; their time may depend on where they lead.
  """
  speeds = {}
  # The first step of an optimiser may take long: it is done once.
  state = fresh()
  for dispatch, compile_seconds in compiled.items():
    try:
      state, seconds = _step_seconds(dispatch, state, steps, learning_rate)
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      state = fresh()
      continue
    stage = dispatch.stage
    pixels_per_s = stage.batch_size * stage.patch_size**2 / seconds
    flops_per_s = 2 * macs_per_pixel * pixels_per_s
    speeds[dispatch] = StepSpeed(
      stage.patch_size,
      stage.batch_size,
      compile_seconds,
      seconds,
      pixels_per_s / 1e6,
      flops_per_s,
      flops_per_s / peak_flops_per_s,
    )
  return speeds


def _step_seconds(
  dispatch: Dispatch, state: TrainState, steps: int, rate: float
) -> tuple[TrainState, float]:
  best = math.inf
  for repeat in range(3):
    begin = time.perf_counter()
    state, figures = dispatch(state, rate, steps)
    jax.block_until_ready(figures)
    if repeat:
      best = min(best, time.perf_counter() - begin)
  return state, best / steps


def choose(speeds: Mapping[Dispatch, StepSpeed]) -> Dispatch:
  """Takes the smallest batch with nearly the best rate of pixels.

  Raises:
    ValueError: there is none.
  """
  best = max(speed.megapixels_per_s for speed in speeds.values())
  fast = [d for d, speed in speeds.items() if speed.megapixels_per_s >= _FAST_ENOUGH * best]
  return min(fast, key=lambda dispatch: dispatch.stage.batch_size)


def fixed_seconds(speeds: Sequence[StepSpeed]) -> float | None:
  """Estimates what a step takes beside its pixels, from a line through step times."""
  if len({speed.batch_size for speed in speeds}) < 2:
    return None
  batches, seconds = zip(*((speed.batch_size, speed.step_seconds) for speed in speeds))
  return float(np.polyfit(batches, seconds, 1)[1])
