import functools
import hashlib
import re

import numpy as np
import pytest

import cae_jax
from cae_jax import codec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.coding.bitstream import unpack
from cae_jax.images.files import read_image
from cae_jax.weights import read_metadata
from cae_jax.weights.shipped import shipped
from tests.golden import FOLDER, GENERATIONS

ALL = sorted(path.stem for path in FOLDER.glob("*.cae"))
RELEASED = [name for name in ALL if name.endswith("-released")]
FILES = sorted(set(ALL) - set(RELEASED))

LOSSLESS = [name for name in FILES if name.startswith("lossless")]

load = functools.cache(codec.load)


def test_all_are_there():
  assert len(FILES) == 12 + len(LOSSLESS) == 26
  assert [f"{name}-released" for name in GENERATIONS] == RELEASED


def test_none_has_changed():
  """Files that are here decode for ever: new ones come beside them, with a line of their own."""
  lines = (FOLDER / "SHA256SUMS").read_text("ascii").splitlines()
  found = {path.name for end in ("cae", "png", "safetensors") for path in FOLDER.glob(f"*.{end}")}
  assert {line.split()[1] for line in lines} == found
  for line in lines:
    digest, name = line.split()
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


def test_both_versions_are_there():
  versions = {name: (FOLDER / f"{name}.cae").read_bytes()[4] for name in ALL}
  of_2 = {name for name, version in versions.items() if version == 2}
  assert of_2 == {name for name in FILES if name.endswith("2")} | set(RELEASED)
  assert set(versions.values()) == {1, 2}


def test_released_generations_are_shipped():
  assert {name: read_metadata(path)["hash"] for name, path in shipped().items()} == GENERATIONS
  text = (FOLDER.parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
  assert dict(re.findall(r"^\| `([\w-]+)` \| `(\w{16})` \|", text, re.M)) == GENERATIONS


@pytest.mark.parametrize("name", RELEASED)
def test_a_file_of_a_released_generation_decodes(name):
  decoded = cae_jax.decompress((FOLDER / f"{name}.cae").read_bytes()).astype(int)
  difference = np.abs(decoded - read_image(FOLDER / f"{name}.png").pixels)
  assert difference.max() <= (name == "context-released")
  assert (difference > 0).mean() < 0.01


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
  assert contents["rgba"][1:] == contents["rgba2"][1:] == ({0, 1}, 2)
  assert contents["tiles"][1:] == contents["tiles2"][1:] == ({0}, 2)
  assert contents["drawing"][1] == contents["noise"][1] == {1}
  assert contents["counted"][0].counted
  assert contents["whole"][0].whole
  assert contents["near16"][0].step == 19
