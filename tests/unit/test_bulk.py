"""Data sets into shards and back, part by part, as every worker does it."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

import cae_jax
from cae_jax.bulk import parts, places, results
from cae_jax.bulk.jobs import Compression, Decompression
from cae_jax.coding.bitstream import unpack
from cae_jax.commands import compressing, loading
from cae_jax.data import sources
from cae_jax.data.shards import Label, list_shards, read_shard, write_shard
from cae_jax.data.views import pixel_digest
from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.images.files import read_rgb

LOSSLESS = {"lossless": True}


def picture(seed, height=6, width=9):
  return np.random.default_rng(seed).integers(0, 9, (height, width, 3)).astype(np.uint8)


def png(image):
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "PNG")
  return buffer.getvalue()


def write_tar(path, members):
  with path.open("wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
    for name, data in members:
      entry = tarfile.TarInfo(name)
      entry.size = len(data)
      archive.addfile(entry, io.BytesIO(data))


def fill(folder):
  """Five image files, one of them broken, and a tar of three images and a text."""
  (folder / "sub").mkdir(parents=True)
  for number, name in enumerate(["a.png", "b.png", "sub/a.png", "z.png"]):
    (folder / name).write_bytes(png(picture(number)))
  (folder / "bad.png").write_bytes(png(picture(0))[:60])
  members = [(f"x/{number}.png", png(picture(number))) for number in (10, 11, 12)]
  write_tar(folder / "t.tar", [*members, ("x/notes.txt", b"text")])
  return folder


def all_parts(images, size):
  return [p for number, group in enumerate(images) for p in parts.split(number, group, size)]


def compress(images, output_dir, size=2, options=LOSSLESS):
  job = Compression(output_dir, options)
  return results.total(map(job, all_parts(images, size)))


def decompress(shards, output_dir):
  return results.total(map(Decompression(output_dir), list_shards(shards)))


def pictures(folder):
  return {
    path.relative_to(folder).as_posix(): read_rgb(path.read_bytes())
    for path in sorted(folder.rglob("*.png"))
  }


def read_names(part):
  return [name for name, _ in part.images.read(part.start, part.stop)]


def test_parts_have_every_image_once(tmp_path):
  found = all_parts(parts.of_folder(fill(tmp_path), 2), 2)
  assert [(part.name, read_names(part)) for part in found] == [
    ("00000-00000", ["a.png", "b.png"]),
    ("00001-00000", ["bad.png", "sub/a.png"]),
    ("00002-00000", ["z.png"]),
    ("00003-00000", ["t.tar/x/10.png", "t.tar/x/11.png"]),
    ("00003-00001", ["t.tar/x/12.png"]),
  ]


def test_one_tar_file(tmp_path):
  (found,) = all_parts(parts.of_folder(fill(tmp_path) / "t.tar", 9), 9)
  assert read_names(found) == ["t.tar/x/10.png", "t.tar/x/11.png", "t.tar/x/12.png"]


def test_one_image_file(tmp_path):
  (found,) = all_parts(parts.of_folder(fill(tmp_path) / "a.png", 9), 9)
  assert read_names(found) == ["a.png"]


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_parts_of_a_tar_end_with_the_tar(tmp_path, count):
  write_tar(tmp_path / "t.tar", [(f"{i}.png", b"") for i in range(count)])
  found = all_parts(parts.of_folder(tmp_path, 2), 2)
  assert len(found) == max(1, -(-count // 2))
  assert found[-1].stop is None
  if count:
    assert [name for part in found for name in read_names(part)] == [
      f"t.tar/{i}.png" for i in range(count)
    ]


def test_images_come_back_and_failures_are_listed(tmp_path):
  source, shards, back = fill(tmp_path / "source"), tmp_path / "shards", tmp_path / "back"
  found = compress(parts.of_folder(source, 2), shards)
  assert (found.shards, found.images, found.pixels) == (5, 7, 7 * 54)
  assert found.rate_bpp == pytest.approx(8 * found.cae_bytes / found.pixels)
  assert [failure.name for failure in found.failures] == ["bad.png"]
  assert found.failures[0].reason.startswith("not a readable image (")
  again = decompress(shards, back)
  assert (again.images, again.cae_bytes, again.failures) == (7, found.cae_bytes, ())
  expected = {name: image for name, image in pictures_of(source).items() if name != "bad.png"}
  assert pictures(back).keys() == expected.keys()
  for name, image in pictures(back).items():
    np.testing.assert_array_equal(image, expected[name])


def pictures_of(source):
  """What lies in `fill`'s folder, by name."""
  files = {name: picture(i) for i, name in enumerate(["a.png", "b.png", "sub/a.png", "z.png"])}
  return files | {f"t.tar/x/{i}.png": picture(i) for i in (10, 11, 12)}


