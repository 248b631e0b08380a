"""The 24 photographs of the Kodak Lossless True Color Image Suite."""

import hashlib
import os
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds

from cae_jax.data import builder, listing
from cae_jax.images.files import ImageError
from cae_jax.paths import shown

HOME_PAGE = "https://r0k.us/graphics/kodak/"
_NAMES = tuple(f"kodim{number:02d}" for number in range(1, 25))
_SPLITS = {
  "all": {"test": _NAMES},
  "paper": {"train": _NAMES[:17], "test": _NAMES[17:]},
}


class Builder(builder.ImageBuilder):
  """TFDS builder `kodak`: config `all` (24 test) or `paper` (17 train, 7 test)."""

  VERSION = tfds.core.Version("1.1.0")
  BUILDER_CONFIGS = [  # noqa: RUF012, TFDS reads a list
    tfds.core.BuilderConfig(name="all", description="All 24 photographs for testing."),
    tfds.core.BuilderConfig(name="paper", description="01 to 17 to train, 18 to 24 to test."),
  ]
  DEFAULT_BUILDER_CONFIG_NAME = "all"

  def _info(self) -> tfds.core.DatasetInfo:
    return self.image_info(
      description="24 photographs of 768x512 or 512x768 pixels, scanned from film, lossless.",
      homepage=HOME_PAGE,
      license="released by the Eastman Kodak Company for unrestricted usage",
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    if self.source_dir is None:
      paths = dl_manager.download({name: url(name) for name in _NAMES})
      encoded = {name: pathlib.Path(path).read_bytes() for name, path in paths.items()}
    else:
      encoded = read_source_dir(self.source_dir, self.url_infos)
    splits = _SPLITS[self.builder_config.name]
    return {split: self._generate_examples(encoded, names) for split, names in splits.items()}

  def _generate_examples(self, encoded, names) -> Iterator:
    yield from builder.examples((name, encoded[name]) for name in names)


def url(name: str) -> str:
  """Tells where the data set's home page keeps a photograph."""
  return f"{HOME_PAGE}kodak/{name}.png"


def read_source_dir(source_dir: str | os.PathLike, url_infos: dict) -> dict[str, bytes]:
  """Reads the 24 files from a folder or tar file and compares them with the registered checksums.

  Args:
    source_dir: where kodim01.png to kodim24.png are.
    url_infos: TFDS's record of size and SHA-256 by URL.
  Returns:
    The files' bytes by name.
  Raises:
    ImageError: a file is missing, cannot be read or is not the published one.
  """
  found: dict[str, bytes] = {}
  for path in listing.list_files(source_dir):
    for name, data in listing.read_members(path, source_dir):
      if isinstance(data, bytes):
        found[pathlib.PurePosixPath(name).name] = data
  missing = [f"{name}.png" for name in _NAMES if f"{name}.png" not in found]
  if missing:
    raise ImageError(
      f"{shown(source_dir)}: the Kodak set's {', '.join(missing)} not in it, or unreadable; for "
      "other images use the data set photos"
    )
  for name in _NAMES:
    if hashlib.sha256(found[f"{name}.png"]).hexdigest() != url_infos[url(name)].checksum:
      raise ImageError(
        f"{shown(source_dir)}: {name}.png is not the published file (its SHA-256 differs); "
        f"get it from {url(name)}, or use the data set photos for other images"
      )
  return {name: found[f"{name}.png"] for name in _NAMES}
