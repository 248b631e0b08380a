"""Training from photographs that lie on the devices: many steps a dispatch, no host in between.

A dispatch draws its batches itself (`cae_jax.data.resident`), from the step alone, so that a run
cut between two dispatches and resumed is the uncut one. Each device keeps a share of the
photographs and draws its part of every batch from that; on another number of devices the batches
are others. All devices are of one process (`experiments.visit` refuses to be one of several).
"""

import concurrent.futures
import dataclasses
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from cae_jax.data import position, resident
from cae_jax.data.resident import Photos, Slots
from cae_jax.data.views import ImageSource, image_sizes
from cae_jax.errors import UsageError
from cae_jax.training import background, sharding
from cae_jax.training.losses import LossFn
from cae_jax.training.sharding import DATA_AXIS
from cae_jax.training.span import Span
from cae_jax.training.state import Optimizer, TrainState
from cae_jax.training.step import make_train_step

# The key of the data: no step gets so far.
_DATA_KEY = 2**32 - 1

# (step) -> uint8 [B, P, P, 3], given the photographs and slots of every share
_DrawFn = Callable[[Photos, Slots, jax.Array], jax.Array]


class ResidentPhotos:
  """The photographs of a source on the devices of a mesh, a share on each.

  Attributes:
    photos: arrays with a leading axis of shares, split over the mesh.
    sizes: int64 [N, 2], heights and widths.
  """

  def __init__(self, source: ImageSource, mesh: Mesh):
    """Decodes what the devices are to keep.

    Raises:
      UsageError: fewer photographs than devices, or more pixels than a device can count.
    """
    self.mesh, self.sizes = mesh, image_sizes(source)
    self._shares = resident.share_out(self.sizes, mesh.size)
    pixels = max(int(self.sizes[share].prod(axis=1).sum()) for share in self._shares)
    if pixels > resident.MAX_SHARE_PIXELS:
      raise UsageError(
        f"{pixels / 1e6:.0f} megapixels for each device, expected at most "
        f"{resident.MAX_SHARE_PIXELS / 1e6:.0f}; use more devices, or experiments.train"
      )
    longest = max(map(len, self._shares))
    self.photos = self._on_devices(
      lambda share: resident.read_share(source, self.sizes, self._shares[share], pixels, longest)
    )

  def slots(self, patch_size: int) -> tuple[Slots, int]:
    """Returns the epochs of every share for a size of patches, and the shortest's length."""
    each = [resident.slots_of(self.sizes[share], patch_size) for share in self._shares]
    longest = max(map(len, each))
    padded = lambda share: Slots(
      np.pad(each[share], (0, longest - len(each[share]))).astype(np.int32),
      np.asarray(len(each[share]), np.int32),
    )
    return self._on_devices(padded), min(map(len, each))

  def fingerprint(self) -> str:
    """Names what batches depend on beside key, step and sizes: 16 hex digits."""
    shares = f"{len(self._shares)} shares of ".encode()
    return hashlib.sha256(shares + self.sizes.astype("<i8").tobytes()).hexdigest()[:16]

  def _on_devices(self, make: Callable[[int], Any]) -> Any:
    """The tree that `make` gives for each share, stacked; each device gets that of its number."""
    split = sharding.split_batch(self.mesh)
    devices = list(self.mesh.devices.flat)
    trees = [make(number) for number in range(len(devices))]

    def stacked(*leaves):
      parts = [
        jax.device_put(np.asarray(leaf)[None], device)
        for leaf, device in zip(leaves, devices, strict=True)
      ]
      shape = (len(devices), *np.shape(leaves[0]))
      return jax.make_array_from_single_device_arrays(shape, split, parts)

    return jax.tree.map(stacked, *trees)


def make_draw(
  mesh: Mesh, *, patch_size: int, batch_size: int, min_scale: float, seed: int, epochs: int
) -> _DrawFn:
  """Makes the function that draws a step's batch, each device its part from its own share."""
  rows = batch_size // mesh.size

  def local(photos: Photos, slots: Slots, step: jax.Array) -> jax.Array:
    photos, slots = jax.tree.map(lambda a: a[0], (photos, slots))
    return resident.draw(
      photos,
      slots,
      share_key(seed, jax.lax.axis_index(DATA_AXIS)),
      step,
      rows=rows,
      patch_size=patch_size,
      min_scale=min_scale,
      epochs=epochs,
    )

  split, everywhere = PartitionSpec(DATA_AXIS), PartitionSpec()
  return jax.shard_map(local, mesh=mesh, in_specs=(split, split, everywhere), out_specs=split)


def share_key(seed: int, share: jax.Array | int) -> jax.Array:
  """Makes the key of all that is drawn from a share."""
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _DATA_KEY), share)


