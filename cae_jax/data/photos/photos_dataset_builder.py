"""Any photographs: a folder of image files or of tar shards."""

import os
import pathlib
import re
from collections.abc import Iterator

import tensorflow_datasets as tfds

from cae_jax.data import builder, listing

_HELD_OUT = re.compile(r"(valid|test)(ation|ing)?(?![a-z])", re.IGNORECASE)


class Builder(builder.ImageBuilder):
  """TFDS builder `photos`: splits by the names of files, see `split_of`."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    return self.image_info(description="Photographs from a folder or tar shards of one's own.")

  def _split_generators(self, dl_manager):
    if self.source_dir is None:
      raise ValueError("the data set photos has no download; give it source_dir, a folder or a tar")
    root = pathlib.Path(self.source_dir)
    splits: dict[str, list[pathlib.Path]] = {}
    for path in listing.list_files(root):
      splits.setdefault(split_of(_relative(path, root)), []).append(path)
    return {split: self._generate_examples(paths, root) for split, paths in splits.items()}

  def _generate_examples(self, paths, root) -> Iterator:
    yield from builder.examples(
      (_member_name(_relative(path, root), member), data)
      for path in paths
      for member, data in listing.read_members(path)
    )


def split_of(relative_path: str | os.PathLike) -> str:
  """The split of a file: that of its folder's or its own name.

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


def _relative(path: pathlib.Path, root: pathlib.Path) -> str:
  return path.name if path == root else path.relative_to(root).as_posix()


def _member_name(path: str, member: str) -> str:
  return f"{path}/{member}" if member else path
