"""The state of a run as a few small files, to take it to another machine.

What goes along: parameters, their average, the step and the place in the data. What does not: the
optimiser's memory, several times as large, which it has to gather again. On one machine
`checkpoints` keeps everything, exactly.
"""

import dataclasses
import glob
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cae_jax.atomic import replace_atomically
from cae_jax.errors import UsageError
from cae_jax.training.state import Optimizer, TrainState, create_state

PART_BYTES = 15 << 20
_GROUPS = ("params", "ema_params")
_PARTS = "state-*-of-*.safetensors"


def write_parts(
  folder: str | os.PathLike,
  state: TrainState,
  data_state: Any,
  part_bytes: int = PART_BYTES,
  *,
  dtype: Any = np.float32,
  average: bool = True,
) -> list[Path]:
  """Writes state-1-of-N.safetensors to state-N-of-N.safetensors; older parts are removed.

  Args:
    folder: is made if need be.
    state: of the run, between two steps.
    data_state: of its batches, JSON-able.
    part_bytes: no file is larger by more than its header, unless a single array is.
    dtype: of the parameters in the files. Rounded to float16 they lose less than a step changes.
    average: whether the averaged parameters go along; else the average starts anew.
  Returns:
    The files.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  groups = _GROUPS if average else _GROUPS[:1]
  arrays = jax.device_get(_flat({name: getattr(state, name) for name in groups}))
  arrays = {name: np.asarray(array, dtype) for name, array in arrays.items()}
  parts = _split(arrays, part_bytes)
  about = {"step": int(state.step), "skipped": int(state.skipped), "data": data_state}
  paths = []
  for number, part in enumerate(parts, start=1):
    paths.append(folder / f"state-{number}-of-{len(parts)}.safetensors")
    with replace_atomically(paths[-1]) as temporary:
      save_file(part, temporary, {"about": json.dumps(about)})
  for path in set(folder.glob(_PARTS)) - set(paths):
    path.unlink()
  return paths


def read_parts(
  folder: str | os.PathLike, like: Any, optimizer: Optimizer
) -> tuple[TrainState, Any]:
  """Reads what `write_parts` wrote, as the state of a run that goes on with a fresh optimiser.

  The learning rate's schedule goes on at the step of the state.

  Args:
    like: parameters of the same shapes.
    optimizer: of the run.
  Returns:
    (state, data_state).
  Raises:
    FileNotFoundError: parts are missing.
    UsageError: a part is damaged, or parts are of different steps, or of another model.
  """
  paths = sorted(Path(folder).glob(_PARTS))
  if not paths or not paths[0].stem.endswith(f"-of-{len(paths)}"):
    names = ", ".join(path.name for path in paths) or "none"
    raise FileNotFoundError(f"{folder}: expected all parts state-K-of-N.safetensors, found {names}")
  arrays: dict[str, np.ndarray] = {}
  abouts = set()
  for path in paths:
    part, about_part = _read_part(path)
    arrays |= part
    abouts.add(about_part)
  if len(abouts) > 1:
    raise UsageError(f"{folder}: the parts are of different steps; copy all of one state again")
  if not any(name.startswith("ema_params/") for name in arrays):
    arrays |= {f"ema_{name}": array.copy() for name, array in arrays.items()}
  _check(folder, arrays, _flat(dict.fromkeys(_GROUPS, like)))
  groups = unflatten_dict(arrays, sep="/")
  about = json.loads(abouts.pop())
  state = create_state(jax.device_put(groups["params"]), optimizer)
  state = dataclasses.replace(
    state,
    step=jnp.asarray(about["step"], jnp.int32),
    skipped=jnp.asarray(about["skipped"], jnp.int32),
    ema_params=jax.device_put(groups["ema_params"]),
    opt_state=_schedules_at(about["step"], state.opt_state),
  )
  return state, about["data"]


def _read_part(path: Path) -> tuple[dict[str, np.ndarray], str]:
  """(arrays by name, what the whole state says of itself)."""
  try:
    with safe_open(path, "np") as file:
      arrays = {k: file.get_tensor(k).astype(np.float32) for k in file.keys()}  # noqa: SIM118
      return arrays, file.metadata()["about"]
  except (SafetensorError, TypeError, KeyError) as error:
    raise UsageError(f"{path} is no part of a state, or damaged ({error})") from error


def _schedules_at(step: int, opt_state: Any) -> Any:
  """The optimiser's state with its learning rates at a step, and all else as it is.

  Other counters stay: they belong to moments, which start at zero.
  """

  def moved(part: Any) -> Any:
    return part._replace(count=jnp.asarray(step, jnp.int32)) if is_schedule(part) else part

  is_schedule = lambda part: isinstance(part, optax.ScaleByScheduleState)
  return jax.tree.map(moved, opt_state, is_leaf=is_schedule)


def cut(path: str | os.PathLike, folder: str | os.PathLike, part_bytes: int = PART_BYTES) -> None:
  """Copies a file to a folder in parts: NAME.1-of-N, ..., which `cat NAME.*` puts together.

  Parts of an earlier file of that name are removed.
  """
  path, folder = Path(path), Path(folder)
  size = path.stat().st_size
  count = max(1, -(-size // part_bytes))
  digits = len(str(count))  # so that names are in the order of numbers
  for earlier in folder.glob(f"{glob.escape(path.name)}.*-of-*"):
    earlier.unlink()
  with path.open("rb") as file:
    for number in range(1, count + 1):
      with replace_atomically(folder / f"{path.name}.{number:0{digits}}-of-{count}") as temporary:
        temporary.write_bytes(file.read(part_bytes))


def _flat(groups: Mapping[str, Any]) -> dict[str, Any]:
  return flatten_dict(dict(groups), sep="/")


def _split(arrays: Mapping[str, np.ndarray], part_bytes: int) -> list[dict[str, np.ndarray]]:
  """The arrays in parts of at most so many bytes."""
  parts: list[dict[str, np.ndarray]] = [{}]
  size = 0
  for name, array in arrays.items():
    if parts[-1] and size + array.nbytes > part_bytes:
      parts.append({})
      size = 0
    parts[-1][name] = array
    size += array.nbytes
  return parts


def _check(folder, arrays: Mapping[str, np.ndarray], like: Mapping[str, Any]) -> None:
  shapes, expected = ({k: np.shape(a) for k, a in each.items()} for each in (arrays, like))
  for name in sorted(shapes.keys() | expected.keys()):
    if shapes.get(name) != expected.get(name):
      raise UsageError(
        f"{folder} is of another model: {name} is {shapes.get(name, 'missing')}, expected "
        f"{expected.get(name, 'nothing')}; use the flags of the run it came from"
      )
