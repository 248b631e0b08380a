"""Many files: which there are in folders, in how many processes, and what came of each."""

import dataclasses
import functools
import os
import sys
import unicodedata
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from cae_jax import console
from cae_jax.atomic import check_allowed
from cae_jax.backend import BackendError
from cae_jax.commands.results import SUFFIX, Command, Result
from cae_jax.console import Complaint
from cae_jax.errors import UsageError
from cae_jax.paths import make_folder, shown
from cae_jax.streams import Place, Stream, check, name_of


class Job(NamedTuple):
  """A file to be made of another; without a target it is only read."""

  source: Place
  target: Place | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of a job: a result, a complaint, or neither if its target was there to be kept."""

  job: Job
  result: Result | None = None
  complaint: Complaint | None = None

  @property
  def status(self) -> str:
    """One of ok, skipped and failed."""
    if self.complaint is not None:
      return "failed"
    return "skipped" if self.result is None else "ok"


def single_job(files: Sequence[Place], suffix: str) -> Job:
  """Makes a job of IN and OUT, each of which may be a stream.

  Args:
    files: IN, or both; without OUT it is a file beside IN, of its name.
    suffix: of that file.
  Raises:
    UsageError: there are more names, or a stream cannot be used.
  """
  if len(files) == 1 and isinstance(files[0], Path) and not files[0].is_dir():
    files = files[0], files[0].with_name(_renamed(files[0], suffix))
  if len(files) != 2:
    raise UsageError(
      f"expected IN and OUT, got {_named(files)}; for folders and many files give --output_dir"
    )
  source, target = files
  target = Stream.OUTPUT if isinstance(target, Stream) else target
  check(source)
  check(target)
  return Job(source, target)


def _renamed(source: Path, suffix: str, keep_suffix: bool = False) -> str:
  """The name of what is made of a file; its own suffix is kept if that is meant."""
  name = source.name if keep_suffix else source.stem
  has_suffix = source.suffix.lower() == SUFFIX and name.lower().endswith(suffix)
  return name if has_suffix else name + suffix  # of a.png.cae: a.png, not a.png.png


def _named(files: Sequence[Place]) -> str:
  return name_of(files[0]) if len(files) == 1 else f"{len(files)} names"


def jobs_into_folder(
  files: Sequence[Place],
  output_dir: Path,
  suffix: str,
  takes: Callable[[str], bool],
  *,
  recursive: bool = False,
  keep_suffix: bool = False,
) -> tuple[list[Job], list[str]]:
  """Plans a file in a folder for each of several files, and for each file in folders.

  Args:
    files: files, which keep their names, and folders, whose files keep their sub-folders, too.
    output_dir: where all go.
    suffix: of the new files.
    takes: says by its name whether a file of a folder is meant; those that are named always are.
    recursive: folders within folders count, too. Hidden ones never do, nor hidden files.
    keep_suffix: the new one comes behind that of each file, as of a.png.cae.
  Returns:
    The jobs, and the names of files of the folders that are of other kinds.
  Raises:
    UsageError: two files would become one, a folder has none, or one is no file but a stream.
    OSError: a folder cannot be read.
  """
  jobs: list[tuple[Path, Path]] = []
  others: list[str] = []
  for place in files:
    if isinstance(place, Stream):
      raise UsageError(
        f"{place.value} has no name for its file in {shown(output_dir)}; expected - OUT"
      )
    found, not_meant = _files_in(place, takes, recursive) if place.is_dir() else ([place], [])
    others += not_meant
    for source in found:
      part = source.relative_to(place).parent if place.is_dir() else Path()
      jobs.append((source, output_dir / part / _renamed(source, suffix, keep_suffix)))
  jobs = list(dict.fromkeys(jobs))  # a file may be named, and lie in a folder that is
  way_out = ", or give --keep_suffix" if suffix == SUFFIX and not keep_suffix else ""
  _check_apart(jobs, way_out)
  return [Job(*job) for job in jobs], others


def _files_in(
  folder: Path, takes: Callable[[str], bool], recursive: bool
) -> tuple[list[Path], list[str]]:
  """Files of a folder that are meant, and names of those that are not; hidden ones do not count.

  A sub-folder that cannot be read is among the files, and fails by itself.
  """
  found: list[Path] = []
  others: list[str] = []

  def keep(error: OSError) -> None:
    if Path(error.filename) == folder:
      raise error
    found.append(Path(error.filename))

  for root, folders, names in os.walk(folder, onerror=keep):
    folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
    for name in sorted(names):
      if name.startswith("."):
        continue
      path = Path(root, name)
      if takes(name) and _may_be_file(path):
        found.append(path)
      else:
        others.append(name)
  if not found:
    way_out = "" if recursive else "; --recursive looks into the folders in it"
    raise UsageError(f"{shown(folder)}: no such files in this folder{way_out}")
  return found, others


def _may_be_file(path: Path) -> bool:
  """No pipe, for which one would wait; a link that leads nowhere is an error of its own."""
  return path.is_file() or not path.exists()


def _name_on_disk(path: Path) -> str:
  """The same of paths that are one file: on a Mac's disks, whatever the case, and the accents."""
  name = str(path)
  return unicodedata.normalize("NFC", name).casefold() if sys.platform == "darwin" else name


