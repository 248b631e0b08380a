"""What lies in a folder of images or of tar shards."""

import hashlib
import os
import pathlib
import tarfile
from collections.abc import Iterator

from PIL import Image

from cae_jax.images.files import ImageError

# Pillow's other formats are documents, films and stubs.
_IMAGE_FORMATS = frozenset(
  {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP"}
)
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def list_files(source_dir: str | os.PathLike) -> list[pathlib.Path]:
  """Lists the image files and tar shards of a folder and of the folders in it.

  Files of other kinds and hidden ones are passed over; the suffix decides.

  Args:
    source_dir: a folder, or one tar file.
  Returns:
    Paths, sorted.
  Raises:
    FileNotFoundError: there is no such folder or file.
    ImageError: there is nothing to read in it.
  """
  root = pathlib.Path(source_dir)
  if not root.exists():
    raise FileNotFoundError(f"{root}: no such folder or tar file of images")
  found = [root] if root.is_file() else sorted(root.rglob("*"))
  usable = [path for path in found if _is_usable(path, root) and path.is_file()]
  if not usable:
    raise ImageError(
      f"{root}: no images in it; expected files such as .png or .jpg, or .tar shards"
    )
  return usable


def read_members(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
  """Reads the images of one file of `list_files`.

  Args:
    path: an image file or a tar shard.
  Yields:
    The name within the shard (empty for a file that is itself an image), and the encoded bytes.
  Raises:
    ImageError: a tar shard is truncated or broken, or has no images.
  """
  if not _is_tar(path.name):
    yield "", path.read_bytes()
    return
  count = 0
  try:
    with tarfile.open(path) as archive:
      for member in archive:
        if member.isfile() and _is_image(pathlib.PurePosixPath(member.name).name):
          count += 1
          yield member.name, archive.extractfile(member).read()  # type: ignore[union-attr]
  except (tarfile.TarError, EOFError, OSError) as error:
    raise ImageError(f"{path}: not a whole tar file ({error}) after {count} images") from error
  if not count:
    raise ImageError(f"{path}: no images in this tar file")


def fingerprint(source_dir: str | os.PathLike) -> str:
  """A key of a folder: 16 hex digits, from its path and its files' names, sizes and times."""
  root = pathlib.Path(source_dir).resolve()
  digest = hashlib.sha256(os.fsencode(root))
  for path in list_files(root):
    stat = path.stat()
    digest.update(os.fsencode(path) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
  return digest.hexdigest()[:16]


def _is_usable(path: pathlib.Path, root: pathlib.Path) -> bool:
  hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
  return not hidden and (_is_tar(path.name) or _is_image(path.name))


def _is_tar(name: str) -> bool:
  return name.lower().endswith(_TAR_SUFFIXES)


def _is_image(name: str) -> bool:
  suffix = pathlib.PurePath(name).suffix.lower()
  image_format = Image.registered_extensions().get(suffix)
  return not name.startswith(".") and image_format in _IMAGE_FORMATS
