"""Feeds damaged files to the decoder: each is refused as such, or decoded as it stands.

  python -m tests.benchmarks.fuzz --count=100000 [--record=FILE.json] [--seed=0] [--models=NAME,...]

Files of all models and kinds are flipped, cut, lengthened, spliced, given lying sizes, broken
metadata, other parameters, kinds and sections. Nine of ten then get right checksums, so that the
damage reaches the code behind them. Each is decoded; then, by turns, a region of it, a preview,
what is left of it, or an image file in several formats. What goes wrong is one of

- "wrong picture": another one than the header and the checksums of the sections stand for,
- "error": another exception than a BitstreamError that names its section,
- "hang": more than a minute of CPU time,
- "memory": a file that lets the process grow by more than 512 MiB,

and kept, file by file, in the record; the program goes on, and ends with status 1. With a record it
goes on from there if it was stopped.
"""

import argparse
import collections
import contextlib
import dataclasses
import faulthandler
import itertools
import json
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cae_jax.atomic import replace_atomically
from cae_jax.codec.decoded import Decoded
from cae_jax.codec.kinds import has_alpha
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.coding.bitstream import MAX_PIXELS, Header, Kind, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.commands import decompressing, loading
from cae_jax.errors import UsageError
from cae_jax.images.files import ImageError, ImageFile, read_image
from cae_jax.images.pixels import turn
from tests.benchmarks import damage
from tests.golden import FOLDER as GOLDEN

# Names of golden weights, or files; a file of each by turns.
MODELS = ("context", "lossless", "context", "lossless", "hyperprior", "factorized", "paper")
SUFFIXES = (".png", ".tif", ".avif", ".webp", ".jpg")
EXACT_SUFFIXES = (".png", ".tif")
SLOWEST_S = 60.0  # of CPU time, compiling for another size included
HANGS_S = 1200.0  # of wall time, where not even a signal is heard: the program ends
GROWTH_MIB = 512
_LARGEST_WITH_PARTS = 1 << 20  # pixels; of larger ones no parts are decoded
_EACH = 200  # files between two writes of the record


class WrongPicture(AssertionError):
  """A file was decoded to another picture than it stands for."""


class Hang(AssertionError):
  """A file took too long."""


@dataclasses.dataclass
class Record:
  """What has become of damaged files so far.

  Attributes:
    seed, models: of the run.
    files: how many.
    cpu_s: all together, starts of the program included.
    slowest_s: CPU time of the slowest file.
    peak_mib: largest resident memory.
    outcomes: by model and version of the undamaged file ("context 2"), how often each.
    failures: number, model, what went wrong, and the file in hex.
  """

  seed: int = 0
  models: Sequence[str] = MODELS
  files: int = 0
  cpu_s: float = 0.0
  slowest_s: float = 0.0
  peak_mib: float = 0.0
  outcomes: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
  failures: list[dict] = dataclasses.field(default_factory=list)

  def add(self, source: str, outcome: str) -> None:
    """Counts one."""
    of = self.outcomes.setdefault(source, {})
    of[outcome] = of.get(outcome, 0) + 1

  def total(self, beginning: str = "") -> collections.Counter[str]:
    """Outcomes of all sources whose name begins like this, together."""
    return sum(
      (collections.Counter(of) for name, of in self.outcomes.items() if name.startswith(beginning)),
      collections.Counter(),
    )

  def save(self, path: Path) -> None:
    """Writes it."""
    with replace_atomically(path) as temporary:
      temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")


def load(path: Path | None, seed: int, models: Sequence[str]) -> Record:
  """Reads the record of a run that is to go on, or begins one."""
  if path is None or not path.exists():
    return Record(seed, list(models))
  record = Record(**json.loads(path.read_text(encoding="utf-8")))
  if (record.seed, record.models) != (seed, list(models)):
    raise UsageError(f"{path} is of seed {record.seed} and models {','.join(record.models)}")
  return record


def run(
  count: int,
  *,
  models: Sequence[str] = MODELS,
  seed: int = 0,
  path: Path | None = None,
  progress: bool = False,
) -> Record:
  """Decodes damaged files until there have been `count`.

  Args:
    count: how many, those that a record holds included.
    models: names of golden weights, or files of weights.
    seed: of the damage; each file depends on it and its number only.
    path: of the record, to go on with; none is kept if not given.
    progress: shows a bar.
  Raises:
    UsageError: the record is of another run.
  """
  record = load(path, seed, models)
  started, before = time.process_time(), record.cpu_s
  with tempfile.TemporaryDirectory() as folder:
    trials = {name: _Trial(name, Path(folder)) for name in dict.fromkeys(models)}
    numbers = range(record.files, count)
    for number in tqdm(numbers, unit="file", disable=not progress, mininterval=10):
      name = models[number % len(models)]
      _try(record, trials[name], name, number)
      record.cpu_s = round(before + time.process_time() - started, 1)
      if path is not None and (record.files % _EACH == 0 or record.files == count):
        record.save(path)
  return record


