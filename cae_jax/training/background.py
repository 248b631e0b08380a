"""Work in background threads."""

import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable
from typing import Any


def start(function: Callable, *args: Any) -> concurrent.futures.Future:
  """Calls a function in a thread of its own.

  A process waits at its end for such threads, unless it ends with `leave`.
  """
  future: concurrent.futures.Future = concurrent.futures.Future()

  def run() -> None:
    try:
      future.set_result(function(*args))
    except BaseException as error:
      future.set_exception(error)

  threading.Thread(target=run).start()
  return future


def succeeded(future: concurrent.futures.Future) -> bool:
  """Tells whether the result is there."""
  return future.done() and future.exception() is None


def leave(status: int) -> None:
  """Ends the process at once: a compiler at work in a thread would hold it up for minutes."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)
