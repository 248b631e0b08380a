"""Data sets of images by name: prepared once by TFDS as ArrayRecord, then read at random."""

import contextlib
import functools
import importlib
import io
import logging
import os
import pathlib
import re
import sys
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from cae_jax.data.builder import left_out
from cae_jax.data.fingerprint import fingerprint
from cae_jax.data.views import (
  Example,
  ImageSource,
  SplitError,
  cached,
  chosen,
  image_digests,
  image_names,
  image_sizes,
  pairs,
  pixel_digest,
  rescaled,
)
from cae_jax.errors import Error, UsageError
from cae_jax.images import files
from cae_jax.paths import user_path

__all__ = [
  "Example",
  "ImageSource",
  "SplitError",
  "cached",
  "chosen",
  "default_data_dir",
  "image_digests",
  "image_names",
  "image_sizes",
  "load_source",
  "pairs",
  "rescaled",
]

_log = logging.getLogger(__name__)

_OWN = ("kodak", "photos", "sample_photos")
_WITH_SOURCE_DIR = ("kodak", "photos")
# Where a data set has several images, the one to use: "hr" is DIV2K's original.
_IMAGE_FEATURES = ("image", "hr")
_NAME_FEATURES = ("name", "file_name", "filename", "image/filename", "id")


def load_source(
  dataset: str,
  split: str,
  *,
  source_dir: str | os.PathLike | None = None,
  data_dir: str | os.PathLike | None = None,
) -> "RecordSource":
  """Opens a data set, after preparing it at the first call.

  Args:
    dataset: "kodak" (or "kodak/paper"), "photos", "sample_photos", or the name of any TFDS data
      set that has images, such as "div2k/bicubic_x4".
    split: "train", "valid" or "test" as the data set has them, a slice such as "train[:90%]", or
      "all" of them together.
    source_dir: for kodak and photos a folder of image files or tar shards, or one tar file.
    data_dir: where prepared data sets are kept; CAE_JAX_DATA_DIR or ~/.cache/cae_jax/datasets if
      None.
  Returns:
    The images of the split, decoded when they are asked for. Of photos those that cannot be read
    are left out, with a warning in the log.
  Raises:
    ImageError: no images in source_dir, or too many that cannot be read; the message names them.
    UsageError: there is no such data set, it has no images or no use for source_dir.
    SplitError: it has no such split.
    DataSetError: it cannot be downloaded or prepared here.
    FileNotFoundError: there is no source_dir.
  """
  root = default_data_dir() if data_dir is None else user_path(data_dir)
  builder = _builder(dataset, None if source_dir is None else user_path(source_dir), root)
  _prepare(builder)
  asked = set(re.findall(r"\w+", split))
  for name, words in left_out(builder).items():
    if asked & {name, "all"}:
      _log.warning("%s, split %s: %s", dataset, name, words)
  return RecordSource(builder, split)


def default_data_dir() -> pathlib.Path:
  """Returns the folder of prepared data sets: CAE_JAX_DATA_DIR, or a cache of the user's."""
  folder = os.environ.get("CAE_JAX_DATA_DIR")
  cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "cae_jax" / "datasets"
  return user_path(folder or cache)


class DataSetError(Error, RuntimeError):
  """A data set could not be downloaded or prepared."""


def _builder(
  dataset: str, source_dir: pathlib.Path | None, root: pathlib.Path
) -> tfds.core.DatasetBuilder:
  name, _, config = dataset.partition("/")
  if source_dir is not None and name not in _WITH_SOURCE_DIR:
    known = " and ".join(_WITH_SOURCE_DIR)
    raise UsageError(
      f"{dataset}: only {known} read a source_dir; use photos for a folder of images"
    )
  if name not in _OWN:
    return _foreign_builder(dataset, root)
  if name == "photos" and source_dir is None:
    raise UsageError("photos: give source_dir, a folder of images or tar shards, or a tar file")
  module = importlib.import_module(f"cae_jax.data.{name}.{name}_dataset_builder")
  if source_dir is not None:
    # The folder's content is part of the path, so that another content is another data set.
    root = root / f"from-{fingerprint(source_dir, root / 'contents')}"
  try:
    return module.Builder(config=config or None, data_dir=root, source_dir=source_dir)
  except ValueError as error:
    raise UsageError(f"{dataset}: {error}") from error


