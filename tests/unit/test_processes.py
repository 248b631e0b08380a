"""Work in several processes: results, deaths, and ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cae_jax import processes


def _square(number):
  return number * number


def _die_at_three(number):
  if number == 3:
    os.kill(os.getpid(), signal.SIGKILL)
  return number


def _raise(number):
  raise ValueError(f"{number} is wrong")


def _mark_end(path):
  try:
    path.write_text("begun")
    time.sleep(60)
  finally:
    path.write_text("ended")


def test_results_come_from_tasks_made_a_few_ahead():
  taken = []
  tasks = (taken.append(number) or number for number in range(12))
  results = processes.unordered(_square, tasks, 2)
  first = next(results)
  assert len(taken) <= 5
  assert sorted([first, *results]) == [number**2 for number in range(12)]


def test_a_process_that_dies_takes_its_own_task_alone():
  results = processes.unordered(_die_at_three, range(6), 2, lost=lambda number: -number)
  assert sorted(results) == [-3, 0, 1, 2, 4, 5]


def test_without_a_word_on_lost_tasks_a_death_is_an_error():
  with pytest.raises(processes.ProcessDied, match="a process has died"):
    list(processes.unordered(_die_at_three, [3], 1))


def test_errors_come_back():
  with pytest.raises(ValueError, match="7 is wrong"):
    list(processes.unordered(_raise, [7], 1))


def test_an_end_lets_functions_clean_up(tmp_path):
  tasks = [tmp_path / "a", tmp_path / "b"]

  def until_both_run():
    yield from tasks
    while not all(path.exists() for path in tasks):
      time.sleep(0.05)
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    list(processes.unordered(_mark_end, until_both_run(), 2))
  assert [path.read_text() for path in tasks] == ["ended", "ended"]


def test_an_end_while_a_process_starts_is_quiet():
  code = """
import signal, threading
from multiprocessing import Pipe
from cae_jax import processes
ending, alive = Pipe(duplex=False)
alive.close()
started = threading.Thread.start
def start(self):  # as on a busy machine
  started(self)
  self.join()
threading.Thread.start = start
try:
  processes._start(ending)
except BaseException as error:
  print("a pool tells of", error)
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
  assert (done.returncode, done.stdout, done.stderr) == (143, b"", b"")


def test_sigterm_ends_all_in_order():
  code = """
import os, signal, time
from cae_jax import processes
def tasks():
  yield from (60, 60)
  os.kill(os.getpid(), signal.SIGTERM)
  yield 60
try:
  list(processes.unordered(time.sleep, tasks(), 2))
finally:
  print("cleaned up")
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=50)
  assert (done.returncode, done.stdout, done.stderr) == (143, b"cleaned up\n", b"")
