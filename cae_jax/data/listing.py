"""What lies in a folder of images or of tar shards."""

import contextlib
import os
import pathlib
import re
import tarfile
import zlib
from collections.abc import Iterator

from PIL import Image

from cae_jax.images.files import ImageError
from cae_jax.paths import shown

# Those of docs/images.md. Pillow's other formats are documents, films, data and stubs.
_IMAGE_FORMATS = frozenset(
  {
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM",
    "QOI", "SGI", "TGA", "TIFF", "WEBP",
  }
)  # fmt: skip
_MORE_SUFFIXES = (".dcm", ".heic", ".heif")  # read with further packages
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# What reading a damaged one raises.
_BROKEN: tuple[type[Exception], ...] = (tarfile.TarError, EOFError, OSError, zlib.error)
with contextlib.suppress(ImportError):  # not in every build of Python
  from lzma import LZMAError

  _BROKEN += (LZMAError,)
_HELD_OUT = re.compile(r"(valid|test)(ation|ing)?(?![a-z])", re.IGNORECASE)

# A name that is valid UTF-8, and the bytes of an image's file or why they could not be read.
Member = tuple[str, bytes | OSError]


def list_files(source_dir: str | os.PathLike) -> list[pathlib.Path]:
  """Lists the image files and tar shards of a folder and of the folders in it.

  Files of other kinds and hidden ones are passed over; the suffix decides.

  Args:
    source_dir: a folder, or one tar file; also as a path of `etils.epath` in a bucket.
  Returns:
    Paths, sorted.
  Raises:
    FileNotFoundError: there is no such folder or file.
    ImageError: there is nothing to read in it.
  """
  root = _path(source_dir)
  if not root.exists():
    raise FileNotFoundError(f"{shown(root)}: no such folder or tar file of images")
  found = [root] if root.is_file() else sorted(_inside(root))
  usable = [path for path in found if _is_usable(path, root)]
  if not usable:
    raise ImageError(
      f"{shown(root)}: no images in it; expected files such as .png or .jpg, or .tar shards"
    )
  return usable


def relative_name(path: pathlib.Path, source_dir: str | os.PathLike) -> str:
  """Names a file of `list_files` from its folder on; a lone tar file by its own name."""
  root = _path(source_dir)
  return path.name if path == root else path.relative_to(root).as_posix()


def split_of(relative_path: str | os.PathLike) -> str:
  """Tells the split of a file: that of its folder's or its own name.

  `valid.tar`, `valid-0.tar`, `validation/a.png` and `valid_1.png` are in "valid", `test/a.png` and
  `test07.png` in "test", all else in "train" (`testament.png`, too).

  Args:
    relative_path: path from source_dir on.
  Returns:
    "train", "valid" or "test".
  """
  for part in pathlib.PurePath(relative_path).parts:
    if match := _HELD_OUT.match(part):
      return match[1].lower()
  return "train"


def read_members(
  path: pathlib.Path, source_dir: str | os.PathLike, start: int = 0, stop: int | None = None
) -> Iterator[Member]:
  r"""Reads the images of one file of `list_files`.

  Args:
    path: an image file or a tar shard.
    source_dir: that the file was listed in.
    start, stop: which images of a tar shard, by their numbers; without a stop to its end.
  Yields:
    The name from source_dir on, that of a shard followed by that of its member; bytes of names that
    are not UTF-8 stand in it as \xNN.
  Raises:
    ImageError: a tar shard is truncated or broken, or has no images.
  """
  name = relative_name(path, source_dir)
  if not is_tar(path.name):
    yield shown(name), _bytes_or_error(path)
    return
  count = 0
  try:
    with path.open("rb") as file, tarfile.open(fileobj=file) as archive:
      for member in _images_in(archive):
        if count == stop:
          return
        count += 1
        if count > start:
          data = archive.extractfile(member).read()  # type: ignore[union-attr]
          yield shown(f"{name}/{member.name}"), data
  except _BROKEN as error:
    raise ImageError(
      f"{shown(path)}: not a whole tar file ({error}) after {count} images"
    ) from error
  if not count:
    raise ImageError(f"{shown(path)}: no images in this tar file")


def count_members(path: pathlib.Path) -> int:
  """Counts the images of a tar shard; of one that is broken, those before the break."""
  count = 0
  with (
    contextlib.suppress(*_BROKEN),
    path.open("rb") as file,
    tarfile.open(fileobj=file) as archive,
  ):
    for _ in _images_in(archive):
      count += 1
  return count


def _images_in(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
  for member in archive:
    if member.isfile() and is_image(pathlib.PurePosixPath(member.name).name):
      yield member


def is_image(name: str) -> bool:
  """Tells by its name whether a file is an image that is read here, and no hidden one."""
  suffix = pathlib.PurePath(name).suffix.lower()
  is_read = Image.registered_extensions().get(suffix) in _IMAGE_FORMATS or suffix in _MORE_SUFFIXES
  return is_read and not name.startswith(".")


def _bytes_or_error(path: pathlib.Path) -> bytes | OSError:
  try:
    return path.read_bytes()
  except OSError as error:
    return error


def _path(source_dir: str | os.PathLike) -> pathlib.Path:
  """Makes a path, or leaves one that may be of a bucket as it is."""
  return source_dir if isinstance(source_dir, pathlib.PurePath) else pathlib.Path(source_dir)  # type: ignore[return-value]


def _inside(root: pathlib.Path) -> Iterator[pathlib.Path]:
  """Finds all files of a folder and of the folders in it."""
  if isinstance(root, pathlib.Path):
    yield from (path for path in root.rglob("*") if path.is_file())
  else:  # one request for a folder, none for each file
    for folder, _, names in root.walk():
      # The library may leave out the scheme of a folder's URL.
      inside = _without_scheme(folder).removeprefix(_without_scheme(root)).strip("/")
      yield from (root / inside / name for name in names)


def _without_scheme(path: os.PathLike) -> str:
  return os.fspath(path).rpartition("://")[2]


def _is_usable(path: pathlib.Path, root: pathlib.Path) -> bool:
  hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
  return not hidden and (is_tar(path.name) or is_image(path.name))


def is_tar(name: str) -> bool:
  """Tells by its name whether a file is a tar shard."""
  return name.lower().endswith(_TAR_SUFFIXES)
