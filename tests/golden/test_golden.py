import functools

import numpy as np
import pytest

from cae_jax import codec
from cae_jax.images.files import read_image
from tests.golden import FOLDER

FILES = sorted(path.stem for path in FOLDER.glob("*.cae"))

load = functools.cache(codec.load)


def test_all_are_there():
  assert len(FILES) == 8


@pytest.mark.parametrize("name", FILES)
def test_golden_file_decodes(name):
  """Its symbols exactly, as their checksum says; its pixels but for the rounding of floats."""
  ours = load(FOLDER / f"{name.split('-')[0]}.safetensors")
  decoded = ours.decompress((FOLDER / f"{name}.cae").read_bytes())
  expected = read_image(FOLDER / f"{name}.png").pixels
  assert decoded.shape == expected.shape
  difference = np.abs(decoded.astype(int) - expected)
  assert difference.max() <= 1
  assert (difference > 0).mean() < 0.01