def _foreign_builder(dataset: str, root: pathlib.Path) -> tfds.core.DatasetBuilder:
  try:
    return tfds.builder(dataset, data_dir=root)
  except tfds.core.DatasetNotFoundError as error:
    # Not TFDS's message, which lists its whole catalogue.
    raise UsageError(
      f"{dataset}: no such data set; there are {', '.join(_OWN)} and the image data sets of "
      "https://www.tensorflow.org/datasets/catalog"
    ) from error
  except ValueError as error:
    raise UsageError(f"{dataset}: {error}") from error


def _prepare(builder: tfds.core.DatasetBuilder) -> None:
  """Writes the records unless they are there; another process may be at it, too."""
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  # What may go wrong in the builders of others, nobody here knows.
  foreseen = NonMatchingChecksumError if builder.name in _OWN else Exception
  try:
    # TFDS announces its work on the standard output, which belongs to results.
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
      builder.download_and_prepare(file_format="array_record")
  except (OSError, Error):
    # TFDS writes to a folder of its own and renames that, so the first to end is the one to use.
    if not (pathlib.Path(builder.data_dir) / "dataset_info.json").exists():
      raise
    builder.info.read_from_directory(builder.data_dir)
  except foreseen as error:
    raise DataSetError(
      f"{builder.name}: TFDS cannot prepare it here: {type(error).__name__}: {error}"
    ) from error


class _Index(NamedTuple):
  """What is known of all images without decoding them again."""

  names: list[str]
  sizes: np.ndarray
  digests: list[bytes]


class RecordSource(ImageSource):
  """The images of a prepared TFDS data set."""

  def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
    self._label = f"{builder.info.full_name} {split}"
    self._image_key = _image_feature(builder)
    self._features = frozenset(builder.info.features)
    names = [name for name in _NAME_FEATURES if name in self._features]
    self._name_key = names[0] if names else None
    skip = {self._image_key: tfds.decode.SkipDecoding()}
    try:
      self._records = builder.as_data_source(split=split, decoders=skip)
    except ValueError as error:
      known = ", ".join(sorted(builder.info.splits))
      raise SplitError(
        f"{builder.name}: no images in split {split!r}; the splits are {known}, and slices of "
        "them such as train[90%:]"
      ) from error
    except NotImplementedError as error:  # prepared by another program, in another file format
      raise DataSetError(f"{self._label}: {error}") from error

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int, /) -> Example:
    return self._example(self._records[index], index)

  def file(self, index: int) -> tuple[str, bytes]:
    """Returns the name of an image, and the bytes of its file."""
    record = self._records[index]
    return self._name(record, index), record[self._image_key]

  def sizes(self) -> np.ndarray:
    return self._index.sizes

  def names(self) -> list[str]:
    return self._index.names

  def digests(self) -> list[bytes]:
    return self._index.digests

  @functools.cached_property
  def _index(self) -> _Index:
    """Reads what our own records say of the image; those of others have to be decoded."""
    told = {"height", "width", "digest"} <= self._features
    names, sizes, digests = [], [], []
    for index in range(len(self)):
      record = self._records[index]
      if told:
        size, digest = (record["height"], record["width"]), bytes.fromhex(_text(record["digest"]))
      else:
        pixels = self._example(record, index)["image"]
        size, digest = pixels.shape[:2], pixel_digest(pixels)
      names.append(self._name(record, index))
      sizes.append(size)
      digests.append(digest)
    return _Index(names, np.asarray(sizes, np.int64), digests)

  def _example(self, record: dict[str, Any], index: int) -> Example:
    name = self._name(record, index)
    try:
      return {"image": files.read_rgb(record[self._image_key]), "name": name}
    except files.ImageError as error:
      raise files.ImageError(f"{self._label}, {name}: {error}") from error

  def _name(self, record: dict[str, Any], index: int) -> str:
    return f"{index:06d}" if self._name_key is None else _text(record[self._name_key])


def _text(value: bytes | str) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)


def _image_feature(builder: tfds.core.DatasetBuilder) -> str:
  """Returns the feature to read: one of the usual names, or the only one that is an image."""
  images = [
    key for key, feature in builder.info.features.items() if type(feature) is tfds.features.Image
  ]
  usual = [key for key in _IMAGE_FEATURES if key in images]
  if usual or len(images) == 1:
    return (usual or images)[0]
  raise UsageError(f"{builder.name}: expected one feature with images, found {images or 'none'}")
