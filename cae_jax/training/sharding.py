"""Data parallelism: one `jit` over a mesh of all devices of all processes."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def data_mesh() -> Mesh:
  """A one-dimensional mesh over every device of every process."""
  return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), (jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of parameters and optimiser state: a full copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: its first axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def process_batch_size(global_batch_size: int) -> int:
  """This process's share of the batch.

  Raises:
    ValueError: the batch does not split evenly over all devices.
  """
  if global_batch_size % jax.device_count():
    raise ValueError(
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
  """Whether the flag is set on at least one process; every process gets the same answer."""
  if jax.process_count() == 1:
    return flag
  from jax.experimental import multihost_utils

  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))
