"""What the package's TFDS builders share: the record of an image, checked while it is written."""

import concurrent.futures
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cae_jax.data import views
from cae_jax.data.listing import Member
from cae_jax.images import files

_CHECKED_AT_ONCE = 32
# One image that cannot be read is left out however few there are.
_MAX_LEFT_OUT = 0.1
_NAMED = 5


class ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Records of an encoded image (the bytes of its file, unchanged), its name, size and digest.

  Attributes:
    source_dir: folder or tar file to read from; None to download (or whatever the data set has).
  """

  def __init__(self, *, source_dir: str | os.PathLike | None = None, **kwargs):
    self.source_dir = source_dir
    super().__init__(**kwargs)
    self._original_state["source_dir"] = source_dir  # what TFDS pickles a builder by

  def image_info(self, *, description: str, **kwargs) -> tfds.core.DatasetInfo:
    """Returns the DatasetInfo of such records."""
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "name": tfds.features.Text(),
        "height": np.int32,
        "width": np.int32,
        "digest": tfds.features.Text(),
      }
    )
    return _LocalInfo(
      builder=self,
      description=description,
      features=features,
      supervised_keys=None,
      metadata=tfds.core.MetadataDict(),
      **kwargs,
    )

  def tolerant_examples(self, split: str, members: Iterable[Member]) -> Iterator:
    """Makes records as `examples` does, but leaves out a few images that cannot be read.

    What was left out is kept in the data set's metadata, see `left_out`.

    Raises:
      ImageError: there is no other image, or more than one and a tenth of all cannot be read.
    """
    bad: list[str] = []
    count = 0
    for result in _checked(members):
      count += 1
      if isinstance(result, files.ImageError):
        bad.append(str(result))
      else:
        yield result
    if len(bad) == count or len(bad) > max(1, _MAX_LEFT_OUT * count):
      raise files.ImageError(
        f"{_of_images(len(bad), count)} cannot be read: {_some(bad)}; replace or remove "
        f"{'it' if len(bad) == 1 else 'them'} and start again"
      )
    if bad:
      words = f"{_of_images(len(bad), count)} cannot be read and left out: {_some(bad)}"
      self.info.metadata[split] = words


class _LocalInfo(tfds.core.DatasetInfo):
  """Information on a data set of this package."""

  def initialize_from_bucket(self) -> None:
    """Does nothing: TFDS's bucket has none of these, and asking leaves a temporary folder."""


def left_out(builder: tfds.core.DatasetBuilder) -> dict[str, str]:
  """Says by split, in words, which images of a prepared data set could not be read."""
  return dict(builder.info.metadata or {}) if isinstance(builder, ImageBuilder) else {}


def examples(members: Iterable[Member]) -> Iterator[tuple[str, dict[str, Any]]]:
  """Makes records of encoded images, after decoding each once to see that it is whole.

  Args:
    members: names and encoded bytes.
  Yields:
    Key and record, in order.
  Raises:
    ImageError: a member cannot be read or decoded, or has the name of another; the message names
      it.
  """
  for result in _checked(members):
    if isinstance(result, files.ImageError):
      raise files.ImageError(f"{result}; replace or remove it and start again") from result
    yield result


def _checked(
  members: Iterable[Member],
) -> Iterator[tuple[str, dict[str, Any]] | files.ImageError]:
  """Yields key and record of every member, or why it can have none."""
  members = iter(members)
  names: set[str] = set()
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    while chunk := list(itertools.islice(members, _CHECKED_AT_ONCE)):
      for (name, _), result in zip(chunk, pool.map(_example, chunk)):
        yield files.ImageError(f"{name}: a second image of this name") if name in names else result
        names.add(name)


def _example(member: Member) -> tuple[str, dict[str, Any]] | files.ImageError:
  name, encoded = member
  if isinstance(encoded, OSError):
    return files.ImageError(f"{name}: {encoded.strerror}")
  try:
    pixels = files.read_rgb(encoded)
  except files.ImageError as error:
    return files.ImageError(f"{name}: {error}")
  height, width, _ = pixels.shape
  digest = views.pixel_digest(pixels).hex()
  return name, {"image": encoded, "name": name, "height": height, "width": width, "digest": digest}


def _of_images(count: int, total: int) -> str:
  return f"{count} of {total} images"


def _some(items: list[str]) -> str:
  more = len(items) - _NAMED
  return "; ".join(items[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