def _try(record: Record, trial: "_Trial", name: str, number: int) -> None:
  """Decodes the file of a number, and puts into the record what came of it."""
  rng = np.random.default_rng([record.seed, number])
  original = trial.files[rng.integers(len(trial.files))]
  data = damage.mutated(original, trial.files, rng)
  start, largest = time.process_time(), _peak_mib()
  try:
    with _at_most(SLOWEST_S):
      outcome = trial.outcome(data, rng)
    grown = _peak_mib() - largest
    failure = f"memory: {grown:.0f} MiB" if grown > GROWTH_MIB else ""
  except WrongPicture as error:
    failure = f"wrong picture: {error}"
  except Hang as error:
    failure = f"hang: {error}"
  except Exception as error:
    failure = f"error: {type(error).__name__}: {error}"
  if failure:
    outcome = failure.partition(":")[0]
    record.failures.append(
      {"number": number, "model": name, "what": failure, "data": data.hex()},
    )
  record.add(f"{name} {unpack(original).header.version}", outcome)
  record.files += 1
  record.slowest_s = round(max(record.slowest_s, time.process_time() - start), 2)
  record.peak_mib = round(max(record.peak_mib, _peak_mib()), 1)


def _peak_mib() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
  """Raises Hang after so much CPU time; ends the program if it does not even get there."""

  def stop(*_):
    raise Hang(f"more than {seconds:g} s")

  handler = signal.signal(signal.SIGPROF, stop)
  signal.setitimer(signal.ITIMER_PROF, seconds)
  faulthandler.dump_traceback_later(HANGS_S, exit=True)
  try:
    yield
  finally:
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, handler)


