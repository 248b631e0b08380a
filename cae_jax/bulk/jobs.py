"""What is done with the parts of a data set: images to a shard, or a shard to image files.

A job is called with one part after the other, in any process of any machine, and may be killed at
any moment: what it makes of a part depends on the part alone, and appears whole or not at all.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cae_jax import console
from cae_jax.backend import BackendError
from cae_jax.bulk import results
from cae_jax.bulk.parts import Part
from cae_jax.bulk.places import Place, at_hand, size_of, written
from cae_jax.bulk.results import Done, Failure, Result
from cae_jax.codec.info import Info, info, info_of
from cae_jax.codec.threads import use_one_core
from cae_jax.coding.bitstream import unpack
from cae_jax.commands import compressing, decompressing, loading
from cae_jax.data.listing import Member
from cae_jax.data.shards import SUFFIX, Label, read_shard, write_shard
from cae_jax.data.views import pixel_digest
from cae_jax.errors import Error, UsageError
from cae_jax.images.files import ImageError, read_rgb

_IMAGE_SUFFIX = ".png"
_MAX_NAME_BYTES = 255  # of a file, on nearly all file systems


class Attempt(NamedTuple):
  """What came of an image: its .cae file, none if it failed, and the result of it alone."""

  cae: bytes | None
  result: Result


class Picture(NamedTuple):
  """What came of a record: the name of its image file, none if it failed, and the result."""

  file: str | None
  result: Result


def prepare_process() -> None:
  """Makes this process one of many: it takes one core, and its libraries keep quiet."""
  console.silence_libraries()
  use_one_core()


@dataclasses.dataclass(frozen=True)
class Compression:
  """Makes a shard of a part.

  Attributes:
    output_dir: of the shards.
    options: of `compressing.compress_bytes`.
  """

  output_dir: Place
  options: Mapping[str, Any]

  def __call__(self, part: Part) -> Result:
    """Writes the shard, and its result, unless that was done and the images are the same.

    Raises:
      OSError: the shard cannot be written.
      BackendError: JAX cannot work here.
    """
    shard = self.output_dir / f"{part.name}{SUFFIX}"
    state = part.images.state(part.start, part.stop)
    before = results.kept(self.output_dir, part.name)
    if before and before.state == state and size_of(shard) == before.result.shard_bytes:
      return before.result
    found: list[Result] = []

    def files() -> Iterator[bytes]:
      members = part.images.read(part.start, part.stop)
      for attempt in compressed(members, part.images.name, self.options):
        found.append(attempt.result)
        if attempt.cae is not None:
          yield attempt.cae

    with written(shard) as temporary:
      write_shard(temporary, files())
      found.append(Result(shards=1, shard_bytes=temporary.stat().st_size))
    result = results.total(found)
    results.keep(self.output_dir, part.name, Done(result, state))
    return result


@dataclasses.dataclass(frozen=True)
class Decompression:
  """Makes PNG files of a shard, by the names of its images.

  Attributes:
    output_dir: of the image files.
    weights: that the shard was made with; None if they are shipped ones.
  """

  output_dir: Place
  weights: str | None = None

  def __call__(self, shard: Place) -> Result:
    """Writes the image files, and the result of the shard, unless that was done and all are there.

    Raises:
      OSError: an image file cannot be written.
      BackendError: JAX cannot work here.
    """
    name = shard.name.removesuffix(SUFFIX)
    before = results.kept(self.output_dir, name)
    if before and all((self.output_dir / file).exists() for file in before.files):
      return before.result
    with at_hand(shard) as path:
      found = Result(shards=1, shard_bytes=path.stat().st_size)
      pictures = [*self._pictures(path, name)]
    result = results.total([found, *(picture.result for picture in pictures)])
    files = tuple(picture.file for picture in pictures if picture.file is not None)
    results.keep(self.output_dir, name, Done(result, files=files))
    return result

  def _pictures(self, path: pathlib.Path, name: str) -> Iterator[Picture]:
    try:
      for number, record in enumerate(read_shard(path)):
        yield self._picture(f"{name}-{number:06d}", record)
    except ImageError as error:
      yield Picture(None, _failure(name, error))

  def _picture(self, name: str, record: bytes | ImageError) -> Picture:
    """Writes the image file of a record, which has the given name if it says no other."""
    if isinstance(record, ImageError):
      return Picture(None, _failure(name, record))
    try:
      container = unpack(record)
      name = Label.read(container).name or name
      target = _target(self.output_dir, name)
      codec = loading.codec_for(container.header, self.weights)
      decoded, _ = decompressing.upright(codec.decode(container))
      data, _ = decompressing.image_file(pathlib.Path(target.name), decoded)
      self._write(target, data)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
      return Picture(None, _failure(name, error))  # an image has the name of another's folder
    except (BackendError, OSError):
      raise
    except Exception as error:  # damaged files bring bugs to light; the others are to be done
      return Picture(None, _failure(name, error))
    file = target.relative_to(self.output_dir).as_posix()
    return Picture(file, _success(info_of(container.outline), len(data)))

  def _write(self, target: Place, data: bytes) -> None:
    """Writes an image file, unless that was done by a process that was killed."""
    if target.exists():
      if target.read_bytes() == data:
        return
      raise UsageError(f"another image is in {target.relative_to(self.output_dir)}")
    with written(target) as temporary:
      temporary.write_bytes(data)


def compressed(
  members: Iterable[Member], source: str, options: Mapping[str, Any]
) -> Iterator[Attempt]:
  """Compresses images one after the other; what is wrong with one does not stop the others.

  Args:
    members: names and bytes of image files.
    source: what they are in, to be named if no more can be read of it.
    options: of `compressing.compress_bytes`.
  Raises:
    BackendError: JAX cannot work here.
  """
  names: set[str] = set()
  try:
    for name, data in members:
      yield _compressed(name, data, options, is_second=name in names)
      names.add(name)
  except BackendError:
    raise
  except (Error, OSError) as error:
    yield Attempt(None, _failure(source, error))


def _compressed(
  name: str, data: bytes | OSError, options: Mapping[str, Any], *, is_second: bool
) -> Attempt:
  try:
    if isinstance(data, OSError):
      raise data
    if is_second:
      raise UsageError("a second image of this name")
    label = Label.of(name, _digest(data))
    encoded, _ = compressing.compress_bytes(data, name, metadata=label.metadata, **options)
  except BackendError:
    raise
  except Exception as error:  # as above
    return Attempt(None, _failure(name, error))
  return Attempt(encoded.data, _success(info(encoded.data), len(data)))


def _digest(data: bytes) -> bytes:
  try:
    return pixel_digest(read_rgb(data))
  except ImageError:  # DICOM files are no RGB pictures; if it is broken, compressing says so
    return b""


def _success(content: Info, image_bytes: int) -> Result:
  pixels = content.height * content.width
  return Result(images=1, pixels=pixels, image_bytes=image_bytes, cae_bytes=content.size_bytes)


def _failure(name: str, error: Exception) -> Result:
  reason = console.complaint(error).message.removeprefix(f"{name}: ")
  return Result(failures=(Failure(name, reason),))


def _target(output_dir: Place, name: str) -> Place:
  """The PNG file of an image, which is in the folder whatever the name says.

  Raises:
    UsageError: no file can have that name.
  """
  parts = pathlib.PurePosixPath(name).parts
  if not parts or {"/", "//", ".."} & {*parts} or "\0" in name:
    raise UsageError("expected the name of a file within the folder")
  if any(len(os.fsencode(part)) > _MAX_NAME_BYTES - len(_IMAGE_SUFFIX) for part in parts):
    raise UsageError(f"the name has more than {_MAX_NAME_BYTES} bytes")
  is_png = name.lower().endswith(_IMAGE_SUFFIX)
  return output_dir.joinpath(*parts[:-1], parts[-1] + ("" if is_png else _IMAGE_SUFFIX))