def test_records_are_files_that_say_their_names(tmp_path):
  compress(parts.of_folder(fill(tmp_path / "source"), 2), tmp_path / "shards")
  record = next(read_shard(list_shards(tmp_path / "shards")[0]))
  np.testing.assert_array_equal(cae_jax.decompress(record), picture(0))
  assert Label.read(unpack(record)) == Label.of("a.png", pixel_digest(picture(0)))


def test_a_broken_tar_gives_what_can_be_read(tmp_path):
  path = tmp_path / "source" / "t.tar"
  path.parent.mkdir()
  noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
  write_tar(path, [(f"{i}.png", png(noise)) for i in range(4)])
  path.write_bytes(path.read_bytes()[: 3 * 5632 + 1000])
  found = compress(parts.of_folder(path.parent, 2), tmp_path / "shards")
  assert found.images == 3
  ((name, reason),) = found.failures
  assert name == "t.tar"
  assert "t.tar: not a whole tar file" in reason


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_what_is_no_tar_is_a_failure(tmp_path, data):
  (tmp_path / "source").mkdir()
  (tmp_path / "source" / "t.tar").write_bytes(data)
  found = compress(parts.of_folder(tmp_path / "source", 2), tmp_path / "shards")
  assert (found.images, [failure.name for failure in found.failures]) == (0, ["t.tar"])


def test_a_compressed_tar_that_is_damaged(tmp_path):
  (tmp_path / "source").mkdir()
  path = tmp_path / "source" / "t.tar.gz"
  noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
  with tarfile.open(path, "w:gz") as archive:
    for number in range(4):
      entry = tarfile.TarInfo(f"{number}.png")
      entry.size = len(png(noise))
      archive.addfile(entry, io.BytesIO(png(noise)))
  data = bytearray(path.read_bytes())
  data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
  path.write_bytes(data)
  found = compress(parts.of_folder(path.parent, 2), tmp_path / "shards")
  assert found.images < 4
  assert "not a whole tar file" in found.failures[-1].reason


def test_second_image_of_a_name(tmp_path):
  (tmp_path / "source").mkdir()
  write_tar(tmp_path / "source" / "t.tar", [("a.png", png(picture(i))) for i in range(2)])
  found = compress(parts.of_folder(tmp_path / "source", 2), tmp_path / "shards")
  assert found.images == 1
  assert found.failures == (results.Failure("t.tar/a.png", "a second image of this name"),)


def test_a_bug_of_one_image_does_not_stop_the_others(tmp_path, monkeypatch):
  original = compressing.compress_bytes

  def compress_bytes(data, name, **options):
    if name == "b.png":
      raise ZeroDivisionError("by zero")
    return original(data, name, **options)

  monkeypatch.setattr(compressing, "compress_bytes", compress_bytes)
  found = compress(parts.of_folder(fill(tmp_path / "source"), 9), tmp_path / "shards")
  assert found.images == 6
  assert "internal error (ZeroDivisionError: by zero)" in dict(found.failures)["b.png"]


def test_done_again_a_part_is_the_same_and_what_is_done_is_left_alone(tmp_path, monkeypatch):
  images = parts.of_folder(fill(tmp_path / "source"), 2)
  whole = compress(images, tmp_path / "whole")
  original, calls = compressing.compress_bytes, []

  def interrupted(data, name, **options):
    if name == "sub/a.png":
      raise KeyboardInterrupt
    return counted(data, name, **options)

  def counted(data, name, **options):
    calls.append(name)
    return original(data, name, **options)

  cut = tmp_path / "cut"
  monkeypatch.setattr(compressing, "compress_bytes", interrupted)
  with pytest.raises(KeyboardInterrupt):
    compress(images, cut)
  assert [path.name for path in list_shards(cut)] == ["00000-00000.array_record"]
  calls.clear()
  monkeypatch.setattr(compressing, "compress_bytes", counted)
  assert compress(images, cut) == whole
  assert calls[0] == "bad.png"
  files = lambda folder: {p.name: p.read_bytes() for p in folder.glob("*.array_record")}
  assert files(cut) == files(tmp_path / "whole")


@pytest.mark.parametrize("restarted", [False, True])
def test_only_leftovers_of_the_job_are_removed(tmp_path, restarted):
  if restarted:
    results.begin(tmp_path, {})
  (tmp_path / "sub").mkdir()
  (tmp_path / ".tmp-fedcba9876543210").mkdir()
  leftovers = [".tmp-0123456789abcdef.array_record", "sub/.tmp-0123456789abcdef.png"]
  others = [".tmp-notes.txt", "sub/.tmp-0123456789abcdef.tar.gz", ".tmp-0123456789abcdef0.png"]
  for name in leftovers + others:
    (tmp_path / name).write_bytes(b"half")
  results.begin(tmp_path, {})
  assert all((tmp_path / name).exists() for name in others)
  assert (tmp_path / ".tmp-fedcba9876543210").is_dir()
  assert [(tmp_path / name).exists() for name in leftovers] == [not restarted] * 2


