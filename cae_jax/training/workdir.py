"""The folder of a run: whether it holds one, and that only one process writes to it."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from cae_jax import locks
from cae_jax.metrics_file import read_metrics
from cae_jax.training import sharding
from cae_jax.training.reporting import say

# The threads of this process that hold a folder.
_holders: dict[Path, int] = {}


def holds_run(workdir: str | Path) -> bool:
  """Says whether a run has left anything of its steps there: a log line, a checkpoint, weights."""
  workdir = Path(workdir)
  if (workdir / "weights.safetensors").exists() or _has_logged_steps(workdir / "metrics.jsonl"):
    return True
  return holds_checkpoint(workdir)


def holds_checkpoint(workdir: str | Path) -> bool:
  """Says whether a run there would go on from a checkpoint."""
  return last_step(workdir) is not None


def last_step(workdir: str | Path) -> int | None:
  """Returns the step of the last checkpoint of a run there; None if there is none."""
  names = (path.name for path in Path(workdir).glob("checkpoints/*"))
  return max((int(name) for name in names if name.isdecimal()), default=None)


def _has_logged_steps(path: Path) -> bool:
  # At step 0 only what the run starts from has been validated.
  return path.exists() and any(line["step"] > 0 for line in read_metrics(path))


@contextlib.contextmanager
def locked(workdir: str | Path) -> Iterator[None]:
  """Keeps other runs out of a folder, which is made if need be, until the block ends.

  Of several processes that train together the first one holds the lock, and every one takes part
  in the call. Entered again in the same thread it changes nothing. It is `locks.locked`.

  Raises:
    UsageError: another process or thread is at work there; says which. On other processes than the
      first: Error.
  """
  folder = Path(workdir).resolve()
  if _holders.get(folder) == threading.get_ident():
    yield
    return
  with contextlib.ExitStack() as held:
    lock = locks.locked(folder, "run", "workdir", say)
    sharding.on_first_process(lambda: held.enter_context(lock))
    _holders[folder] = threading.get_ident()
    try:
      yield
    finally:
      del _holders[folder]
