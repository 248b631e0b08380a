import os
import subprocess
import sys
import threading
import time

import pytest
import threadpoolctl

from cae_jax.codec import threads
from cae_jax.codec.threads import in_threads


def blas_threads():
  pools = threadpoolctl.threadpool_info()
  return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}


@pytest.fixture
def two_threads():
  """BLAS with two threads, if there is one that can be told; also SciPy's, if it came since."""
  threads._libraries.cache_clear()
  with threadpoolctl.threadpool_limits(2, "blas"):
    yield blas_threads()


def test_results_are_in_order():
  def slow_at_first(x, _):
    time.sleep(0.05 if x == 0 else 0)
    return x * x

  assert list(in_threads(slow_at_first, range(20))) == [x * x for x in range(20)]
  assert list(in_threads(slow_at_first, [])) == []


def test_blas_has_one_thread_meanwhile(two_threads):
  assert all(inside <= {1} for inside in in_threads(lambda *_: blas_threads(), range(3)))
  assert blas_threads() == two_threads


def test_of_users_at_once_the_last_one_gives_the_threads_back(two_threads):
  name = lambda x, _: str(x)
  first, second = in_threads(name, range(3)), in_threads(name, range(3))
  next(first), next(second)
  assert list(first) == ["1", "2"]  # the first to come is the first to go
  assert blas_threads() <= {1}
  assert list(second) == ["1", "2"]
  assert blas_threads() == two_threads


def test_an_error_ends_it(two_threads):
  done = []

  def fails_at_2(x, _):
    if x == 2:
      raise ValueError("two")
    time.sleep(0.01)
    done.append(x)

  with pytest.raises(ValueError, match="two"):
    list(in_threads(fails_at_2, range(1000)))
  assert len(done) < 100
  assert blas_threads() == two_threads


def test_results_nobody_waits_for_are_not_made(two_threads):
  done = []

  def slow(x, _):
    time.sleep(0.01)
    done.append(x)

  for _ in in_threads(slow, range(1000)):
    break
  assert len(done) < 100
  assert blas_threads() == two_threads


@pytest.mark.parametrize(("items", "at_once"), [(1, True), (2, True), (3, False), (9, False)])
def test_the_cores_go_to_items_or_to_their_parts(items, at_once, monkeypatch):
  monkeypatch.setattr(threads, "cores", lambda: 3)

  def work(_, over_parts):
    callers = over_parts(lambda _: (time.sleep(0.01), threading.get_ident())[1], range(12))
    return threading.get_ident(), set(callers)

  for caller, callers in in_threads(work, range(items)):
    assert (caller == threading.get_ident()) == at_once
    assert len(callers) == (3 if at_once else 1)
    assert caller in callers


def test_helpers_work_beside_the_calling_thread(monkeypatch, two_threads):
  monkeypatch.setattr(threads, "cores", lambda: 3)

  def who(_):
    time.sleep(0.01)
    assert blas_threads() <= {1}
    return threading.get_ident()

  with threads.helpers() as apply:
    assert list(apply(lambda x: x * x, range(50))) == [x * x for x in range(50)]
    callers = set(apply(who, range(20)))
    assert len(callers) == 3
    assert threading.get_ident() in callers
    assert list(apply(who, [])) == []
    assert list(apply(who, [0])) == [threading.get_ident()]
  assert blas_threads() == two_threads


@pytest.mark.parametrize("here", [True, False])
def test_an_error_of_a_part_ends_the_others(here, monkeypatch):
  monkeypatch.setattr(threads, "cores", lambda: 2)
  caller, done = threading.get_ident(), []

  def fails(_):
    time.sleep(0.01)
    if (threading.get_ident() == caller) == here:
      raise IndexError("one of the part's own")
    done.append(1)

  with threads.helpers() as apply, pytest.raises(IndexError, match="the part's own"):
    apply(fails, range(200))
  assert len(done) < 200


def test_a_process_that_keeps_to_one_core(monkeypatch):
  monkeypatch.setattr(threads, "_one_core", False)
  monkeypatch.setenv("NPROC", "5")  # of the user's own
  with threadpoolctl.threadpool_limits(2):  # gives back what there was
    threads.use_one_core()
    assert blas_threads() <= {1}
    assert threads.cores() == 1
    assert os.environ["NPROC"] == "5"
    callers = set(in_threads(lambda *_: threading.get_ident(), range(20)))
    assert callers == {threading.get_ident()}


def test_work_after_the_main_thread_is_done_by_one(monkeypatch):
  monkeypatch.setattr(threading, "main_thread", lambda: threading.Thread())
  assert threads.workers() == 1
  assert list(in_threads(lambda x, _: 2 * x, range(3))) == [0, 2, 4]


def test_a_forked_process_has_locks_of_its_own():
  program = """
import os
from cae_jax import api
from cae_jax.codec import threads
with threads._one_blas_thread._lock, api._lock:
  child = os.fork()
  if not child:
    os._exit(threads._one_blas_thread._lock.locked() or api._lock.locked())
raise SystemExit(os.waitpid(child, 0)[1])
"""
  assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
