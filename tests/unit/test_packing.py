"""Photographs made to fit, and read again."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from cae_jax.data import packing
from cae_jax.data.crops import center_crop
from cae_jax.data.folder import FolderSource
from cae_jax.data.views import pixel_digest
from cae_jax.errors import UsageError
from cae_jax.images.files import ImageError
from tests.trained import pictures


def _png(height, width, seed=0, **options):
  buffer = io.BytesIO()
  picture = Image.fromarray(np.ascontiguousarray(pictures(1, 96, seed)[0, :height, :width]))
  picture.save(buffer, "PNG", **options)
  return buffer.getvalue()


MEMBERS = [(f"shard.tar/{i}.png", _png(64 + i, 80, i)) for i in range(6)]


def test_a_shard_is_never_larger_than_it_may_be(tmp_path):
  total = sum(len(data) for _, data in MEMBERS)
  counts = []
  for share in (0.2, 0.6, 2.0):
    limit = int(total * share) + 20_000
    packed = packing.pack(tmp_path / "train.tar", MEMBERS, limit)
    assert packed.size_bytes == (tmp_path / "train.tar").stat().st_size <= limit
    source = FolderSource(tmp_path, "train")
    assert len(source) == packed.photographs
    assert source.sizes().prod(axis=1).sum() == packed.pixels
    counts.append(packed.photographs)
  assert 0 < counts[0] < counts[1] < counts[2] == 6
  assert not packed.left


def test_photographs_as_they_are_keep_their_pixels(tmp_path):
  packing.pack(tmp_path / "train.tar", MEMBERS, 10**9, seed=1)
  source = FolderSource(tmp_path, "train")
  expected = {name.replace("/", "-"): _pixels(data) for name, data in MEMBERS}
  assert source.names() != [f"train.tar/{name}" for name in expected]  # in random order
  for example in source:
    name = example["name"].removeprefix("train.tar/")
    np.testing.assert_array_equal(example["image"], expected[name])
  assert source.digests() == [pixel_digest(example["image"]) for example in source]


def test_encoded_again_they_are_smaller_and_never_larger(tmp_path):
  as_they_are = packing.pack(tmp_path / "train.tar", MEMBERS, 10**9)
  again = packing.pack(tmp_path / "again.tar", MEMBERS, 10**9, quality=60)
  assert again.size_bytes < as_they_are.size_bytes / 2
  assert again.pixels == as_they_are.pixels
  members = [(e, d) for e, d in zip("abc", (_avif(90), _avif(60), _avif(30)))]
  sizes = [len(data) for _, data in members]
  kept = packing._each(lambda data: packing._smaller(data, 60), members)
  assert [len(data) for _, data in kept] <= sizes


def _avif(quality):
  return packing._avif(pictures(1, 96, 3)[0], quality)


def test_of_validation_photographs_only_the_centre_travels(tmp_path):
  packed = packing.pack_centers(tmp_path / "valid.tar", MEMBERS, 48)
  assert packed.pixels == 6 * 48**2
  source = FolderSource(tmp_path, "valid")
  for example, (_, data) in zip(source, MEMBERS):
    difference = np.abs(example["image"].astype(int) - center_crop(_pixels(data), 48))
    assert difference.mean() < 1.5


def _pixels(data):
  return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_what_cannot_be_read_is_named(tmp_path):
  with pytest.raises(ImageError, match=r"shard\.tar/x\.png: .*not a readable image"):
    packing.pack_centers(tmp_path / "valid.tar", [("shard.tar/x.png", b"no image")], 48)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "avif"])
@pytest.mark.parametrize("is_turned", [False, True])
def test_sizes_are_those_of_the_upright_picture(suffix, is_turned, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6 if is_turned else 3
  picture = Image.fromarray(np.ascontiguousarray(pictures(1, 96)[0, :40, :60]))
  picture.save(tmp_path / f"a.{suffix}", exif=exif.tobytes())
  source = FolderSource(tmp_path, "train")
  expected = [60, 40] if is_turned else [40, 60]
  assert source.sizes().tolist() == [expected]
  assert source[0]["image"].shape == (*expected, 3)


def test_every_photograph_keeps_a_name_of_its_own(tmp_path):
  names = ["a.png", "a.jpg", "d/e.png", "d-e.png", f"{'画' * 40}.png", f"{'画' * 41}.png"]
  data = _png(64, 64)
  packed = packing.pack(tmp_path / "train.tar", [(name, data) for name in names], 10**9, quality=60)
  with tarfile.open(tmp_path / "train.tar") as archive:
    found = archive.getnames()
  assert packed.photographs == len(set(found)) == len(names)
  assert {"a.png.avif", "a.jpg.avif", "d-e.png.avif", "2-d-e.png.avif"} < {*found}
  assert all(name.endswith(".png.avif") for name in found if "画" in name)


def test_a_folder_without_the_split(tmp_path):
  (tmp_path / "a.png").write_bytes(_png(40, 60))
  with pytest.raises(UsageError, match="no photographs of split 'valid'"):
    FolderSource(tmp_path, "valid")
