"""Tiles coded at the same time, each on a thread of its own."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import threadpoolctl

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # each takes some 100 MiB

# Where threads of BLAS belong to the process, one call is enough; where they belong to the calling
# thread, each has to ask.
_one_blas_thread = functools.partial(threadpoolctl.threadpool_limits, 1, "blas")


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
  """What the function makes of each item, in their order; several at a time, one for each core.

  Meanwhile NumPy's products are kept to one thread each. They are small: more threads save little
  where nothing else runs, and wait for one another at every product where something does.
  """
  workers = min(_cores(), len(items), _MOST)
  with _one_blas_thread():
    if workers < 2:
      yield from map(function, items)
    else:
      with ThreadPoolExecutor(workers, initializer=_one_blas_thread) as pool:
        yield from pool.map(function, items)


def _cores() -> int:
  """That this process may use."""
  with contextlib.suppress(AttributeError):  # macOS has no affinities
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
