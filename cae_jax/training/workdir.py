"""The folder of a run: whether it holds one, and that only one process writes to it."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from cae_jax import locks
from cae_jax.training import sharding
from cae_jax.training.reporting import say

# The threads of this process that hold a folder.
_holders: dict[Path, int] = {}


def holds_run(workdir: str | Path) -> bool:
  """Says whether a run has left anything there: a checkpoint, a log line, weights."""
  workdir = Path(workdir)
  written = any((workdir / name).exists() for name in ("metrics.jsonl", "weights.safetensors"))
  return written or any(path.name.isdecimal() for path in workdir.glob("checkpoints/*"))


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
