"""Photographs made to fit: a tar shard of at most so many bytes."""

import concurrent.futures
import dataclasses
import io
import itertools
import os
import pathlib
import tarfile
from collections.abc import Container, Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from cae_jax.atomic import replace_atomically
from cae_jax.data.crops import center_crop
from cae_jax.images import files

_BLOCK = tarfile.BLOCKSIZE
_END = tarfile.RECORDSIZE
_NAME_BYTES = 99  # of a USTAR header
_AVIF_SUFFIX = ".avif"
# AVIF at this quality is within a level of most pixels.
VALID_QUALITY = 98


@dataclasses.dataclass(frozen=True)
class Packed:
  """What went into a shard.

  Attributes:
    photographs, pixels: how many.
    left: names and bytes, encoded again if need be, of those that did not fit.
    size_bytes: of the shard.
  """

  photographs: int
  pixels: int
  left: list[tuple[str, bytes]]
  size_bytes: int


def pack(
  path: str | os.PathLike,
  members: Sequence[tuple[str, bytes]],
  max_bytes: int,
  *,
  seed: int = 0,
  quality: int | None = None,
) -> Packed:
  """Writes photographs in random order to a tar shard, as many as fit.

  Args:
    path: of the shard.
    members: names, unique, and encoded bytes.
    max_bytes: of the shard.
    seed: of the order, which decides which ones fit.
    quality: of AVIF 4:4:4 to encode them again, where that makes them smaller; None to take them
      as they are. It takes seconds a megapixel.
  Raises:
    ImageError: one cannot be read.
  """
  order = np.random.default_rng(seed).permutation(len(members))
  chosen = [members[index] for index in order]
  if quality is not None:
    # All of them, since nobody knows before which fit.
    chosen = list(_each(lambda data: _smaller(data, quality), chosen))
  return _write(path, chosen, max_bytes)


def pack_centers(
  path: str | os.PathLike, members: Sequence[tuple[str, bytes]], side: int
) -> Packed:
  """Writes the centres of photographs, all that validation sees, to a tar shard of AVIF files."""
  return _write(path, list(_each(lambda data: _center(data, side), members)), 2**62)


def _each(change, members: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
  """Members with their bytes changed, on all cores; they are AVIF then."""

  def one(member):
    name, data = member
    try:
      return f"{name.removesuffix(_AVIF_SUFFIX)}{_AVIF_SUFFIX}", change(data)
    except files.ImageError as error:
      raise files.ImageError(f"{name}: {error}") from error

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    yield from pool.map(one, members)


def _smaller(data: bytes, quality: int) -> bytes:
  encoded = _avif(files.read_rgb(data), quality)
  is_avif = data[4:8] == b"ftyp"
  return data if is_avif and len(data) <= len(encoded) else encoded


def _center(data: bytes, side: int) -> bytes:
  return _avif(center_crop(files.read_rgb(data), side), VALID_QUALITY)


def _avif(image: np.ndarray, quality: int) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(
    buffer, "AVIF", quality=quality, subsampling="4:4:4"
  )
  return buffer.getvalue()


def _write(path, members: Sequence[tuple[str, bytes]], max_bytes: int) -> Packed:
  pixels = 0
  names: set[str] = set()
  size = _END  # a tar file ends with zeros up to a multiple of this
  left = []
  with (
    replace_atomically(path) as temporary,
    tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive,
  ):
    for name, data in members:
      padded = _BLOCK + -(-len(data) // _BLOCK) * _BLOCK
      if size + padded + _END > max_bytes:
        left.append((name, data))
        continue
      entry = tarfile.TarInfo(_flat_name(name, names))
      names.add(entry.name)
      entry.size = len(data)
      archive.addfile(entry, io.BytesIO(data))
      size += padded
      with Image.open(io.BytesIO(data)) as image:
        pixels += image.width * image.height
  return Packed(len(names), pixels, left, pathlib.Path(path).stat().st_size)


def _flat_name(name: str, others: Container[str]) -> str:
  """A name without folders that fits into a header, by its end, and is none of the others."""
  flat = _end(name.replace("/", "-"), _NAME_BYTES)
  numbered = (f"{number}-" for number in itertools.count(2))
  while flat in others:
    number = next(numbered)
    flat = number + _end(name.replace("/", "-"), _NAME_BYTES - len(number))
  return flat


def _end(name: str, size: int) -> str:
  """As many of the last characters as have at most so many bytes."""
  return name.encode(errors="replace")[-size:].decode(errors="ignore")
