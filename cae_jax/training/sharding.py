"""Data parallelism: one `jit` over a mesh of all devices of all processes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cae_jax.errors import Error, UsageError

DATA_AXIS = "data"


def data_mesh() -> Mesh:
  """Makes a one-dimensional mesh over every device of every process."""
  return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), (jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """Gives the sharding of parameters and optimiser state: a full copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """Gives the sharding of a batch: its first axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def process_batch_size(global_batch_size: int) -> int:
  """Computes this process's share of the batch.

  Raises:
    UsageError: the batch does not split evenly over all devices.
  """
  if global_batch_size % jax.device_count():
    raise UsageError(
      f"a batch of {global_batch_size} does not split evenly over {jax.device_count()} devices; "
      "choose a multiple"
    )
  return global_batch_size // jax.process_count()


def to_global(batch: Any, mesh: Mesh) -> Any:
  """Puts each process's part of a batch (NumPy, first axis) together to one global array."""
  sharding = split_batch(mesh)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
  )


def any_process(flag: bool) -> bool:
  """Says whether the flag is set on at least one process, the same on every process."""
  if jax.process_count() == 1:
    return flag
  from jax.experimental import multihost_utils

  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def on_first_process(action: Callable[[], None]) -> None:
  """Does something on the first process, while the others wait; if it fails there, all of them end.

  Raises:
    Exception: what the action raises, on the first process; Error on the others.
  """
  failure: Exception | None = None
  if jax.process_index() == 0:
    try:
      action()
    except Exception as error:
      failure = error
  if any_process(failure is not None):
    raise failure or Error("the first process has failed; its output says why")
