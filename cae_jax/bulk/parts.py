"""A data set in parts, each of which becomes a shard; found without reading the images."""

import abc
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cae_jax.bulk.places import Place, stamp
from cae_jax.data import listing
from cae_jax.data.listing import Member
from cae_jax.paths import shown


class Images(abc.ABC):
  """Some images of a data set in an order of their own; can be sent to other machines."""

  @property
  @abc.abstractmethod
  def name(self) -> str:
    """What they are in."""

  @abc.abstractmethod
  def count(self) -> int:
    """Counts the images, without reading them."""

  @abc.abstractmethod
  def read(self, start: int, stop: int | None) -> Iterator[Member]:
    """Reads images by their numbers; without a stop up to the last.

    Raises:
      Error, OSError: the file that they are in cannot be read, or no further.
    """

  def key(self) -> str:
    """Tells what the parts depend on: with another key they are those of another job."""
    return repr(self)

  def state(self, start: int, stop: int | None) -> str:
    """Tells whether images by their numbers have changed, where the key does not."""
    return ""


class Part(NamedTuple):
  """Images that become one shard.

  Attributes:
    name: of the shard, without its suffix.
    images: where they are.
    start, stop: which of them; without a stop all from there on.
  """

  name: str
  images: Images
  start: int
  stop: int | None


@dataclasses.dataclass(frozen=True)
class ImageFiles(Images):
  """Image files of a folder, by their names from there on."""

  source_dir: Place
  names: tuple[str, ...]

  @property
  def name(self) -> str:
    return shown(self.source_dir)

  def count(self) -> int:
    return len(self.names)

  def read(self, start: int, stop: int | None) -> Iterator[Member]:
    for name in self.names[start:stop]:
      yield from listing.read_members(self.source_dir / name, self.source_dir)

  def state(self, start: int, stop: int | None) -> str:
    return fingerprint(stamp(self.source_dir / name) for name in self.names[start:stop])


@dataclasses.dataclass(frozen=True)
class TarShard(Images):
  """The images of a tar shard of a folder, or of one that stands alone."""

  source_dir: Place
  path: Place

  @property
  def name(self) -> str:
    return shown(listing.relative_name(self.path, self.source_dir))

  def count(self) -> int:
    return listing.count_members(self.path)

  def read(self, start: int, stop: int | None) -> Iterator[Member]:
    return listing.read_members(self.path, self.source_dir, start, stop)

  def key(self) -> str:
    # A tar file that has changed may be one of fewer parts.
    return f"{self!r} {stamp(self.path)}"


@dataclasses.dataclass(frozen=True)
class Records(Images):
  """The images of a TFDS data set that has been prepared.

  Attributes:
    dataset, split, data_dir: as of `sources.load_source`.
    length: images of the split.
  """

  dataset: str
  split: str
  data_dir: Place | None
  length: int

  @property
  def name(self) -> str:
    return f"{self.dataset} {self.split}"

  def count(self) -> int:
    return self.length

  def read(self, start: int, stop: int | None) -> Iterator[Member]:
    source = _source(self.dataset, self.split, self.data_dir)
    return map(source.file, range(self.length)[start:stop])


def of_folder(source_dir: Place, images_per_shard: int) -> list[Images]:
  """Finds what a folder holds: image files, as many at a time as go into a shard, and tar shards.

  Raises:
    FileNotFoundError, ImageError: as `listing.list_files`.
  """
  paths = listing.list_files(source_dir)
  tars = [path for path in paths if listing.is_tar(path.name)]
  loose = [path for path in paths if not listing.is_tar(path.name)]
  root = source_dir.parent if loose == [source_dir] else source_dir
  names = iter([listing.relative_name(path, root) for path in loose])
  found: list[Images] = []
  while chunk := tuple(itertools.islice(names, images_per_shard)):
    found.append(ImageFiles(root, chunk))
  return found + [TarShard(source_dir, path) for path in tars]


def of_dataset(dataset: str, split: str, data_dir: Place | None) -> list[Images]:
  """Finds the images of a TFDS data set, which is downloaded and prepared at the first call.

  Raises:
    Error: as `sources.load_source`.
  """
  return [Records(dataset, split, data_dir, len(_source(dataset, split, data_dir)))]


def fingerprint(lines: Iterable[str]) -> str:
  """Makes 16 hex digits of what a data set consists of, in its order."""
  digest = hashlib.sha256()
  for line in lines:
    digest.update(f"{line}\n".encode(errors="surrogateescape"))
  return digest.hexdigest()[:16]


def split(number: int, images: Images, images_per_shard: int) -> Iterator[Part]:
  """Splits images into parts of as many as go into a shard; there is at least one.

  The last is open, so that it meets whatever follows the images that could be counted.

  Args:
    number: of these images in the data set.
    images: to be split.
    images_per_shard: of each part but the last.
  """
  starts: Sequence[int] = range(0, max(1, images.count()), images_per_shard)
  for part, start in enumerate(starts):
    stop = None if start == starts[-1] else start + images_per_shard
    yield Part(f"{number:05d}-{part:05d}", images, start, stop)


@functools.lru_cache(maxsize=1)
def _source(dataset: str, split: str, data_dir: Place | None):
  from cae_jax.data import sources  # brings TFDS with it

  return sources.load_source(dataset, split, data_dir=data_dir)
