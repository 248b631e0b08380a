"""Any photographs: a folder of image files or of tar shards."""

import itertools
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds

from cae_jax.data import builder, listing
from cae_jax.data.listing import split_of
from cae_jax.errors import UsageError


class Builder(builder.ImageBuilder):
  """TFDS builder `photos`: splits by the names of files, see `split_of`."""

  VERSION = tfds.core.Version("1.1.0")

  def _info(self) -> tfds.core.DatasetInfo:
    return self.image_info(description="Photographs from a folder or tar shards of one's own.")

  def _split_generators(self, dl_manager):
    if self.source_dir is None:
      raise UsageError("the data set photos has no download; give it source_dir, a folder or a tar")
    root = self.source_dir
    splits: dict[str, list[pathlib.Path]] = {}
    for path in listing.list_files(root):
      splits.setdefault(split_of(listing.relative_name(path, root)), []).append(path)
    return {split: self._generate_examples(split, paths, root) for split, paths in splits.items()}

  def _generate_examples(self, split, paths, source_dir) -> Iterator:
    members = (listing.read_members(path, source_dir) for path in paths)
    yield from self.tolerant_examples(split, itertools.chain.from_iterable(members))
