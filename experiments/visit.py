"""Trains on an accelerator that is at hand for minutes: measures it first, ends in time.

    python -m experiments.visit --flagfile=experiments/flags/context_gpu.flags \\
      --source_dir=PHOTOS --output=DIR --minutes=60

All photographs are decoded once and lie on the devices. The run compiles its step for each of
--batch_sizes, times them, takes the smallest that is nearly as fast as the fastest, and trains by a
schedule of minutes: the rate has decayed, and validated weights are written, when they are over.
The output folder then holds visit.json (measurements, see docs/gpu.md), metrics.jsonl,
weights.safetensors.K-of-N (put them together with `cat`), undecayed/ (--carry_from of the next
visit), cache.tar.K-of-N (compiled programs for it), trace.tar.gz: at most 8 files below 16 MiB.

`experiments.pack` packs for a machine that nothing can be fetched to; `experiments/visit.sh` is
what is run there. Interrupted, the same command with the same --workdir goes on with the time left.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cae_jax import backend
from cae_jax.atomic import replace_atomically, write_json
from cae_jax.data import resident
from cae_jax.data.folder import FolderSource
from cae_jax.data.patches import center_patches, split_blocks
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.paths import make_folder
from cae_jax.training import background, portable, sharding, speed
from cae_jax.training.loop import LoopConfig, Result, run_steps
from cae_jax.training.optimizers import DECAYING_FRACTION, make_schedule
from cae_jax.training.resident import (
  Dispatch,
  Recipe,
  ResidentPhotos,
  ResidentSteps,
  Stage,
  make_draw,
)
from cae_jax.training.span import Minutes
from cae_jax.training.state import TrainState, create_state
from cae_jax.training.workdir import locked
from experiments import cli, train_flags, train_parts, train_subject, visit_flags
from experiments.program_flags import Args
from experiments.visit_flags import define_flags

# A schedule of minutes is one of so many steps.
_RESOLUTION = 1 << 16
# What comes back, at most.
MAX_FILES = 8
MAX_FILE_BYTES = 16 << 20
MAX_BYTES = 64 << 20
_VALID_BATCH = 4
_BLOCK_PATCH = 128


def main(args: Args) -> None:
  """Runs the program."""
  visit_flags.check(args)
  train_parts.check_name(args.name)
  backend.require()
  with locked(train_flags.workdir(args)):
    _run(args)


def _run(args: Args) -> None:
  visit = _Visit(args)
  visit.read()
  visit.choose()
  result = visit.train()
  if not result.finished:
    visit.carry(result.state)
    print(f"stopped at step {int(result.state.step)}; the same command goes on")
    return
  visit.export(result.state)
  visit.bring_back(result.state)


class _Visit:
  """The run, from photographs to files."""

  def __init__(self, args: Args):
    self.args = args
    self.began = time.time() if args.began_at is None else args.began_at
    self.output, self.workdir = args.output, train_flags.workdir(args)
    make_folder(self.output)
    train_flags.keep_flags(args, self.workdir / "flags.txt")
    self.report: dict[str, Any] = {"phases": {}}
    self._keep_programs()
    self.mesh = sharding.data_mesh()
    self.subject = train_subject.of(args)
    self.model = self.subject.model(args)
    self.loss_fn, errors_fn = self.subject.objectives(args, self.model)
    self.errors_fn = jax.jit(errors_fn)

  def read(self) -> None:
    """Photographs, onto the devices."""
    args = self.args
    if args.source_dir is None:
      raise UsageError("give --source_dir, a folder of images or tar shards")
    with self._phase("photographs"):
      self.source = FolderSource(args.source_dir, args.train_split)
      train_parts.check_photographs(args, self.workdir, self.source)
      valid = FolderSource(args.source_dir, args.valid_split)
      self.valid_batches = center_patches(
        valid, patch_size=args.valid_patch_size, batch_size=_VALID_BATCH
      )
      self.photos = ResidentPhotos(self.source, self.mesh)
      self.report["photographs"] = len(self.source)
      self.report["megapixels"] = float(self.photos.sizes.prod(axis=1).sum() / 1e6)

  def _prepare(self) -> None:
    """The initial state, on the host: there, small programs are compiled in no time."""
    args = self.args
    with self._phase("parameters"), _on_host():
      self.trained_on = self.subject.trained_on(args, self.source)
      train_parts.keep_photographs(self.workdir, self.source)
      if args.carry_from:
        shapes = self.subject.parameter_shapes(args)
        self.state, about = portable.read_parts(args.carry_from, shapes, self._optimizer(1.0))
        self.trained_on |= TrainedOn.from_card(about or {})
      else:
        params = self.subject.initial_params(args, self.model, self._random_blocks)
        self.state = self._create_state(params)

  def choose(self) -> None:
    """Measures the device, and the step with each size of batch; what it takes is kept."""
    args, plan = self.args, self.workdir / "plan.json"
    sizes = args.batch_sizes or [args.batch_size]
    if plan.exists():  # a resumed run has the same batches
      self.report = json.loads(plan.read_text()) | {"phases": self.report["phases"]}
      if self.report.get("carry_from") != _text(args.carry_from):
        raise UsageError(
          f"{self.workdir} holds a visit that began with --carry_from="
          f"{self.report.get('carry_from')}; go on with it as it was, or give another --workdir"
        )
      sizes = [self.report["chosen"]["batch_size"]]
    self.recipe = Recipe(self.loss_fn, self._optimizer, args.min_scale, args.seed, args.ema_decay)
    dispatches = [self._dispatch(0.0, args.patch_size, size) for size in sizes]
    if not plan.exists():
      self._measure_device()  # before compilers try programs out on it
    with self._phase("compilation"):
      compiling = background.start(
        speed.compile_all, dispatches, self._like(), args.log_every, args.compile_seconds
      )
      self._prepare()
      compiled = compiling.result()
    if not plan.exists():
      with self._phase("measurement"):
        self._measure_steps(compiled)
      self.report["carry_from"] = _text(args.carry_from)
      write_json(plan, self.report)
    chosen = self.report["chosen"]["batch_size"]
    [self.dispatch] = [d for d in dispatches if d.stage.batch_size == chosen]
    self._write_report()

  def train(self) -> Result:
    """The run, to the end of its time less the reserve."""
    args = self.args
    steps_per_s = 1 / self.report["chosen"]["step_seconds"]
    minutes = (self.began + 60 * args.minutes - args.reserve_seconds - time.time()) / 60
    if minutes <= 0:
      raise UsageError(
        f"--minutes={args.minutes:g}: no time is left to train in; give more minutes or a shorter "
        "--reserve_seconds"
      )
    steps = int(60 * minutes * steps_per_s)
    self.stepper = self._stepper(Minutes(minutes))
    with self._phase("training"):
      self.stepper.compile_ahead(self._like())
      # Once more at the end there is nothing left to compile then.
      self.exporting = background.start(
        self._export, self.workdir / "initial.safetensors", self.state
      )
      return run_steps(
        LoopConfig(
          steps=steps,
          log_every=args.log_every,
          validate_every=max(1, round(steps / args.validations / args.log_every)) * args.log_every,
          seed=args.seed,
          ema_decay=args.ema_decay,
          max_skipped=args.max_skipped,
        ),
        self.stepper,
        start=(self._fresh(), None),
        errors_fn=self._validator(),
        valid_batches=self.valid_batches,
        workdir=self.workdir,
        mesh=self.mesh,
        on_validation=self._bring_metrics,
      )

  def carry(self, state: TrainState) -> None:
    """The state of a run that was stopped, unless there is one from before the decay."""
    if not self.stepper.turned:
      self._carry(self.output / "undecayed", state)

  def export(self, state: TrainState) -> None:
    """Parameters first, as a state, which takes no time; then weights."""
    decayed, weights = self.output / "decayed", self.workdir / "weights.safetensors"
    with self._phase("export"):
      average = dataclasses.replace(state, params=state.ema_params)
      self._carry(decayed, average)
      concurrent.futures.wait([self.exporting])  # not to compile the same twice
      self._export(weights, state)
      for path in self.workdir.glob("weights*.safetensors"):  # a look lies beside its weights
        portable.cut(path, self.output)
      shutil.rmtree(decayed)

  def bring_back(self, state: TrainState) -> None:
    """What may be left out: programs and a trace; all within the limits."""
    first_step = int(state.step) if self.stepper.first_step is None else self.stepper.first_step
    steps = int(state.step) - first_step
    training = self.report["phases"]["training"]
    self.report |= {"steps": steps, "training_steps_per_s": steps / training}
    self._write_report()
    with self._phase("cache"):
      _tar(self.cache, self.workdir / "cache.tar", "w")
      portable.cut(self.workdir / "cache.tar", self.output)
    keep_within_limits(self.output)
    if self.args.trace and self._seconds_left() > 20:
      with self._phase("trace"):
        self._trace(state)
    keep_within_limits(self.output)
    self._write_report()

  def _export(self, path: Path, state: TrainState) -> None:
    self.subject.export(self.args, path, state, self.source, self.trained_on)

  def _create_state(self, params: Any) -> TrainState:
    return jax.jit(functools.partial(create_state, optimizer=self._optimizer(1.0)))(params)

  def _like(self) -> TrainState:
    """Shapes and types of the state."""
    return jax.eval_shape(self._create_state, self.subject.parameter_shapes(self.args))

  def _fresh(self) -> TrainState:
    """The initial state on the devices, to be donated."""
    return jax.device_put(self.state, sharding.replicated(self.mesh), may_alias=False)

  def _optimizer(self, rate):
    return self.subject.optimizer_at(self.args, rate)

  def _dispatch(self, begin: float, patch_size: int, batch_size: int) -> Dispatch:
    return Dispatch(self.recipe, self.photos, Stage(begin, patch_size, batch_size))

  def _stepper(self, span: Minutes) -> ResidentSteps:
    args = self.args
    dispatches = [self.dispatch]
    if args.grow_to:
      dispatches.append(self._dispatch(args.grow_at, args.grow_to, self._grown_batch_size()))
    schedule = make_schedule(
      args.schedule, args.learning_rate, _RESOLUTION, round(args.warmup * _RESOLUTION)
    )
    settings = {
      "photographs": self.photos.fingerprint(),
      "seed": args.seed,
      "min_scale": args.min_scale,
      "stages": [list(dispatch.stage) for dispatch in dispatches],
    }
    undecayed = functools.partial(self._carry, self.output / "undecayed")
    return ResidentSteps(
      dispatches,
      span,
      lambda fraction: float(schedule(fraction * _RESOLUTION)),
      args.log_every,
      settings,
      (1 - DECAYING_FRACTION, undecayed) if args.schedule == "trapezoidal" else None,
    )

  def _grown_batch_size(self) -> int:
    """About as many pixels a step, and so about as much memory."""
    stage, devices = self.dispatch.stage, self.mesh.size
    rows = stage.batch_size * (stage.patch_size / self.args.grow_to) ** 2
    return max(1, round(rows / devices)) * devices

  def _carry(self, folder: Path, state: TrainState) -> None:
    portable.write_parts(folder, state, self.trained_on.to_card(), dtype=np.float16, average=False)

  def _validator(self) -> Callable:
    """The validation, compiled in the background."""
    images = jax.ShapeDtypeStruct(self.valid_batches[0]["image"].shape, jnp.uint8)
    params = self._like().ema_params
    compiled = background.start(lambda: self.errors_fn.lower(params, {"image": images}).compile())
    return lambda params, batch: compiled.result()(params, batch)

  def _random_blocks(self, count: int, side: int) -> np.ndarray:
    """As `patches.random_blocks`, cut on the devices."""
    patch_size, rows = _BLOCK_PATCH // side * side, 8 * self.mesh.size
    slots, shortest = self.photos.slots(patch_size)
    draw = jax.jit(
      make_draw(
        self.mesh,
        patch_size=patch_size,
        batch_size=rows,
        min_scale=1.0,
        seed=self.args.seed,
        epochs=resident.epochs_touched(8, shortest),
      )
    )
    batches = -(-count // (rows * (patch_size // side) ** 2))
    patches = [np.asarray(draw(self.photos.photos, slots, jnp.int32(i))) for i in range(batches)]
    return split_blocks(np.concatenate(patches), side)[:count]

  def _measure_device(self) -> None:
    side = 1024 if jax.default_backend() == "cpu" else 8192
    self.report["machine"] = speed.machine()
    self.report["matrix_flops_per_s"] = {
      dtype: speed.matrix_flops_per_s(jnp.dtype(dtype), side) for dtype in ("bfloat16", "float32")
    }

  def _measure_steps(self, compiled: dict[Dispatch, float]) -> None:
    macs_per_pixel = speed.step_macs_per_pixel(
      self.loss_fn, self._like().params, self.args.patch_size
    )
    self.report["step_macs_per_pixel"] = macs_per_pixel
    speeds = speed.measure_steps(
      compiled,
      self._fresh,
      self.args.log_every,
      macs_per_pixel=macs_per_pixel,
      peak_flops_per_s=self.report["matrix_flops_per_s"][self.args.compute_dtype],
      learning_rate=self.args.learning_rate / 100,
    )
    if not speeds:
      raise UsageError("no batch fits into the device's memory; give smaller --batch_sizes")
    self.report["measured"] = [dataclasses.asdict(s) for s in speeds.values()]
    self.report["fixed_seconds_per_step"] = speed.fixed_seconds(list(speeds.values()))
    self.report["chosen"] = dataclasses.asdict(speeds[speed.choose(speeds)])

  def _trace(self, state: TrainState) -> None:
    folder = self.workdir / "trace"
    with jax.profiler.trace(str(folder)):
      _, figures = self.dispatch(state, 0.0, self.args.log_every)
      jax.block_until_ready(figures)
    _tar(folder, self.output / "trace.tar.gz", "w:gz")

  def _keep_programs(self) -> None:
    """Compiled programs go into a folder of this run, unless JAX has been given another."""
    self.cache = self.workdir / "cache"
    if self.args.cache_from:
      with tarfile.open(self.args.cache_from) as archive:
        # Python has it from 3.11.4 on.
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(self.cache, **safely)
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
      jax.config.update("jax_compilation_cache_dir", str(self.cache))

  @contextlib.contextmanager
  def _phase(self, name: str) -> Iterator[None]:
    begin = time.time()
    yield
    self.report["phases"][name] = round(time.time() - begin, 2)
    print(f"{time.time() - self.began:6.1f} s: {name} done", flush=True)

  def _seconds_left(self) -> float:
    return self.began + 60 * self.args.minutes - time.time()

  def _bring_metrics(self) -> None:
    shutil.copyfile(self.workdir / "metrics.jsonl", self.output / "metrics.jsonl")

  def _write_report(self) -> None:
    self.report["seconds"] = round(time.time() - self.began, 1)
    write_json(self.output / "visit.json", self.report)


def _text(path: Path | None) -> str | None:
  return None if path is None else str(path)


def _on_host() -> contextlib.AbstractContextManager:
  """Lets the processor do what nothing has been put on a device for, where JAX has it."""
  try:
    return jax.default_device(jax.local_devices(backend="cpu")[0])
  except RuntimeError:
    return contextlib.nullcontext()


def keep_within_limits(output: Path) -> None:
  """Removes what can be done without until no file, nor all of them, are more than come back."""
  for pattern in ("trace.tar.gz", "cache.tar.*"):
    files = [path for path in output.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    if len(files) > MAX_FILES or max(sizes) > MAX_FILE_BYTES or sum(sizes) > MAX_BYTES:
      for path in output.glob(pattern):
        path.unlink()
        print(f"{path.name} is left out: too much to come back")


def _tar(folder: Path, path: Path, mode: Any) -> None:
  folder.mkdir(exist_ok=True)
  with replace_atomically(path) as temporary, tarfile.open(temporary, mode) as archive:
    archive.add(folder, ".")


if __name__ == "__main__":
  background.leave(cli.run(main, define_flags))
