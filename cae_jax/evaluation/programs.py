"""Runs the programs of others."""

import subprocess
from collections.abc import Sequence

from cae_jax.evaluation.codecs.base import CodecError

_TIMEOUT_S = 600


def run(command: Sequence[str], check: bool = True) -> str:
  """Runs a program and returns what it printed, errors last.

  Args:
    command: the program and its arguments.
    check: whether a status other than 0 is a failure.
  Raises:
    CodecError: it could not run, took ten minutes, or failed.
  """
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
  except (OSError, subprocess.TimeoutExpired) as error:
    raise CodecError(f"{command[0]} did not run: {error}") from error
  if check and done.returncode:
    words = (done.stderr or done.stdout).strip()[-300:]
    raise CodecError(f"{command[0]} ended with status {done.returncode}: {words}")
  return done.stdout + done.stderr
