import functools

import numpy as np
import pytest

from cae_jax import codec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.coding.bitstream import unpack
from cae_jax.images.files import read_image
from tests.golden import FOLDER

FILES = sorted(path.stem for path in FOLDER.glob("*.cae"))

LOSSLESS = [name for name in FILES if name.startswith("lossless")]

load = functools.cache(codec.load)


def test_all_are_there():
  assert len(FILES) == 8 + len(LOSSLESS) == 20


@pytest.mark.parametrize("name", sorted(set(FILES) - set(LOSSLESS)))
def test_golden_file_decodes(name):
  """Its symbols exactly, as their checksum says; its pixels but for the rounding of floats."""
  ours = load(FOLDER / f"{name.split('-')[0]}.safetensors")
  decoded = ours.decompress((FOLDER / f"{name}.cae").read_bytes())
  expected = read_image(FOLDER / f"{name}.png").pixels
  assert decoded.shape == expected.shape
  difference = np.abs(decoded.astype(int) - expected)
  assert difference.max() <= 1
  assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_golden_file_decodes(name):
  decoded = load(FOLDER / "lossless.safetensors").decode((FOLDER / f"{name}.cae").read_bytes())
  expected = read_image(FOLDER / f"{name}.png", exact=True).pixels
  assert decoded.image.dtype == expected.dtype
  np.testing.assert_array_equal(decoded.image, expected)


def test_lossless_golden_files_have_all_that_there_can_be():
  contents = {}
  for name in LOSSLESS:
    container = unpack((FOLDER / f"{name}.cae").read_bytes())
    layout = Layout.unpack(container.header.parameters)
    methods = {section[4] for section in container.sections}
    contents[name.split("-")[1]] = layout, methods, len(container.sections)
  for name in ("rgb", "grey16", "rgb16", "near", "near16"):
    assert contents[name][1:] == ({0}, 1)
  assert contents["rgba"][1:] == ({0, 1}, 2)
  assert contents["tiles"][1:] == ({0}, 2)
  assert contents["drawing"][1] == contents["noise"][1] == {1}
  assert contents["counted"][0].counted
  assert contents["whole"][0].whole
  assert contents["near16"][0].step == 19
