"""The colour photographs that come with scikit-image: a first data set without a network."""

import importlib.util
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds

from cae_jax.data import builder
from cae_jax.errors import MissingExtraError

# By looking: natural photographs in colour. Left out are micrographs, the retina and the deep
# field (not everyday scenes), and motorcycle_right (the other eye's view of motorcycle_left).
# The test photographs are PNGs, so no JPEG is scored as an original.
_SPLITS = {
  "train": ("astronaut.png", "motorcycle_left.png", "rocket.jpg"),
  "test": ("chelsea.png", "coffee.png"),
}


class Builder(builder.ImageBuilder):
  """TFDS builder `sample_photos`: 3 photographs to train, 2 to test."""

  VERSION = tfds.core.Version("1.1.0")

  def _info(self) -> tfds.core.DatasetInfo:
    return self.image_info(
      description="Five colour photographs from the wheel of scikit-image.",
      homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
      license="as stated by the documentation of skimage.data for each",
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    folder = data_folder()
    return {split: self._generate_examples(folder, names) for split, names in _SPLITS.items()}

  def _generate_examples(self, folder, names) -> Iterator:
    yield from builder.examples(
      (name.partition(".")[0], (folder / name).read_bytes()) for name in names
    )


def data_folder() -> pathlib.Path:
  """Finds the folder of scikit-image's sample images, without importing that package.

  Raises:
    MissingExtraError: scikit-image is not installed.
  """
  spec = importlib.util.find_spec("skimage")
  if spec is None or spec.origin is None:
    raise MissingExtraError(
      "the data set sample_photos lies in scikit-image, which is not installed: "
      'pip install "cae_jax[data]"'
    )
  return pathlib.Path(spec.origin).parent / "data"