def test_names_of_unfinished_files_are_known_for_leftovers(tmp_path):
  results.begin(tmp_path, {})
  for name in ("00000-00000.array_record", "a.png", "failures.jsonl", "noending"):
    with places.written(tmp_path / name) as temporary:
      temporary.write_bytes(b"half")
      results.begin(tmp_path, {})
      assert not temporary.exists()
      temporary.touch()


def test_one_job_at_a_time_in_a_folder(tmp_path):
  with places.locked(tmp_path / "new"):
    with pytest.raises(UsageError, match=r"new: another job is at work here .* --output_dir"):
      places.locked(tmp_path / "new").__enter__()
    with places.locked(tmp_path / "other"):
      pass
  with places.locked(tmp_path / "new"):
    pass


def test_images_that_have_changed_are_compressed_again_and_no_others(tmp_path, monkeypatch):
  source, shards = fill(tmp_path / "source"), tmp_path / "shards"
  images = parts.of_folder(source, 2)
  first = compress(images, shards)
  original, calls = compressing.compress_bytes, []

  def counted(data, name, **options):
    calls.append(name)
    return original(data, name, **options)

  monkeypatch.setattr(compressing, "compress_bytes", counted)
  assert compress(images, shards) == first
  assert calls == []
  (source / "bad.png").write_bytes(png(picture(20)))
  found = compress(images, shards)
  assert calls == ["bad.png", "sub/a.png"]
  assert (found.images, found.failures) == (8, ())
  record = next(read_shard(list_shards(shards)[1]))
  np.testing.assert_array_equal(cae_jax.decompress(record), picture(20))

  calls.clear()
  times = (source / "a.png").stat()
  os.utime(source / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns + 1))
  assert compress(images, shards) == found
  assert calls == ["a.png", "b.png"]


def test_a_tar_that_has_changed_makes_another_job(tmp_path):
  def key():
    return parts.fingerprint(images.key() for images in parts.of_folder(source, 2))

  source = fill(tmp_path / "source")
  before = key()
  (source / "a.png").write_bytes(png(picture(20, 20)))
  assert key() == before
  write_tar(source / "t.tar", [("x/10.png", png(picture(10)))])
  assert key() != before


def test_a_shard_that_is_gone_is_made_again(tmp_path):
  images = parts.of_folder(fill(tmp_path / "source"), 2)
  compress(images, tmp_path / "shards")
  first = list_shards(tmp_path / "shards")[0]
  data = first.read_bytes()
  for change in (first.unlink, lambda: first.write_bytes(data[:-1])):
    change()
    compress(images, tmp_path / "shards")
    assert first.read_bytes() == data


def test_pictures_that_are_gone_are_made_again(tmp_path, monkeypatch):
  compress(parts.of_folder(fill(tmp_path / "source"), 2), tmp_path / "shards")
  back = tmp_path / "back"
  first = decompress(tmp_path / "shards", back)
  whole = {path: path.read_bytes() for path in back.rglob("*.png")}
  for name in ("a.png", "t.tar/x/12.png"):
    (back / name).unlink()
  read = []
  original = loading.codec_for
  monkeypatch.setattr(loading, "codec_for", lambda *a: read.append(a) or original(*a))
  assert decompress(tmp_path / "shards", back) == first
  assert {path: path.read_bytes() for path in back.rglob("*.png")} == whole
  assert len(read) == 3  # the two of the first shard, and the one of the last


