"""Work in several processes, which end with their starter and leave nothing half done."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 2  # tasks at hand for each process: no more, since a task may hold an image
_ENDED_STATUS = 143  # as of a program that SIGTERM ends


class ProcessDied(RuntimeError):
  """The process that worked on a task has died, as one does that takes too much memory."""


def unordered(
  function: Callable[[Task], Result],
  tasks: Iterable[Task],
  jobs: int,
  lost: Callable[[Task], Result] | None = None,
) -> Generator[Result, None, None]:
  """Calls a function on tasks, in processes; gives results as they come.

  Processes are spawned: one that is forked from a process in which JAX has started threads can
  hang. If one dies, the tasks that were at hand are tried once more, each alone. When the caller
  stops early, by Ctrl-C for instance, or dies, they end as by an exception within the function.

  Args:
    function: of a module, as it is sent to the processes; so are tasks and results.
    tasks: some are made ahead, and no more than that.
    jobs: processes, 1 or more.
    lost: makes the result of a task that its process has died of.
  Raises:
    ProcessDied: a process has died, and there is no `lost`.
    Exception: what the function raised.
  """
  tasks = iter(tasks)
  with _ended_in_order():
    while at_hand := (yield from _in_one_pool(function, tasks, jobs)):
      for task in at_hand:
        if not (yield from _in_one_pool(function, iter([task]), 1)):
          continue
        if lost is None:
          raise ProcessDied("a process has died, for want of memory perhaps")
        yield lost(task)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
  """Lets SIGTERM end this process by an exception, if nothing else is to hear it.

  Ended at once, it would leave semaphores, of which Python then warns.
  """
  is_unheard = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
  if not (is_unheard and threading.current_thread() is threading.main_thread()):
    yield
    return
  signal.signal(signal.SIGTERM, _end)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _in_one_pool(
  function: Callable[[Task], Result], tasks: Iterator[Task], jobs: int
) -> Generator[Result, None, list[Task]]:
  """Works until no task is left, or a process dies; returns the tasks that were at hand then."""
  context = multiprocessing.get_context("spawn")
  # Nothing is ever sent: its end is the sign to stop, also if this process is killed.
  ending, alive = context.Pipe(duplex=False)
  pool = ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(ending,))
  running: dict[Future, Task] = {}
  at_hand: list[Task] = []
  try:
    while True:
      while not at_hand and len(running) < _AHEAD * jobs:
        try:
          task = next(tasks)
        except StopIteration:
          break
        running[_submit(pool, function, task)] = task
      if not running:
        return at_hand
      for future in wait(running, return_when=FIRST_COMPLETED).done:
        task = running.pop(future)
        try:
          result = future.result()
        except BrokenProcessPool:
          at_hand.append(task)
        else:
          yield result
  finally:
    if running:
      alive.close()
    pool.shutdown(cancel_futures=True)
    alive.close()
    ending.close()


def _submit(pool: ProcessPoolExecutor, function: Callable[[Task], Any], task: Task) -> Future:
  """Hands over a task; a pool that has broken since fails it as one that breaks later does."""
  with _without_interruptions():
    try:
      return pool.submit(_call, function, task)
    except BrokenProcessPool as error:
      future: Future = Future()
      future.set_exception(error)
      return future


@contextlib.contextmanager
def _without_interruptions() -> Iterator[None]:
  """Holds signals back; processes that start meanwhile get no Ctrl-C, which is their starter's."""
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(ending: Connection) -> None:
  """Prepares a process for its end, which may come at once."""
  try:
    signal.signal(signal.SIGTERM, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(ending,), daemon=True).start()
  except SystemExit:
    os._exit(_ENDED_STATUS)  # a pool would show it as an error


def _end(*_: Any) -> None:
  raise SystemExit(_ENDED_STATUS)


def _end_with(ending: Connection) -> None:
  with contextlib.suppress(EOFError, OSError):
    ending.recv_bytes()
  os.kill(os.getpid(), signal.SIGTERM)


def _call(function: Callable[[Task], Result], task: Task) -> Result:
  try:
    return function(task)
  except SystemExit:
    os._exit(_ENDED_STATUS)  # a pool would take it for a result, and go on
