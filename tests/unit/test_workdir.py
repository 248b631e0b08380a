"""One run at a time in a folder, and what counts as a run."""

import errno
import fcntl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cae_jax.errors import UsageError
from cae_jax.training.workdir import holds_run, locked

# Another process that holds the lock: prints a line, then waits for its end.
_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
file.write('{"pid": 1234, "host": "elsewhere", "started": "2026-11-26 10:00:00"}')
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
  process = subprocess.Popen(
    [sys.executable, "-c", _HOLDER, tmp_path / ".lock"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  with process:
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()


def test_a_second_run_is_told_who_is_at_work(holder, tmp_path):
  expected = r"another run is at work here \(process 1234 on elsewhere, since 2026-11-26 10:00:00\)"
  with pytest.raises(UsageError, match=expected), locked(tmp_path):
    pass


def test_the_lock_of_a_killed_process_is_taken_over_with_a_word(holder, tmp_path, capsys):
  holder.kill()
  holder.wait()
  with locked(tmp_path):
    assert "the run before (process 1234 on elsewhere" in capsys.readouterr().out
  with locked(tmp_path):
    assert capsys.readouterr().out == ""


def test_it_is_free_after_an_error(tmp_path):
  with pytest.raises(ZeroDivisionError), locked(tmp_path / "new"):
    raise ZeroDivisionError
  with locked(tmp_path / "new"):
    pass


def enter(folder):
  with locked(folder):
    pass


def enter_in_another_thread(folder):
  with ThreadPoolExecutor(1) as threads:
    threads.submit(enter, folder).result()


def test_the_same_thread_may_enter_again_and_no_other(tmp_path):
  with locked(tmp_path):
    enter(tmp_path / ".." / tmp_path.name)
    with pytest.raises(UsageError, match="another run is at work here"):
      enter_in_another_thread(tmp_path)
  enter_in_another_thread(tmp_path)


def test_a_folder_that_is_entered_once_more_is_kept_from_others_too(tmp_path):
  enter(tmp_path)
  with locked(tmp_path), pytest.raises(UsageError, match="another run is at work here"):
    enter_in_another_thread(tmp_path)


def test_where_nothing_can_be_locked_a_run_goes_on_with_a_word(tmp_path, monkeypatch, capsys):
  def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", flock)
  with locked(tmp_path):
    assert "cannot be locked (No locks available)" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("file", "content", "expected"),
  [
    ("flags.txt", "", False),
    (".lock", "", False),
    ("checkpoints/8.damaged/_CHECKPOINT_METADATA", "", False),
    ("checkpoints/8/_CHECKPOINT_METADATA", "", True),
    ("metrics.jsonl", '{"step": 0, "split": "valid"}\n', False),
    ("metrics.jsonl", '{"step": 1, "split": "train"}\n', True),
    ("weights.safetensors", "", True),
  ],
)
def test_only_what_a_run_has_done_makes_a_run(tmp_path, file, content, expected):
  path = tmp_path / file
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content)
  assert holds_run(tmp_path) == expected
