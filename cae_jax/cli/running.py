"""Files, one or many: which to make, how each is made, and what is said of it."""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cae_jax import batch, console, streams
from cae_jax.batch import Job, Outcome
from cae_jax.commands.results import Command
from cae_jax.errors import UsageError
from cae_jax.images.contents import listed
from cae_jax.paths import make_folder, shown
from cae_jax.streams import Stream


def plan(
  arguments: argparse.Namespace,
  suffix: str,
  takes: Callable[[str], bool],
  check: Callable[[Path], None],
) -> list[Job]:
  """Plans which files to make: many in --output_dir, else one that passes a check."""
  files, folder = arguments.files, arguments.output_dir
  keep_suffix = getattr(arguments, "keep_suffix", False)
  if folder is not None:
    jobs, others = batch.jobs_into_folder(
      files,
      folder,
      suffix,
      takes,
      recursive=arguments.recursive,
      keep_suffix=keep_suffix,
    )
    if others:
      print(_of_others(others), file=sys.stderr)
    return jobs
  if arguments.recursive:
    raise UsageError("--recursive is for folders; give --output_dir")
  if keep_suffix:
    raise UsageError("--keep_suffix is for names in a folder; give --output_dir, or name OUT")
  job = batch.single_job(files, suffix)
  if isinstance(job.source, Path) and job.source.is_dir():
    raise UsageError(f"{shown(job.source)} is a folder; for those in it give --output_dir")
  if isinstance(job.target, Path):
    check(job.target)
  elif arguments.json:
    raise UsageError(f"--json and - both need {Stream.OUTPUT.value}; expected one of them")
  return [job]


def _of_others(names: Sequence[str]) -> str:
  suffixes = sorted({shown(Path(name).suffix.lower()) or "no suffix" for name in names})
  count = f"{len(names)} file{'s' * (len(names) > 1)}"
  return f"{count} of other kinds passed over ({listed(suffixes)})"


def write_files(command: Command, jobs: Sequence[Job], arguments: argparse.Namespace) -> int:
  """Runs a command that writes files, never over others unless --force says so."""
  folder = arguments.output_dir
  work = batch.Work(
    command,
    overwrite=arguments.force,
    skip_existing=arguments.skip_existing,
    makes_folders=folder is not None,
    debug=arguments.debug,
  )
  if folder is None:
    return run_jobs(work, jobs, arguments)
  make_folder(folder)
  totals, started = batch.Totals(), time.monotonic()
  try:
    return run_jobs(work, jobs, arguments, totals)
  finally:
    if totals.files:
      print(totals.line(time.monotonic() - started), file=sys.stderr)


def run_jobs(
  work: batch.Work,
  jobs: Sequence[Job],
  arguments: argparse.Namespace,
  totals: batch.Totals | None = None,
) -> int:
  """Does all jobs, and tells of each; a bad file does not stop the others."""
  status = 0
  count = getattr(arguments, "jobs", 1)
  with contextlib.closing(batch.run(work, jobs, count)) as outcomes:
    for outcome in outcomes if len(jobs) == 1 else _with_bar(outcomes, len(jobs)):
      if totals is not None:
        totals.add(outcome)  # before it is told: what Ctrl-C follows is counted
      status = _worse(status, _tell(outcome, arguments.json))
  return status


def _with_bar(outcomes: Iterable[Outcome], count: int) -> Iterator[Outcome]:
  """Shows where a person watches how many are done, apart from what is printed of each."""
  from tqdm import tqdm

  with tqdm(total=count, unit="file", disable=None) as bar:
    for outcome in outcomes:
      with tqdm.external_write_mode():
        yield outcome
      bar.update()


def _tell(outcome: Outcome, as_json: bool) -> int:
  """Prints what came of a file; returns the exit status that it calls for."""
  job, result = outcome.job, outcome.result
  # Standard output is the file's own, if it is there.
  output = sys.stderr if job.target is Stream.OUTPUT else sys.stdout
  if as_json:
    print(json.dumps(_object(outcome), allow_nan=False), file=output, flush=True)
  elif result is not None:
    print(result.words, file=output, flush=True)
  elif outcome.complaint is None and job.target is not None:
    there = streams.name_of(job.target)
    print(f"{streams.name_of(job.source)}: skipped, {there} is there", file=output, flush=True)
  return 0 if outcome.complaint is None else outcome.complaint.show()


def _object(outcome: Outcome) -> dict[str, Any]:
  """What --json says of a file."""
  places = {"input": outcome.job.source, "output": outcome.job.target}
  return {
    **{key: streams.argument_of(place) for key, place in places.items() if place is not None},
    "status": outcome.status,
    **({} if outcome.complaint is None else {"error": outcome.complaint.message}),
    **({} if outcome.result is None else outcome.result.fields),
  }


def _worse(status: int, other: int) -> int:
  return console.BUG_STATUS if console.BUG_STATUS in (status, other) else status or other
