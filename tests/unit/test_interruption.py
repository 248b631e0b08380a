import os
import signal
import threading

import pytest

from cae_jax.training import interruption
from cae_jax.training.interruption import Interruption


@pytest.fixture(autouse=True)
def _as_before():
  """Leaves no handler of a failed test behind."""
  names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
  numbers = [signal.Signals[name] for name in names]
  handlers = {number: signal.getsignal(number) for number in numbers}
  yield
  for number, handler in handlers.items():
    signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_signals_only_ask(name):
  number = signal.Signals[name]
  signal.signal(number, signal.SIG_DFL)  # not ignored, as SIGHUP is under nohup
  before = signal.getsignal(number)
  with Interruption() as asked:
    assert not asked.agreed(check=True)
    os.kill(os.getpid(), number)
    assert asked.agreed(check=True)
  assert signal.getsignal(number) is before


def test_a_second_ctrl_c_raises():
  with Interruption():
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_two_at_once_are_one(monkeypatch):
  clock = iter([10.0, 10.1, 10.9, 11.1])
  monkeypatch.setattr(interruption.time, "monotonic", lambda: next(clock))
  with Interruption() as asked:
    for _ in range(3):
      os.kill(os.getpid(), signal.SIGINT)
    assert asked.requested
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_a_second_signal_of_another_kind_only_asks_again():
  with Interruption() as asked:
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert asked.requested


def test_under_nohup_a_closed_terminal_stays_ignored():
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with Interruption() as asked:
    os.kill(os.getpid(), signal.SIGHUP)
    assert not asked.requested


def test_in_another_thread_it_changes_nothing():
  before = signal.getsignal(signal.SIGTERM)
  seen = []

  def enter():
    with Interruption():
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert seen == [before]