def test_a_disk_that_is_full_is_no_failure_of_an_image(tmp_path, monkeypatch):
  monkeypatch.setattr("cae_jax.bulk.jobs.write_shard", lambda path, records: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    compress(parts.of_folder(fill(tmp_path / "source"), 2), tmp_path / "shards")
  assert not list((tmp_path / "shards").rglob("*.*"))


def test_other_settings_are_another_job(tmp_path):
  results.begin(tmp_path, {"bpp": 0.5, "lossless": False})
  results.begin(tmp_path, {"bpp": 0.5, "lossless": False})
  with pytest.raises(UsageError, match=r"holds another job: bpp was 0\.5, is 1\.0; go on with"):
    results.begin(tmp_path, {"bpp": 1.0, "lossless": False})
  results.begin(tmp_path / "more", {"images": "0123"})
  with pytest.raises(UsageError, match="holds another job: its images were others, or a tar file"):
    results.begin(tmp_path / "more", {"images": "4567"})


def test_summary_is_read_as_it_was_written(tmp_path):
  failures = results.Failure("b", "x"), results.Failure("a", "é\n")
  one = results.Result(1, 3, 100, 10, 5, 70, failures[:1])
  both = results.total([one, results.Result(1, 0, 0, 0, 0, 7, failures[1:])])
  assert both == results.Result(2, 3, 100, 10, 5, 77, failures[::-1])
  results.write_summary(tmp_path, both)
  assert results.read_summary(tmp_path) == both
  assert json.loads((tmp_path / "summary.json").read_text())["rate_bpp"] == 0.4
  assert both.line == (
    "3 images in 2 shards, 10 bytes of image files, 5 of .cae files, 0.4000 bpp, 2 failed"
  )
  assert results.Result().rate_bpp is None


def record(name, seed=0):
  label = Label.of(name, b"")
  return cae_jax.compress(picture(seed), lossless=True, metadata=label.metadata)


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "x/../../a.png", "a\0.png"])
def test_names_that_lead_elsewhere(tmp_path, name):
  (tmp_path / "shards").mkdir()
  write_shard(tmp_path / "shards" / "a.array_record", [record(name), record("good.png")])
  found = decompress(tmp_path / "shards", tmp_path / "back")
  assert found.images == 1
  assert found.failures == (results.Failure(name, "expected the name of a file within the folder"),)
  assert [p.name for p in tmp_path.rglob("*.png")] == ["good.png"]


def test_names_of_image_files(tmp_path):
  names = ["a.jpg", "a.png", "b.PNG", "folder/c", "", "n" * 300, "a.png", "a.png/d.png"]
  (tmp_path / "s").mkdir()
  write_shard(tmp_path / "s" / "s.array_record", [record(n, i) for i, n in enumerate(names)])
  found = decompress(tmp_path / "s", tmp_path / "back")
  files = {p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*.*")}
  images = {name for name in files if name.lower().endswith(".png")}
  assert images == {"a.jpg.png", "a.png", "b.PNG", "folder/c.png", "s-000004.png"}
  failed = dict(found.failures)
  assert failed["a.png"] == "another image is in a.png"
  assert failed["n" * 300] == "the name has more than 255 bytes"
  assert found.images + len(found.failures) == len(names)


def test_a_damaged_record_does_not_stop_the_others(tmp_path):
  (tmp_path / "s").mkdir()
  records = [record("a.png"), record("b.png", 1)[:-1], b"", record("d.png", 3)]
  write_shard(tmp_path / "s" / "s.array_record", records)
  (tmp_path / "s" / "t.array_record").write_bytes(b"no shard")
  found = decompress(tmp_path / "s", tmp_path / "back")
  assert (found.images, found.shards) == (2, 2)
  assert [failure.name for failure in found.failures] == ["s-000001", "s-000002", "t"]


def test_a_data_set_of_tfds(tmp_path):
  (images,) = parts.of_dataset("sample_photos", "test", None)
  source = sources.load_source("sample_photos", "test")
  assert images.count() == len(source)
  names = [name for part in all_parts([images], 2) for name in read_names(part)]
  assert names == [example["name"] for example in source]
  _, data = next(images.read(1, None))
  np.testing.assert_array_equal(read_rgb(data), source[1]["image"])


def bucket(folder):
  """A file system of gs:// that is a folder."""

  class Bucket(DirFileSystem):
    protocol = "gs"

    def __init__(self, **_):
      super().__init__(folder, LocalFileSystem(auto_mkdir=True))

  return Bucket


def test_buckets(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "gcs", bucket(tmp_path / "gs"))
  source = places.place("gs://bucket/source")
  for path in fill(tmp_path / "source").rglob("*.*"):
    target = source / path.relative_to(tmp_path / "source").as_posix()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(path.read_bytes())
  shards = places.place("gs://bucket/shards")
  results.begin(shards, {"a": 1})
  with pytest.raises(UsageError, match="gs://bucket/shards holds another job"):
    results.begin(shards, {"a": 2})
  images = parts.of_folder(source, 2)
  found = compress(images, shards)
  here = compress(parts.of_folder(tmp_path / "source", 2), tmp_path / "shards")
  assert found == here
  results.write_summary(shards, found)
  assert results.read_summary(shards) == found
  monkeypatch.setattr(compressing, "compress_bytes", None)
  assert compress(images, shards) == here  # all is there
  found = decompress(shards, places.place("gs://bucket/back"))
  assert found.images == 7
  image = read_rgb(places.place("gs://bucket/back/t.tar/x/11.png").read_bytes())
  np.testing.assert_array_equal(image, picture(11))


def test_places(monkeypatch):
  assert places.place("a/b") == Path("a/b").absolute()
  with pytest.raises(UsageError, match="ftp://a/b: expected a path, not a URL"):
    places.place("ftp://a/b")
  monkeypatch.setitem(sys.modules, "etils", None)
  with pytest.raises(MissingExtraError, match="buckets need etils"):
    places.place("gs://a/b")
