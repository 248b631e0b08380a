import gc
import io
import os
import sys
from pathlib import Path

import pytest

from cae_jax import console
from cae_jax.coding.errors import BitstreamError
from cae_jax.errors import Error, MissingExtraError, UsageError

NAME = os.fsdecode(b"caf\xe9  1\n.png")


@pytest.mark.parametrize(
  ("error", "line", "status"),
  [
    (Error("expected a, got b"), "expected a, got b", 2),
    (UsageError(""), "UsageError", 2),
    (MissingExtraError("needs cae_jax[report]"), "needs cae_jax[report]", 2),
    (BitstreamError("rans", 7, "left over"), "left over (section 'rans', byte 7)", 2),
    (UsageError("two\n  lines\n"), "two lines", 2),
    (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png: No such file or ", 2),
    (FileNotFoundError(2, "No such file or directory", NAME), r"caf\xe9  1\n.png: No such", 2),
    (OSError(28, "No space left on device"), "No space left on device", 2),
    (OSError("broken file"), "broken file", 2),
    (MemoryError(), "not enough memory", 2),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "not enough memory", 2),
    (KeyboardInterrupt(), "interrupted", 130),
  ],
)
def test_what_a_user_can_mend_is_one_line(error, line, status, capsys):
  assert console.is_users_fault(error)
  assert console.report(error) == status
  [said] = capsys.readouterr().err.splitlines()
  assert said.startswith(f"error: {line}")


@pytest.mark.parametrize(
  "error", [ValueError("x"), RuntimeError("x"), KeyError("x"), AssertionError(), ImportError("x")]
)
def test_anything_else_is_a_bug(error, capsys):
  assert not console.is_users_fault(error)
  assert console.complaint(error, source="a.png").show() == 1
  first, *_, last = capsys.readouterr().err.splitlines()
  assert type(error).__name__ in first
  assert last.startswith(f"error: a.png: internal error ({type(error).__name__}: ")
  assert last.endswith("please report it with the traceback above")


def test_the_traceback_is_shown_if_asked_for(capsys):
  with pytest.raises(UsageError) as error:
    raise UsageError("no")
  assert console.report(error.value, debug=True) == 2
  lines = capsys.readouterr().err.splitlines()
  assert lines[0].startswith("Traceback")
  assert lines[-1] == "error: no"


@pytest.mark.parametrize(
  ("message", "line"),
  [
    ("is broken", r"caf\xe9  1\n.png: is broken"),
    (f"{NAME}: is broken", r"caf\xe9  1\n.png: is broken"),
    (r"caf\xe9  1\n.png is broken", r"caf\xe9  1\n.png is broken"),
  ],
)
def test_the_file_at_work_is_named_once(message, line, capsys):
  console.complaint(Error(message), source=Path(NAME)).show()
  assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize(
  ("encoding", "printed"),
  [("ascii", rb"\xe9\u56f3\udce9"), ("utf-8", "é図".encode() + rb"\udce9")],
)
def test_all_text_can_be_printed(encoding, printed, monkeypatch):
  raw = io.BytesIO()
  monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, errors="strict"))
  console.prepare_streams()
  print("é図\udce9", flush=True)
  assert raw.getvalue() == printed + b"\n"


def test_streams_that_are_no_files_stay_as_they_are(monkeypatch):
  monkeypatch.setattr(sys, "stdout", io.StringIO())
  monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
  console.prepare_streams()
  with sys.stderr:
    assert sys.stderr.fileno() > 2


def test_garbage_is_looked_for_seldom_while_a_program_runs():
  before = gc.get_threshold()
  with console.few_collections():
    assert gc.isenabled()
    assert gc.get_threshold() == (100_000, *before[1:])
  assert gc.get_threshold() == before
