"""Shards of .cae files, and training from them."""

import copy
import pickle

import numpy as np
import pytest

import cae_jax
from cae_jax.data.shards import Label, ShardSource, list_shards, read_shard, write_shard
from cae_jax.data.views import SplitError, image_digests, image_names, image_sizes, pixel_digest
from cae_jax.images.files import ImageError

_SHAPES = [(9, 12, 3), (8, 8), (7, 10, 4), (16, 5, 3)]


def _images():
  rng = np.random.default_rng(0)
  return [rng.integers(0, 256, shape).astype(np.uint8) for shape in _SHAPES]


def _record(image, label):
  return cae_jax.compress(image, lossless=True, metadata=label.metadata)


@pytest.fixture
def folder(tmp_path):
  names = ["a.png", "valid/b.png", "t.tar/c.png", ""]
  records = [
    _record(image, Label.of(name, bytes(range(32)) if name else b""))
    for name, image in zip(names, _images())
  ]
  write_shard(tmp_path / "00000-00000.array_record", records[:3])
  write_shard(tmp_path / "00001-00000.array_record", [])
  write_shard(tmp_path / "00001-00001.array_record", records[3:])
  (tmp_path / ".tmp-1234.array_record").write_bytes(b"half")
  return tmp_path


def test_records_come_back_in_order(tmp_path):
  path, records = tmp_path / "a.array_record", [b"1", b"", b"333", bytes(100_000)]
  assert write_shard(path, iter(records)) == 4
  assert list(read_shard(path)) == records


def test_same_records_same_bytes(tmp_path):
  records = [bytes([i]) * 1000 * i for i in range(50)]
  for name in ("a", "b"):
    write_shard(tmp_path / name, records)
  assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shard_that_cannot_be_written(tmp_path):
  with pytest.raises(OSError, match=r"none/a: cannot be written .*No such file"):
    write_shard(tmp_path / "none" / "a", [b"1"])


def test_what_records_raise_is_raised(tmp_path):
  def records():
    yield b"1"
    raise RuntimeError("of the codec")

  with pytest.raises(RuntimeError, match="of the codec"):
    write_shard(tmp_path / "a", records())


@pytest.mark.parametrize("size", [0, 10, 70_000])
def test_shard_that_is_cut(tmp_path, size):
  path = tmp_path / "a.array_record"
  write_shard(path, [np.random.default_rng(0).bytes(100_000)])
  path.write_bytes(path.read_bytes()[:size])
  with pytest.raises(ImageError, match=r"a\.array_record: no whole shard \("):
    list(read_shard(path))
  with pytest.raises(ImageError, match="no whole shard"):
    ShardSource(tmp_path, cae_jax.decompress)


def test_damaged_record_leaves_the_others(tmp_path):
  path = tmp_path / "a.array_record"
  write_shard(path, [np.random.default_rng(i).bytes(1000) for i in range(5)])
  data = bytearray(path.read_bytes())
  data[data.index(np.random.default_rng(2).bytes(1000)) + 500] ^= 1
  path.write_bytes(data)
  found = list(read_shard(path))
  assert [isinstance(record, ImageError) for record in found] == [0, 0, 1, 0, 0]
  assert "record 2: " in str(found[2])


def test_folder_without_shards(tmp_path):
  with pytest.raises(ImageError, match="no shards in it; expected files such as"):
    list_shards(tmp_path)
  with pytest.raises(FileNotFoundError, match="none: no such folder of shards"):
    list_shards(tmp_path / "none")


def test_images_are_as_they_were(folder):
  source = ShardSource(folder, cae_jax.decompress)
  rgb, grey, _, unnamed = _images()
  assert len(source) == 4
  np.testing.assert_array_equal(source[0]["image"], rgb)
  np.testing.assert_array_equal(source[1]["image"], np.repeat(grey[..., None], 3, 2))
  assert source[2]["image"].shape == (7, 10, 3)
  np.testing.assert_array_equal(source[-1]["image"], unnamed)
  assert [example["name"] for example in source] == image_names(source)


def test_what_is_known_without_decoding(folder):
  def refuse(_):
    raise AssertionError("decoded")

  source = ShardSource(folder, refuse)
  assert image_names(source) == ["a.png", "valid/b.png", "t.tar/c.png", "000003"]
  assert image_sizes(source).tolist() == [list(shape[:2]) for shape in _SHAPES]


def test_digests_are_of_the_originals(folder):
  source = ShardSource(folder, cae_jax.decompress)
  digests = image_digests(source)
  assert digests[:3] == [bytes(range(8))] * 3
  assert digests[3] == pixel_digest(_images()[3])


def test_splits_by_names(folder):
  train, valid = (ShardSource(folder, cae_jax.decompress, split) for split in ("train", "valid"))
  assert train.names() == ["a.png", "t.tar/c.png", "000003"]
  assert valid.names() == ["valid/b.png"]
  assert valid.sizes().tolist() == [[8, 8]]
  assert train[1]["name"] == "t.tar/c.png"
  with pytest.raises(SplitError, match=r"no images of split 'test', .*; there are train, valid"):
    ShardSource(folder, cae_jax.decompress, "test")


def test_damaged_file_names_its_record(folder):
  path = folder / "00000-00000.array_record"
  records = [record for record in read_shard(path) if isinstance(record, bytes)]
  write_shard(path, [records[0], records[1][:-1], records[2]])
  source = ShardSource(folder, cae_jax.decompress)
  np.testing.assert_array_equal(source[0]["image"], _images()[0])
  with pytest.raises(ImageError, match="record 1: "):
    source[1]


def test_source_can_be_sent_and_read_by_grain(folder):
  grain = pytest.importorskip("grain")
  source = ShardSource(folder, cae_jax.decompress)
  sent = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(sent[3]["image"], source[3]["image"])
  assert copy.copy(source)[0]["name"] == "a.png"
  names = [example["name"] for example in grain.MapDataset.source(source)]
  assert names == source.names()
