"""What the package's TFDS builders share: the record of an image, checked while it is written."""

import concurrent.futures
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cae_jax.images import files

_CHECKED_AT_ONCE = 32


class ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Records of an encoded image (the bytes of its file, unchanged), its name and its size.

  Attributes:
    source_dir: folder or tar file to read from; None to download (or whatever the data set has).
  """

  def __init__(self, *, source_dir: str | os.PathLike | None = None, **kwargs):
    self.source_dir = source_dir
    super().__init__(**kwargs)
    self._original_state["source_dir"] = source_dir  # what TFDS pickles a builder by

  def image_info(self, *, description: str, **kwargs) -> tfds.core.DatasetInfo:
    """The DatasetInfo of such records."""
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "name": tfds.features.Text(),
        "height": np.int32,
        "width": np.int32,
      }
    )
    return tfds.core.DatasetInfo(
      builder=self, description=description, features=features, supervised_keys=None, **kwargs
    )


def examples(members: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, dict[str, Any]]]:
  """Makes records of encoded images, after decoding each once to see that it is whole.

  Args:
    members: unique names and encoded bytes.
  Yields:
    Key and record, in order.
  Raises:
    ImageError: a member does not decode; the message names it.
  """
  members = iter(members)
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    while chunk := list(itertools.islice(members, _CHECKED_AT_ONCE)):
      yield from pool.map(_example, chunk)


def _example(member: tuple[str, bytes]) -> tuple[str, dict[str, Any]]:
  name, encoded = member
  try:
    height, width = files.read_image(encoded).pixels.shape[:2]
  except files.ImageError as error:
    raise files.ImageError(f"{name}: {error}; replace or remove it and start again") from error
  return name, {"image": encoded, "name": name, "height": height, "width": width}
