"""Threads for tiles and for parts of one tile; BLAS has one thread meanwhile."""

import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import threadpoolctl

from cae_jax.models.arrays import Map

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # each takes some 100 MiB, and for lossless files 250
_one_core = False


class _BlasLimit:
  """Keeps BLAS to one thread for as long as anybody asks for it.

  The limit belongs to the process: of several users at once the first one sets it and the last one
  takes it back, whichever that is.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._users = 0
    self._limit: Any = None

  def __enter__(self) -> None:
    with self._lock:
      if not self._users:
        self._limit = _libraries().limit(limits=1, user_api="blas")
      self._users += 1

  def __exit__(self, *exception) -> None:
    with self._lock:
      self._users -= 1
      if not self._users and self._limit is not None:
        self._limit.restore_original_limits()
        self._limit = None


_one_blas_thread = _BlasLimit()
# In a forked process nobody asks for it any more, nor holds its lock.
os.register_at_fork(after_in_child=_one_blas_thread.__init__)  # type: ignore[misc]


def in_threads(function: Callable[[T, Map], R], items: Sequence[T]) -> Iterator[R]:
  """Applies a function to items by several threads, one for each core; results in items' order.

  The cores go to the items if there are enough of them, else to the parts of one after the other.
  Meanwhile NumPy's products are kept to one thread each. They are small: more threads save little
  where nothing else runs, and wait for one another at every product where something does.

  Args:
    function: takes an item, and what applies a function to parts of its work.
    items: such as tiles.
  """
  across = len(items) >= workers()
  with threads(len(items)) if across else helpers() as apply:
    over_items, over_parts = (apply, map) if across else (map, apply)
    yield from over_items(lambda item: function(item, over_parts), items)


@contextlib.contextmanager
def threads(most: int) -> Iterator[Callable[..., Iterator]]:
  """Yields what applies a function to items as `map`, on some threads that stay for all its calls.

  NumPy's products are kept to one thread each, see `in_threads`.

  Args:
    most: threads that could have something to do.
  """
  count = min(workers(), most)
  with _one_blas_thread:
    if count < 2:
      yield map
    else:
      with ThreadPoolExecutor(count, initializer=_limit_this_thread) as pool:
        yield pool.map


@contextlib.contextmanager
def helpers() -> Iterator[Map]:
  """Yields what applies a function to items as `map`, in this thread and one for each other core.

  For parts of a small work: this thread has what they need in its caches, and it need not be woken.
  NumPy's products are kept to one thread each, see `in_threads`.
  """
  others = workers() - 1
  with _one_blas_thread:
    if not others:
      yield map
    else:
      with ThreadPoolExecutor(others, initializer=_limit_this_thread) as pool:
        yield functools.partial(_in_all, pool, others)


def _in_all(pool: Executor, others: int, function: Callable, items: Iterable) -> list:
  """Applies a function to items in some threads of a pool and in this one; results in order."""
  items = list(items)
  results = [None] * len(items)
  left = deque(range(len(items)))

  def work() -> None:
    while left:
      try:
        number = left.popleft()
      except IndexError:
        return  # another thread took the last one
      results[number] = function(items[number])

  working = [pool.submit(work) for _ in range(min(others, len(items) - 1))]
  try:
    work()
  finally:
    left.clear()
    wait(working)
  for each in working:
    each.result()
  return results


def _limit_this_thread() -> None:
  """Asks again in a worker: in some builds of BLAS the limit belongs to the calling thread."""
  _libraries().limit(limits=1, user_api="blas")


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
  """Those that can be told how many threads to take; it takes a millisecond to find them."""
  return threadpoolctl.ThreadpoolController()


def use_one_core() -> None:
  """Keeps this process to one core, as far as it can be told: others of its kind have the others.

  To be called before JAX starts.
  """
  global _one_core
  _one_core = True
  threadpoolctl.threadpool_limits(1)
  os.environ.setdefault("NPROC", "1")  # sizes XLA's pools of threads


def workers() -> int:
  """Counts the threads that work at the same time: one for each core, up to a number.

  After the main thread has ended, only one: Python starts no more.
  """
  return min(cores(), _MOST) if threading.main_thread().is_alive() else 1


def cores() -> int:
  """Counts the cores that this process may use."""
  if _one_core:
    return 1
  with contextlib.suppress(AttributeError):  # macOS has no affinities
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
