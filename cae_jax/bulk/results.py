"""What came of a part of a data set, and of all: sums, and the images that failed."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from cae_jax.bulk.places import Place, remove_leftovers, written
from cae_jax.errors import UsageError
from cae_jax.paths import shown

DONE = "done"  # folder of the results of parts
JOB, SUMMARY, FAILURES = "job.json", "summary.json", "failures.jsonl"
# Settings whose values tell people nothing: what is said if one is another.
_FINGERPRINTS = {
  "images": "its images were others, or a tar file of them has changed since",
  "shards": "its shards were others",
}


class Failure(NamedTuple):
  """An image that is not in the output, or a file that images could not be read of.

  Attributes:
    name: of the image in its data set, or of the file.
    reason: one line.
  """

  name: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Result:
  """Sums over the images of a part, or of many.

  Attributes:
    shards: that were read or written.
    images: in them, without those that failed.
    pixels: of these images.
    image_bytes: of their image files, as they were read or written.
    cae_bytes: of their .cae files.
    shard_bytes: of the shards.
    failures: what is missing.
  """

  shards: int = 0
  images: int = 0
  pixels: int = 0
  image_bytes: int = 0
  cae_bytes: int = 0
  shard_bytes: int = 0
  failures: tuple[Failure, ...] = ()

  @property
  def rate_bpp(self) -> float | None:
    """Bits per pixel, over all pixels; None without any."""
    return 8 * self.cae_bytes / self.pixels if self.pixels else None

  @property
  def line(self) -> str:
    """The sums in words."""
    words = [f"{self.images} images in {self.shards} shards"]
    if self.rate_bpp is not None:
      words.append(f"{self.image_bytes} bytes of image files, {self.cae_bytes} of .cae files")
      words.append(f"{self.rate_bpp:.4f} bpp")
    return ", ".join([*words, f"{len(self.failures)} failed"])


class Done(NamedTuple):
  """A part that is done.

  Attributes:
    result: what came of it.
    state: of its images, as `Images.state` tells.
    files: the names of the image files that were made of it, from the output folder on.
  """

  result: Result
  state: str = ""
  files: tuple[str, ...] = ()


def total(results: Iterable[Result]) -> Result:
  """Adds results up; failures come in the order of their names."""
  results = list(results)
  sums = {
    field.name: sum(getattr(result, field.name) for result in results)
    for field in dataclasses.fields(Result)
    if field.name != "failures"
  }
  failures = sorted(failure for result in results for failure in result.failures)
  return Result(**sums, failures=tuple(failures))


def keep(output_dir: Place, name: str, done: Done) -> None:
  """Writes down that a part is done; from now on `kept` finds it."""
  fields = {**dataclasses.asdict(done.result), "state": done.state, "files": done.files}
  _write_json(_record(output_dir, name), fields)


def kept(output_dir: Place, name: str) -> Done | None:
  """Reads what `keep` wrote of a part; None if it is not done."""
  record = _record(output_dir, name)
  if not record.exists():
    return None
  fields = json.loads(record.read_text())
  state, files = fields.pop("state", ""), tuple(fields.pop("files", ()))
  failures = tuple(Failure(*failure) for failure in fields.pop("failures"))
  return Done(Result(**fields, failures=failures), state, files)


def write_summary(output_dir: Place, result: Result) -> None:
  """Writes the sums of all parts, and the failures, one JSON object a line."""
  with written(output_dir / FAILURES) as temporary:
    lines = (json.dumps(failure._asdict()) + "\n" for failure in result.failures)
    temporary.write_text("".join(lines), encoding="ascii")
  fields = {**dataclasses.asdict(result), "failures": len(result.failures)}
  _write_json(output_dir / SUMMARY, {**fields, "rate_bpp": result.rate_bpp})


def read_summary(output_dir: Place) -> Result:
  """Reads what `write_summary` wrote."""
  fields = json.loads((output_dir / SUMMARY).read_text())
  lines = (output_dir / FAILURES).read_text().splitlines()
  names = {field.name for field in dataclasses.fields(Result)}
  failures = tuple(Failure(**json.loads(line)) for line in lines)
  return Result(**{**{k: v for k, v in fields.items() if k in names}, "failures": failures})


def begin(output_dir: Place, settings: dict[str, Any]) -> None:
  """Begins a job in a folder, or goes on with it.

  Args:
    output_dir: where it writes.
    settings: all that its output depends on, JSON-able.
  Raises:
    UsageError: the folder holds a job of other settings.
  """
  path = output_dir / JOB
  if path.exists():
    before = json.loads(path.read_text())
    other = [
      _FINGERPRINTS.get(key) or f"{key} was {before.get(key)}, is {settings.get(key)}"
      for key in {**before, **settings}
      if before.get(key) != settings.get(key)
    ]
    if other:
      raise UsageError(
        f"{shown(output_dir)} holds another job: {'; '.join(other)}; go on with the same settings, "
        "or give another --output_dir"
      )
    remove_leftovers(output_dir)
  else:
    _write_json(path, settings)


def _record(output_dir: Place, name: str) -> Place:
  return output_dir / DONE / f"{name}.json"


def _write_json(path: Place, fields: dict[str, Any]) -> None:
  with written(path) as temporary:
    temporary.write_text(json.dumps(fields, indent=2) + "\n", encoding="ascii")
