"""Data sets of images by name: prepared once by TFDS as ArrayRecord, then read at random."""

import contextlib
import importlib
import io
import os
import pathlib
import sys
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cae_jax.data import listing
from cae_jax.data.views import Example, ImageSource, cached, decoded_sizes, image_sizes, rescaled
from cae_jax.images import files

__all__ = [
  "Example",
  "ImageSource",
  "cached",
  "default_data_dir",
  "image_sizes",
  "load_source",
  "rescaled",
]

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
) -> ImageSource:
  """Opens a data set, after preparing it at the first call.

  Args:
    dataset: "kodak" (or "kodak/paper"), "photos", "sample_photos", or the name of any TFDS data
      set that has images, such as "div2k/bicubic_x4".
    split: "train", "valid" or "test" as the data set has them, or a slice such as "train[:90%]".
    source_dir: for kodak and photos a folder of image files or tar shards, or one tar file.
    data_dir: where prepared data sets are kept; CAE_JAX_DATA_DIR or ~/.cache/cae_jax/datasets if
      None.
  Returns:
    The images of the split, decoded when they are asked for.
  Raises:
    ImageError: no images in source_dir, or one that cannot be read; the message names it.
    ValueError: the data set has no such split, no images or no use for source_dir.
    FileNotFoundError: there is no source_dir.
  """
  root = pathlib.Path(data_dir) if data_dir is not None else default_data_dir()
  builder = _builder(dataset, source_dir, root.expanduser())
  _prepare(builder)
  return _RecordSource(builder, split)


def default_data_dir() -> pathlib.Path:
  """The folder of prepared data sets: CAE_JAX_DATA_DIR, or a cache folder of the user's."""
  chosen = os.environ.get("CAE_JAX_DATA_DIR")
  cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "cae_jax" / "datasets"
  return pathlib.Path(chosen) if chosen else cache


def _builder(
  dataset: str, source_dir: str | os.PathLike | None, root: pathlib.Path
) -> tfds.core.DatasetBuilder:
  name, _, config = dataset.partition("/")
  if source_dir is not None and name not in _WITH_SOURCE_DIR:
    known = " and ".join(_WITH_SOURCE_DIR)
    raise ValueError(
      f"{dataset}: only {known} read a source_dir; use photos for a folder of images"
    )
  if name not in _OWN:
    return _foreign_builder(dataset, root)
  if name == "photos" and source_dir is None:
    raise ValueError("photos: give source_dir, a folder of images or tar shards, or a tar file")
  module = importlib.import_module(f"cae_jax.data.{name}.{name}_dataset_builder")
  if source_dir is None:
    return module.Builder(config=config or None, data_dir=root)
  # The folder's content is part of the path, so that another content is another data set.
  folder = root / f"from-{listing.fingerprint(source_dir)}"
  return module.Builder(config=config or None, data_dir=folder, source_dir=source_dir)


def _foreign_builder(dataset: str, root: pathlib.Path) -> tfds.core.DatasetBuilder:
  try:
    return tfds.builder(dataset, data_dir=root)
  except tfds.core.DatasetNotFoundError as error:
    # Not TFDS's message, which lists its whole catalogue.
    raise ValueError(
      f"{dataset}: no such data set; there are {', '.join(_OWN)} and the image data sets of "
      "https://www.tensorflow.org/datasets/catalog"
    ) from error


def _prepare(builder: tfds.core.DatasetBuilder) -> None:
  """Writes the records unless they are there; another process may be at it, too."""
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    # TFDS announces its work on the standard output, which belongs to results.
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
      builder.download_and_prepare(file_format="array_record")
  except OSError:
    # TFDS writes to a folder of its own and renames that, so the first to end is the one to use.
    if not (pathlib.Path(builder.data_dir) / "dataset_info.json").exists():
      raise
    builder.info.read_from_directory(builder.data_dir)


class _RecordSource(ImageSource):
  """The images of a prepared TFDS data set."""

  def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
    self._label = f"{builder.info.full_name} {split}"
    self._image_key = _image_feature(builder)
    self._features = tuple(builder.info.features)
    names = [name for name in _NAME_FEATURES if name in self._features]
    self._name_key = names[0] if names else None
    skip = {self._image_key: tfds.decode.SkipDecoding()}
    try:
      self._records = builder.as_data_source(split=split, decoders=skip)
    except ValueError as error:
      known = ", ".join(sorted(builder.info.splits))
      raise ValueError(
        f"{builder.name}: no images in split {split!r}; the splits are {known}, and slices of "
        "them such as train[90%:]"
      ) from error

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int, /) -> Example:
    record = self._records[index]
    name = self._name(record, index)
    try:
      return {"image": files.read_rgb(record[self._image_key]), "name": name}
    except files.ImageError as error:
      raise files.ImageError(f"{self._label}, {name}: {error}") from error

  def sizes(self) -> np.ndarray:
    if not {"height", "width"} <= set(self._features):
      return decoded_sizes(self)
    records = (self._records[index] for index in range(len(self)))
    sizes = [(record["height"], record["width"]) for record in records]
    return np.asarray(sizes, np.int64)

  def _name(self, record: dict[str, Any], index: int) -> str:
    if self._name_key is None:
      return f"{index:06d}"
    name = record[self._name_key]
    return name.decode() if isinstance(name, bytes) else str(name)


def _image_feature(builder: tfds.core.DatasetBuilder) -> str:
  """The feature to read: one of the usual names, or the only one that is an image."""
  images = [
    key for key, feature in builder.info.features.items() if type(feature) is tfds.features.Image
  ]
  usual = [key for key in _IMAGE_FEATURES if key in images]
  if usual or len(images) == 1:
    return (usual or images)[0]
  raise ValueError(f"{builder.name}: expected one feature with images, found {images or 'none'}")