def _check_apart(jobs: Sequence[tuple[Path, Path]], way_out: str = "") -> None:
  sources: dict[str, Path] = {}
  for source, target in jobs:
    name = _name_on_disk(target)
    if name in sources:
      both = f"{shown(sources[name])} and {shown(source)}"
      raise UsageError(f"{both} would both become {shown(target)}; rename one{way_out}")
    sources[name] = source


@dataclasses.dataclass(frozen=True)
class Work:
  """Does one job, and says what came of it; processes can be told.

  Attributes:
    command: what to do.
    overwrite: files that are there; else those are an error.
    skip_existing: no error, but nothing to do.
    makes_folders: for targets; else they must be there.
    debug: complaints have a traceback.
  """

  command: Command
  overwrite: bool = False
  skip_existing: bool = False
  makes_folders: bool = False
  debug: bool = False

  def __call__(self, job: Job) -> Outcome:
    """Does a job; raises only what is no matter of this file: no device, or no output."""
    try:
      return self._done(job)
    except BackendError:
      raise
    except Exception as error:  # a bad file, or a bug that it shows, does not stop the others
      if job.target is Stream.OUTPUT and isinstance(error, OSError):
        raise
      name = job.source.value if isinstance(job.source, Stream) else job.source
      return Outcome(job, complaint=console.complaint(error, debug=self.debug, source=name))

  def _done(self, job: Job) -> Outcome:
    if isinstance(job.target, Path):
      self._make_room(job.target.parent)
    try:
      _check_other(job)
      # Seen before the work, if it can be; what is no regular file holds nothing to be lost.
      if isinstance(job.target, Path) and job.target.is_file() and not self.overwrite:
        raise FileExistsError
      if isinstance(job.target, Path):
        check_allowed(job.target)
      return Outcome(job, self.command(*job))
    except FileExistsError as error:
      if self.skip_existing:
        return Outcome(job)
      assert job.target is not None
      raise UsageError(f"{name_of(job.target)} exists; --force overwrites it") from error

  def _make_room(self, folder: Path) -> None:
    if self.makes_folders:
      make_folder(folder)
    elif not folder.is_dir():
      raise UsageError(f"{shown(folder)}: no such folder")


def _check_other(job: Job) -> None:
  """Raises UsageError if the file to be made is a folder, or the one to be read."""
  source, target = job
  if not (isinstance(source, Path) and isinstance(target, Path) and target.exists()):
    return
  if target.is_dir():
    raise UsageError(f"{shown(target)} is a folder; expected the name of a file")
  if source.exists() and source.samefile(target):
    is_cae = source.suffix.lower() == SUFFIX
    kind = f"compressed already, if it is a {SUFFIX} file" if is_cae else f"and no {SUFFIX} file"
    raise UsageError(f"{shown(target)} is the file to be read, too, {kind}; name another OUT")


def run(work: Work, jobs: Sequence[Job], count: int) -> Generator[Outcome, None, None]:
  """Does jobs, in this process or in others; gives what came of them, as they come.

  Args:
    work: what to do with each.
    jobs: the files.
    count: of processes.
  Raises:
    BackendError: JAX cannot work here, so no job can be done.
  """
  count = min(count, len(jobs))
  if count <= 1:
    yield from map(work, jobs)
  else:
    from cae_jax import processes

    yield from processes.unordered(functools.partial(_quietly, work), jobs, count, _lost)


def _quietly(work: Work, job: Job) -> Outcome:
  if not work.debug:
    console.silence_libraries()
  return work(job)


def _lost(job: Job) -> Outcome:
  message = (
    f"{name_of(job.source)}: the process that worked on it has died, for want of memory perhaps"
  )
  return Outcome(job, complaint=Complaint(message, console.USAGE_STATUS))


@dataclasses.dataclass
class Totals:
  """Sums over the outcomes of a batch, for one line at its end."""

  files: int = 0
  skipped: int = 0
  failed: int = 0
  bytes_before: int = 0
  bytes_after: int = 0
  cae_bytes: int = 0
  pixels: int = 0

  def add(self, outcome: Outcome) -> None:
    """Counts one more."""
    self.files += 1
    self.skipped += outcome.status == "skipped"
    self.failed += outcome.status == "failed"
    if outcome.result is not None:
      fields = outcome.result.fields
      self.cae_bytes += fields["size_bytes"]
      self.bytes_before += fields.get("input_bytes", fields["size_bytes"])
      self.bytes_after += fields.get("output_bytes", fields["size_bytes"])
      self.pixels += fields["width"] * fields["height"]

  def line(self, seconds: float) -> str:
    """Puts them into words; the mean of bits is over all pixels, of files that were made now."""
    words = [f"{self.files} file{'s' * (self.files != 1)}"]
    words += [f"{n} {name}" for name in ("skipped", "failed") if (n := getattr(self, name))]
    if self.pixels:
      words.append(f"{self.bytes_before} -> {self.bytes_after} bytes")
      if self.cae_bytes == self.bytes_after:
        change = 100 * (self.bytes_after / self.bytes_before - 1)
        words.append(f"{abs(change):.1f} % {'more' if change > 0 else 'saved'}")
      words.append(f"{8 * self.cae_bytes / self.pixels:.4f} bpp")
    return ", ".join([*words, f"{seconds:.1f} s"])
