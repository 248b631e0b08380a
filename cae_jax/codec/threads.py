"""Tiles coded at the same time, each on a thread of its own."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import threadpoolctl

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # each takes some 100 MiB
_one_core = False


class _BlasLimit:
  """Keeps BLAS to one thread for as long as anybody asks for it.

  The limit belongs to the process: of several users at once the first one sets it and the last one
  takes it back, whichever that is.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._users = 0
    self._limit: threadpoolctl.threadpool_limits | None = None

  def __enter__(self) -> None:
    with self._lock:
      if not self._users:
        self._limit = threadpoolctl.threadpool_limits(1, "blas")
      self._users += 1

  def __exit__(self, *exception) -> None:
    with self._lock:
      self._users -= 1
      if not self._users and self._limit is not None:
        self._limit.restore_original_limits()
        self._limit = None


_one_blas_thread = _BlasLimit()


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
  """Applies a function to items, several at a time, one for each core; results in items' order.

  Meanwhile NumPy's products are kept to one thread each. They are small: more threads save little
  where nothing else runs, and wait for one another at every product where something does.
  """
  with threads(len(items)) as apply:
    yield from apply(function, items)


@contextlib.contextmanager
def threads(most: int) -> Iterator[Callable[..., Iterator]]:
  """Yields what applies a function to items as `map`, on some threads that stay for all its calls.

  NumPy's products are kept to one thread each, see `in_threads`.

  Args:
    most: threads that could have something to do.
  """
  workers = min(cores(), most, _MOST)
  with _one_blas_thread:
    if workers < 2:
      yield map
    else:
      with ThreadPoolExecutor(workers, initializer=_limit_this_thread) as pool:
        yield pool.map


def _limit_this_thread() -> None:
  """Asks again in a worker: in some builds of BLAS the limit belongs to the calling thread."""
  threadpoolctl.threadpool_limits(1, "blas")


def use_one_core() -> None:
  """Keeps this process to one core, as far as it can be told: others of its kind have the others.

  To be called before JAX starts.
  """
  global _one_core
  _one_core = True
  threadpoolctl.threadpool_limits(1)
  os.environ.setdefault("NPROC", "1")  # sizes XLA's pools of threads


def cores() -> int:
  """Counts the cores that this process may use."""
  if _one_core:
    return 1
  with contextlib.suppress(AttributeError):  # macOS has no affinities
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
