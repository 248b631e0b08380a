"""Shards of .cae files: ArrayRecord files, of which a record is a whole .cae file.

A record is what `cae_jax.compress` makes, and `cae_jax.decompress` takes. Its metadata say which
image it is of: `name`, and `digest`, the first bytes of the `pixel_digest` of the original.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_record.python import array_record_data_source, array_record_module

from cae_jax.coding.bitstream import Container, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.data import listing
from cae_jax.data.views import Example, ImageSource, SplitError, pixel_digest
from cae_jax.images.files import ImageError
from cae_jax.images.pixels import to_8_bits, to_rgb
from cae_jax.paths import shown, user_path

SUFFIX = ".array_record"
_NAME, _DIGEST = "name", "digest"
_DIGEST_BYTES = 8
# A record a chunk is what random access needs; .cae files do not get smaller.
_OPTIONS = "group_size:1,uncompressed"

Decode = Callable[[bytes], np.ndarray]


class Label(NamedTuple):
  """Which image a record is of.

  Attributes:
    name: as in the data set that it comes from; empty if the file has none.
    digest: the first 8 bytes of `views.pixel_digest` of the original; empty if the file has none.
  """

  name: str
  digest: bytes

  @classmethod
  def of(cls, name: str, digest: bytes) -> "Label":
    """Makes a label of a name and a `pixel_digest`."""
    return cls(name, digest[:_DIGEST_BYTES])

  @classmethod
  def read(cls, container: Container) -> "Label":
    """Reads the label of a file."""
    metadata = container.metadata
    return cls(metadata.get(_NAME, b"").decode(errors="replace"), metadata.get(_DIGEST, b""))

  @property
  def metadata(self) -> dict[str, bytes]:
    """The entries of a file's metadata."""
    entries = {_NAME: self.name.encode(errors="replace"), _DIGEST: self.digest}
    return {name: value for name, value in entries.items() if value}


def write_shard(path: str | os.PathLike, records: Iterable[bytes]) -> int:
  """Writes a shard; the same records make the same bytes.

  Args:
    path: of the file, which is written over.
    records: .cae files, whole ones.
  Returns:
    Their number.
  Raises:
    OSError: it cannot be written.
  """
  name, count = os.fspath(path), 0
  writer = array_record_module.ArrayRecordWriter(name, _OPTIONS)
  try:
    for record in records:
      count += 1
      writer.write(record)  # fails at the end
  finally:
    try:
      writer.close()
    except RuntimeError as error:
      raise OSError(f"{shown(name)}: cannot be written ({error})") from error
  reader = _opened(name)
  found = reader.num_records()
  reader.close()
  if found != count:
    raise OSError(f"{shown(name)}: {found} of {count} records are in it")
  return count


def read_shard(path: str | os.PathLike) -> Iterator[bytes | ImageError]:
  """Reads the records of a shard in their order.

  Yields:
    A record, or why it cannot be read; then there are more.
  Raises:
    ImageError: the file is no whole shard.
  """
  reader = _opened(path)
  try:
    for number in range(reader.num_records()):
      try:
        yield reader.read([number])[0]
      except RuntimeError as error:
        yield ImageError(f"{shown(path)}, record {number}: {error}")
  finally:
    reader.close()


def list_shards(folder: str | os.PathLike) -> list[pathlib.Path]:
  """Lists the shards of a folder, sorted.

  Raises:
    FileNotFoundError: there is no such folder.
    ImageError: there are no shards in it.
  """
  root = folder if isinstance(folder, pathlib.PurePath) else user_path(folder)
  if not root.exists():  # type: ignore[attr-defined]
    raise FileNotFoundError(f"{shown(root)}: no such folder of shards")
  found = sorted(root.glob(f"*{SUFFIX}"))  # type: ignore[attr-defined]
  shards = [path for path in found if not path.name.startswith(".")]
  if not shards:
    raise ImageError(f"{shown(root)}: no shards in it; expected files such as 00000-00000{SUFFIX}")
  return shards


class ShardSource(ImageSource):
  """The images of a folder of shards, decoded whenever they are asked for.

      source = ShardSource("shards", cae_jax.decompress)

  Many threads can read it, it can be sent to other processes, and it is what Grain calls a source,
  as in `grain.MapDataset.source(source)`.
  """

  def __init__(self, folder: str | os.PathLike, decode: Decode, split: str = "all"):
    """Opens the shards.

    Args:
      folder: of shards, on a disk of this machine.
      decode: makes an image of the bytes of a .cae file.
      split: "train", "valid" or "test" by the names of the images, see `listing.split_of`; "all"
        does without reading all names.
    Raises:
      FileNotFoundError, ImageError: as `list_shards`, or one of the shards is damaged.
      SplitError: there are no images of that split.
    """
    paths = list_shards(folder)
    for path in paths:
      _opened(path).close()
    self._decode = decode
    self._records = array_record_data_source.ArrayRecordDataSource([os.fspath(p) for p in paths])
    self._chosen: Sequence[int] = range(len(self._records))
    if split != "all":
      names = self._index.names
      self._chosen = [i for i in self._chosen if listing.split_of(names[i]) == split]
    if not self._chosen:
      found = sorted({listing.split_of(name) for name in self._index.names})
      raise SplitError(
        f"{shown(folder)}: no images of split {split!r}, which their names tell; there are "
        f"{', '.join(found) or 'none'}"
      )

  def __len__(self) -> int:
    return len(self._chosen)

  def __getitem__(self, index: int, /) -> Example:
    number = self._chosen[index]
    record = self._read(number)
    try:
      label = Label.read(unpack(record))
      image = to_rgb(to_8_bits(self._decode(record)))
    except BitstreamError as error:
      raise ImageError(f"record {number}: {error}") from error
    return {"image": image, "name": label.name or _numbered(number)}

  def sizes(self) -> np.ndarray:
    return self._index.sizes[list(self._chosen)]

  def names(self) -> list[str]:
    return [self._index.names[i] for i in self._chosen]

  def digests(self) -> list[bytes]:
    """Returns the first bytes of the digests of the originals; of unlabelled ones, the image's."""
    known = (self._index.digests[i] for i in self._chosen)
    return [digest or pixel_digest(self[i]["image"]) for i, digest in enumerate(known)]

  @functools.cached_property
  def _index(self) -> "_Index":
    """Reads what all records say of their images; nothing is decoded."""
    names, sizes, digests = [], [], []
    for number in range(len(self._records)):
      try:
        container = unpack(self._read(number))
      except BitstreamError as error:
        raise ImageError(f"record {number}: {error}") from error
      label = Label.read(container)
      names.append(label.name or _numbered(number))
      sizes.append((container.header.height, container.header.width))
      digests.append(label.digest)
    return _Index(names, np.asarray(sizes, np.int64).reshape(-1, 2), digests)

  def _read(self, number: int) -> bytes:
    try:
      return self._records[number]
    except RuntimeError as error:
      raise ImageError(f"record {number}: {error}") from error


class _Index(NamedTuple):
  names: list[str]
  sizes: np.ndarray
  digests: list[bytes]


def _numbered(number: int) -> str:
  return f"{number:06d}"


def _opened(path: str | os.PathLike) -> Any:
  """A reader of a whole shard; the library's own reads a damaged or missing one as empty."""
  name = os.fspath(path)
  reader = array_record_module.ArrayRecordReader(name)
  if reader.ok():
    return reader
  try:
    reader.close()
    reason = "unknown reason"
  except RuntimeError as error:
    reason = str(error)
  raise ImageError(f"{shown(name)}: no whole shard ({reason})")