class _Trial:
  """A codec, files that it made, and what decoding damaged ones must give.

  Attributes:
    files: undamaged ones.
  """

  def __init__(self, name: str, folder: Path):
    golden = GOLDEN / f"{name}.safetensors"
    self._weights, self._folder = golden if golden.exists() else Path(name), folder
    self._codec = loading.load_codec(str(self._weights))
    self._exact = isinstance(self._codec, LosslessCodec)
    # In lossless files a lying size takes as long as a true one.
    self._limit = damage.MAX_PIXELS if self._exact else MAX_PIXELS
    self._suffixes = itertools.cycle(EXACT_SUFFIXES if self._exact else SUFFIXES)
    self.files = damage.originals(self._codec)
    self._pictures = {_claims(data): self._codec.decompress(data) for data in self.files}

  def outcome(self, data: bytes, rng: np.random.Generator) -> str:
    """Decodes a file, and one of its parts.

    Returns:
      "decoded", or why it was refused.
    Raises:
      WrongPicture, or whatever the decoder raises beside BitstreamError.
    """
    whole = None
    try:
      whole = self._codec.decode(data, max_pixels=self._limit)
      said = "decoded"
    except BitstreamError as error:
      said = f"refused: {error.section}"
      _right(bool(error.section and str(error)), "an error without words")
    except UsageError:
      header = unpack(data).header
      _right(header.height * header.width > self._limit, "refused for its size")
      said = "refused: too many pixels"
    if whole is not None:
      self._check(data, whole.image)
    parts = (self._file, self._region, self._left_over, self._preview)
    parts[rng.integers(len(parts))](data, whole, rng)
    return said

  def _check(self, data: bytes, image: np.ndarray) -> None:
    """The picture is the one that the file stands for."""
    _is_of(image, unpack(data).header)
    claims = _claims(data)
    if claims in self._pictures:
      found, expected = image, self._pictures[claims]
      if claims[0].version == 1:  # it had no checksum of opacity
        found, expected = _colours(found), _colours(expected)
      _same(found, expected, "whole")

  def _region(self, data: bytes, whole: Decoded | None, rng: np.random.Generator) -> None:
    """Is that of the whole."""
    header = self._header(data)
    if header is None:
      return
    top, left = int(rng.integers(header.height)), int(rng.integers(header.width))
    height = int(rng.integers(1, header.height - top + 1))
    width = int(rng.integers(1, header.width - left + 1))
    part = self._decoded(data, region=(top, left, height, width))
    if whole is not None:
      _right(part is not None, "no region")
      _same(part.image, whole.image[top : top + height, left : left + width], "region")

  def _left_over(self, data: bytes, whole: Decoded | None, rng: np.random.Generator) -> None:
    """Is the whole of an undamaged file; of a lossless one, all but what is named as damage."""
    header = self._header(data)
    found = None if header is None else self._decoded(data, salvage=True)
    if found is None:
      _right(whole is None or header is None, "nothing left of a whole file")
      return
    _is_of(found.image, header)
    if whole is not None:
      _right(found.damage == (), "damage of a whole file")
      _same(found.image, whole.image, "left over")
    claims = _claims(data)
    if self._exact and header.version > 1 and claims in self._pictures:
      intact = np.ones(found.image.shape[:2], bool)
      for part in found.damage:
        intact[part.top : part.top + part.height, part.left : part.left + part.width] = False
      _same(found.image[intact], self._pictures[claims][intact], "left over beside damage")

  def _preview(self, data: bytes, whole: Decoded | None, rng: np.random.Generator) -> None:
    """Has the right size."""
    header = self._header(data)
    if header is None:
      return
    try:
      preview = self._codec.preview(data)
    except BitstreamError:
      _right(whole is None, "no preview of a whole file")
      return
    small = dataclasses.replace(header, height=-(-header.height // 8), width=-(-header.width // 8))
    _is_of(preview, small)

  def _file(self, data: bytes, whole: Decoded | None, rng: np.random.Generator) -> None:
    """Is there if, and only if, the file was decoded, and holds the same."""
    suffix = next(self._suffixes)
    source, target = self._folder / "in.cae", self._folder / f"out{suffix}"
    source.write_bytes(data)
    try:
      decompressing.decompress_file(
        source, target, weights=str(self._weights), max_pixels=self._limit
      )
    except (BitstreamError, UsageError):
      _right(whole is None, "no file of a whole one")
    except ImageError:
      _right(suffix == ".jpg" and has_alpha(unpack(data).header.kind), "refused as an image")
    else:
      _right(whole is not None, "a file of a damaged one")
      self._check_file(target, whole)
      target.unlink()
    _right([*self._folder.iterdir()] == [source], "a file was left")

  def _check_file(self, target: Path, whole: Decoded) -> None:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # of EXIF that Pillow can read in part only
      with Image.open(target) as image:
        image.load()
      found = read_image(target, exact=self._exact)
    _right(image.size == whole.image.shape[1::-1], f"a file of {image.size} pixels")
    if self._exact:
      _same(found.pixels, turn(whole.image, _orientation(found)), "file")

  def _header(self, data: bytes) -> Header | None:
    """The header, if it can be read and the image is no large one."""
    try:
      header = unpack(data, salvage=True).header
    except BitstreamError:
      return None
    small = header.height * header.width <= min(self._limit, _LARGEST_WITH_PARTS)
    return header if small else None

  def _decoded(self, data: bytes, **options) -> Decoded | None:
    try:
      return self._codec.decode(data, **options)
    except BitstreamError:
      return None


def _right(is_right: bool, what: str) -> None:
  if not is_right:
    raise WrongPicture(what)


def _same(found: np.ndarray, expected: np.ndarray, what: str) -> None:
  same = found.dtype == expected.dtype and np.array_equal(found, expected)
  _right(same, f"{what} differs")


def _is_of(image: np.ndarray, header: Header) -> None:
  """An image has the size and the kind of a header."""
  channels = image.shape[2] if image.ndim == 3 else 1
  kind = Kind(channels | (16 if image.dtype == np.uint16 else 0))
  right = image.shape[:2] == (header.height, header.width) and kind == header.kind
  _right(right, f"{image.dtype} {image.shape} for {header}")


def _claims(data: bytes) -> tuple[Header, tuple[bytes, ...]]:
  """What a file says of its picture: the header, and the checksums of its sections."""
  container = unpack(data, salvage=True)
  return container.header, tuple(section[:4] for section in container.sections)


def _orientation(image: ImageFile) -> int:
  """That broken EXIF made readers apply."""
  said = [note.split()[2] for note in image.notes if note.startswith("EXIF orientation")]
  return int(said[0]) if said else 1


def _colours(image: np.ndarray) -> np.ndarray:
  return image if image.ndim == 2 else image[..., : image.shape[2] - 1 + image.shape[2] % 2]


def main() -> int:
  """Runs the fuzzer from the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--count", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--record", type=Path, help="a JSON file to write and to go on with")
  parser.add_argument("--models", default=",".join(MODELS), help="golden weights, or files")
  args = parser.parse_args()
  models = args.models.split(",")
  record = run(args.count, models=models, seed=args.seed, path=args.record, progress=True)
  for source, outcomes in sorted(record.outcomes.items()):
    files = sum(outcomes.values())
    print(f"{source}: {files} files")
    for name, times in collections.Counter(outcomes).most_common():
      print(f"  {name:28} {times:8} {times / files:7.2%}")
  print(
    f"{record.files} files in {record.cpu_s:.0f} CPU seconds, the slowest {record.slowest_s} s;"
    f" peak {record.peak_mib:.0f} MiB; {len(record.failures)} failures"
  )
  for failure in record.failures:
    print(f"file {failure['number']} of {failure['model']}: {failure['what']}")
  return int(bool(record.failures))


if __name__ == "__main__":
  sys.exit(main())