class Stage(NamedTuple):
  """A stretch of a run.

  Attributes:
    begin: fraction of the run at which it begins.
    patch_size: side of its patches, pixels.
    batch_size: patches a step, on all devices together.
  """

  begin: float
  patch_size: int
  batch_size: int


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a run's steps are made of, whatever their patches.

  Attributes:
    loss_fn: see `training.step.make_train_step`; so is what `optimizer` makes.
    optimizer: of a learning rate, which may be traced.
    min_scale: as for `patches.training_patches`.
    seed: of patches and noise.
    ema_decay: of the average of the parameters.
  """

  loss_fn: LossFn | Mapping[str, LossFn]
  optimizer: Callable[[Any], Optimizer]
  min_scale: float = 1.0
  seed: int = 0
  ema_decay: float = 0.999


class Dispatch:
  """The compiled steps of a stage; the state that it is given is donated.

  dispatch(state, rate, steps) -> (state, figures [steps] each). Programs are compiled when they are
  needed or, by `compile`, before.
  """

  def __init__(self, recipe: Recipe, photos: ResidentPhotos, stage: Stage):
    sharding.process_batch_size(stage.batch_size)
    mesh = photos.mesh
    slots, shortest = photos.slots(stage.patch_size)
    rows = stage.batch_size // mesh.size
    draw = make_draw(
      mesh,
      patch_size=stage.patch_size,
      batch_size=stage.batch_size,
      min_scale=recipe.min_scale,
      seed=recipe.seed,
      epochs=resident.epochs_touched(rows, shortest),
    )

    def run(state: TrainState, photos: Photos, slots: Slots, rate: jax.Array, steps: int):
      step_fn = make_train_step(
        recipe.loss_fn,
        recipe.optimizer(rate),
        mesh,
        seed=recipe.seed,
        ema_decay=recipe.ema_decay,
      )
      step = lambda state, _: step_fn(state, {"image": draw(photos, slots, state.step)})
      return jax.lax.scan(step, state, length=steps)

    everywhere, split = sharding.replicated(mesh), sharding.split_batch(mesh)
    self._run = jax.jit(
      run,
      static_argnums=4,
      donate_argnums=0,
      in_shardings=(everywhere, split, split, everywhere),
      out_shardings=everywhere,
    )
    self.stage = stage
    self._inputs = photos.photos, slots
    self._compiled: dict[int, Any] = {}
    self._lock = threading.Lock()

  def __call__(self, state: TrainState, rate: float, steps: int) -> tuple[TrainState, Any]:
    return self.compile(state, steps)(state, *self._inputs, jnp.float32(rate))

  def compile(self, state: TrainState, steps: int) -> Any:
    """Returns the program for so many steps; `state` gives shapes and types; for any thread."""
    with self._lock:
      if steps not in self._compiled:
        like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), state)
        rate = jax.ShapeDtypeStruct((), jnp.float32)
        self._compiled[steps] = self._run.lower(like, *self._inputs, rate, steps).compile()
      return self._compiled[steps]


class ResidentSteps:
  """Does the steps of a run on resident photographs: a `loop.Stepper`.

  Args:
    dispatches: the stages of the run, by their beginnings; the first begins at 0.
    span: how long the run is.
    schedule: fraction of the run -> learning rate, the same for all steps of a dispatch.
    dispatch_steps: steps a dispatch at most.
    settings: what the batches depend on, JSON-able; see `set_state`.
    turning_point: (fraction, called once with the state before the first dispatch from there on).

  Attributes:
    turned: that has been called, in this or an earlier process.
    first_step: of this process; None before it.
  """

  def __init__(
    self,
    dispatches: Sequence[Dispatch],
    span: Span,
    schedule: Callable[[float], float],
    dispatch_steps: int,
    settings: dict[str, Any],
    turning_point: tuple[float, Callable[[TrainState], None]] | None = None,
  ):
    self._dispatches = list(dispatches)
    self._span = span
    self._schedule = schedule
    self._dispatch_steps = dispatch_steps
    self._settings = settings
    self._turning_point = turning_point
    self.turned = False
    self.first_step: int | None = None
    self._compiling: dict[Dispatch, concurrent.futures.Future] = {}

  def compile_ahead(self, state: TrainState) -> None:
    """Compiles the later stages in the background; each waits until it is compiled.

    Args:
      state: gives shapes and types.
    """
    for dispatch in self._dispatches[1:]:
      future = background.start(dispatch.compile, state, self._dispatch_steps)
      self._compiling[dispatch] = future

  def advance(self, state: TrainState, step: int, limit: int) -> tuple[TrainState, dict[str, Any]]:
    """Does the next steps, at most `limit` of them, to their end; figures [n] each."""
    fraction = self._span.fraction(step)
    if self.first_step is None:
      self.first_step = step
    if self._turning_point and not self.turned and fraction >= self._turning_point[0]:
      self._turning_point[1](state)
      self.turned = True
    dispatch, rate = self._dispatch_at(fraction), float(self._schedule(fraction))
    steps = min(limit, self._dispatch_steps)
    state, figures = dispatch(state, rate, steps)
    jax.block_until_ready(figures)  # time is counted in what the device has done
    about = {
      "fraction": fraction,
      "learning_rate": rate,
      "patch_size": dispatch.stage.patch_size,
      "batch_size": dispatch.stage.batch_size,
    }
    return state, figures | {name: np.full(steps, value) for name, value in about.items()}

  def finished(self, step: int) -> bool:
    """Tells whether all steps are done."""
    return self._span.finished(step)

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs beside the step."""
    return {"span": self._span.get_state(), "turned": self.turned, "config": self._settings}

  def set_state(self, state: Any) -> None:
    """Continues where `get_state` was called, in this or an earlier process.

    Raises:
      UsageError: the state is of other data or other sizes.
    """
    position.check(state, self._settings)
    self._span.set_state(state["span"])
    self.turned = state.get("turned", False)

  def differences(self, state: Any) -> list[str]:
    """Says in what the patches of a state are others than these."""
    return position.differences(state, self._settings)

  def _dispatch_at(self, fraction: float) -> Dispatch:
    begun = [d for d in self._dispatches if d.stage.begin <= fraction]
    return [d for d in begun if d not in self._compiling or self._is_ready(d)][-1]

  def _is_ready(self, dispatch: Dispatch) -> bool:
    """Whether a stage's program is there; one that cannot be compiled never is."""
    return background.succeeded(self._compiling[dispatch])
