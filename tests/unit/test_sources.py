"""Data sets by name: prepared once, read at random, and every bad folder has its error."""

import errno
import functools
import hashlib
import http.server
import importlib.util
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cae_jax.data import builder as records
from cae_jax.data import fingerprint, sources, views
from cae_jax.data.kodak import kodak_dataset_builder as kodak
from cae_jax.data.photos import photos_dataset_builder as photos
from cae_jax.data.sample_photos import sample_photos_dataset_builder as sample_photos
from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.images import files

REPOSITORY = pathlib.Path(__file__).parents[2]
KODAK_DIR = REPOSITORY.parent / "shared" / "data" / "kodak"
needs_samples = pytest.mark.skipif(
  importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed"
)


def noise(seed, height=12, width=16):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels, image_format="PNG"):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, image_format)
  return buffer.getvalue()


def write_tar(path, members):
  with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))


def contents(source):
  return {example["name"]: example["image"] for example in source}


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "photos"
  (folder / "inner").mkdir(parents=True)
  (folder / "a.png").write_bytes(encode(noise(0)))
  (folder / "inner" / "B.JPG").write_bytes(encode(noise(1), "JPEG"))
  (folder / "valid_1.png").write_bytes(encode(noise(2)))
  (folder / "notes.txt").write_text("not an image")
  (folder / "._a.png").write_bytes(b"a resource fork")
  write_tar(folder / "more.tar", {"x/c.webp": encode(noise(3), "WEBP"), "readme.md": b"text"})
  write_tar(folder / "test-0.tar.gz", {"d.png": encode(noise(4)[..., 0])})
  return folder


def load(folder, split="train", dataset="photos"):
  return sources.load_source(dataset, split, source_dir=folder, data_dir=folder.parent / "prepared")


def test_folder_of_files_and_shards(folder):
  train = contents(load(folder))
  assert sorted(train) == ["a.png", "inner/B.JPG", "more.tar/x/c.webp"]
  np.testing.assert_array_equal(train["a.png"], noise(0))
  np.testing.assert_array_equal(train["inner/B.JPG"], files.read_rgb(folder / "inner" / "B.JPG"))
  valid, test = contents(load(folder, "valid")), contents(load(folder, "test"))
  np.testing.assert_array_equal(valid["valid_1.png"], noise(2))
  np.testing.assert_array_equal(test["test-0.tar.gz/d.png"], files.to_rgb(noise(4)[..., 0]))


def test_one_tar_file(tmp_path):
  write_tar(tmp_path / "pictures.tar", {"a.png": encode(noise(0)), "b.png": encode(noise(1))})
  assert sorted(contents(load(tmp_path / "pictures.tar"))) == [
    "pictures.tar/a.png",
    "pictures.tar/b.png",
  ]


def test_records_hold_the_files_bytes(folder):
  load(folder)
  (prepared,) = (folder.parent / "prepared").glob("from-*/photos/*/")
  builder = tfds.builder_from_directory(prepared)
  undecoded = {"image": tfds.decode.SkipDecoding()}
  stored = {record["image"] for record in builder.as_data_source("train", decoders=undecoded)}
  assert {(folder / "a.png").read_bytes(), (folder / "inner" / "B.JPG").read_bytes()} < stored


def test_a_source_tells_of_its_images_without_decoding_them(folder, monkeypatch):
  source = load(folder)
  decoded = list(source)
  monkeypatch.setattr(files, "read_rgb", None)
  for view in (source, sources.cached(source, 0)):
    assert sources.image_names(view) == [example["name"] for example in decoded]
    assert sources.image_sizes(view).tolist() == [[12, 16]] * 3
    digests = [views.pixel_digest(example["image"]) for example in decoded]
    assert sources.image_digests(view) == digests


def test_slices_of_splits(folder):
  assert len(load(folder, "train[:67%]")) == 2
  assert len(load(folder, "train[67%:]")) == 1
  assert len(load(folder, "train+valid")) == 4
  assert len(load(folder, "all")) == 5


def test_second_call_does_not_prepare_again(folder, monkeypatch):
  first = contents(load(folder))
  monkeypatch.setattr(records, "_checked", None)
  second = contents(load(folder))
  assert list(second) == list(first)


def test_changed_folder_is_another_data_set(folder):
  load(folder)
  same_size = noise(7)
  (folder / "a.png").write_bytes(encode(same_size))
  np.testing.assert_array_equal(contents(load(folder))["a.png"], same_size)
  (folder / "e.png").write_bytes(encode(noise(8)))
  assert len(load(folder)) == 4
  (folder / "e.png").rename(folder / "f.png")
  assert "f.png" in contents(load(folder))


def test_the_same_content_is_not_prepared_again(folder, monkeypatch):
  first = contents(load(folder))
  monkeypatch.setattr(records, "_checked", None)
  os.utime(folder / "a.png")
  assert list(contents(load(folder))) == list(first)
  moved = folder.rename(folder.parent / "moved")
  assert list(contents(load(moved))) == list(first)


def test_two_preparations_at_once(folder, monkeypatch):
  """The second to finish finds the folder of the first in its way, and uses it."""
  check = records._checked

  def with_another_in_between(members):
    monkeypatch.setattr(records, "_checked", check)
    load(folder)
    yield from check(members)

  monkeypatch.setattr(records, "_checked", with_another_in_between)
  assert len(load(folder)) == 3


def test_an_image_that_cannot_be_read_is_left_out_and_named(folder, caplog):
  good = (folder / "a.png").read_bytes()
  (folder / "a.png").write_bytes(good[: len(good) // 2])
  for _ in range(2):  # while it is prepared, and whenever it is read
    caplog.clear()
    assert sorted(contents(load(folder))) == ["inner/B.JPG", "more.tar/x/c.webp"]
    [message] = caplog.messages
    assert message.startswith(
      "photos, split train: 1 of 3 images cannot be read and left out: a.png: image of"
    )
  caplog.clear()
  load(folder, "valid")
  assert caplog.messages == []
  load(folder, "valid+train[:50%]")
  assert len(caplog.messages) == 1
  caplog.clear()
  (folder / "a.png").write_bytes(good)
  assert len(load(folder)) == 3
  assert caplog.messages == []


def write_pictures(folder, good, bad):
  folder.mkdir()
  for number in range(good):
    (folder / f"good{number:02d}.png").write_bytes(encode(noise(number, 2, 2)))
  for number in range(bad):
    (folder / f"bad{number}.png").write_bytes(b"no picture")


def test_a_tenth_may_be_unreadable(tmp_path, caplog):
  write_pictures(tmp_path / "photos", 18, 2)
  assert len(load(tmp_path / "photos")) == 18
  assert "2 of 20 images cannot be read and left out: bad0.png: " in caplog.text
  assert "; bad1.png: " in caplog.text


@pytest.mark.parametrize(
  ("good", "bad", "message"),
  [
    (17, 2, r"^2 of 19 images cannot be read: bad0\.png: .*; replace or remove them and start ag"),
    (0, 1, r"^1 of 1 images cannot be read: bad0\.png: .*; replace or remove it and start again"),
    (9, 9, r"^9 of 18 .*; bad4\.png: [^;]*; and 4 more; replace or remove them"),
  ],
)
def test_more_that_are_unreadable_are_an_error(tmp_path, good, bad, message):
  write_pictures(tmp_path / "photos", good, bad)
  with pytest.raises(files.ImageError, match=message):
    load(tmp_path / "photos")
  assert not list((tmp_path / "prepared").rglob("dataset_info.json"))


def test_unreadable_members_of_a_shard(tmp_path, caplog):
  with tarfile.open(tmp_path / "s.tar", "w") as archive:
    members = [("ok.png", 0), ("ok.png", 1), ("bad.png", None)]
    members += [(f"{number}.png", number) for number in range(20)]
    for name, number in members:
      data = b"no picture" if number is None else encode(noise(number))
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  source = contents(load(tmp_path / "s.tar"))
  assert len(source) == 21
  np.testing.assert_array_equal(source["s.tar/ok.png"], noise(0))
  assert "2 of 23 images cannot be read and left out: s.tar/ok.png: a second image" in caplog.text
  assert "; s.tar/bad.png: " in caplog.text


def test_a_file_that_cannot_be_read_at_all(folder, caplog, monkeypatch):
  read_bytes = pathlib.Path.read_bytes

  def failing(path):
    if path.name == "a.png":
      raise OSError(errno.EIO, os.strerror(errno.EIO))
    return read_bytes(path)

  monkeypatch.setattr(pathlib.Path, "read_bytes", failing)
  assert len(load(folder)) == 2
  assert "left out: a.png: Input/output error" in caplog.text


def test_names_that_are_not_utf8(folder):
  odd = os.fsdecode(b"caf\xe9")
  (folder / f"{odd}.png").write_bytes(encode(noise(5)))
  (folder / odd).mkdir()
  write_tar(folder / odd / "s.tar", {f"{odd}\n.png": encode(noise(6))})
  train = contents(load(folder))
  np.testing.assert_array_equal(train[r"caf\xe9.png"], noise(5))
  np.testing.assert_array_equal(train[r"caf\xe9/s.tar/caf\xe9\n.png"], noise(6))
  assert len(load(folder / odd)) == 1


def test_truncated_shard(tmp_path):
  path = tmp_path / "s.tar"
  write_tar(path, {"a.png": encode(noise(0)), "b.png": encode(noise(1, 90, 90))})
  path.write_bytes(path.read_bytes()[:9000])
  with pytest.raises(files.ImageError, match=r"s\.tar: not a whole tar file .* after \d images"):
    load(path)


def test_shard_without_images(tmp_path):
  write_tar(tmp_path / "s.tar", {"a.txt": b"text"})
  with pytest.raises(files.ImageError, match=r"s\.tar: no images in this tar file"):
    load(tmp_path / "s.tar")


def test_empty_folder(tmp_path):
  (tmp_path / "empty").mkdir()
  (tmp_path / "empty" / "notes.txt").write_text("text")
  with pytest.raises(files.ImageError, match="empty: no images in it; expected files such as"):
    load(tmp_path / "empty")


def test_missing_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match="absent: no such folder or tar file"):
    load(tmp_path / "absent")


def test_missing_split(folder):
  (folder / "valid_1.png").unlink()
  with pytest.raises(
    ValueError, match="photos: no images in split 'valid'; the splits are test, train,"
  ):
    load(folder, "valid")


def test_empty_slice(folder):
  with pytest.raises(ValueError, match=r"no images in split 'train\[:0\]'; the splits are"):
    load(folder, "train[:0]")


def test_photos_needs_a_folder(tmp_path):
  with pytest.raises(ValueError, match="photos: give source_dir"):
    sources.load_source("photos", "train", data_dir=tmp_path)
  with pytest.raises(ValueError, match="photos has no download; give it source_dir"):
    photos.Builder(data_dir=tmp_path).download_and_prepare(file_format="array_record")


def test_source_dir_for_another_data_set(folder):
  with pytest.raises(ValueError, match="only kodak and photos read a source_dir"):
    load(folder, dataset="sample_photos")


def test_unknown_data_set(tmp_path):
  with pytest.raises(ValueError, match="no_such_set: no such data set; there are kodak, photos"):
    sources.load_source("no_such_set", "train", data_dir=tmp_path)


def test_unknown_config(tmp_path):
  with pytest.raises(UsageError, match=r"kodak/other: .*not found"):
    sources.load_source("kodak/other", "train", data_dir=tmp_path)


def test_paths_are_a_users(folder, monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  source = sources.load_source("photos", "train", source_dir="~/photos", data_dir="~/prepared")
  assert len(source) == 3
  assert (tmp_path / "prepared").is_dir()
  for name in ("source_dir", "data_dir"):
    with pytest.raises(UsageError, match=r"^gs://bucket/a: expected a path, not a URL"):
      sources.load_source("photos", "train", **{"source_dir": folder, name: "gs://bucket/a"})


def test_no_temporary_folder_is_left(folder, monkeypatch, tmp_path):
  (tmp_path / "temporary").mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
  for _ in range(2):
    load(folder)
  assert list((tmp_path / "temporary").iterdir()) == []


def test_data_dir_from_the_environment(folder, monkeypatch, tmp_path):
  monkeypatch.setenv("CAE_JAX_DATA_DIR", str(tmp_path / "elsewhere"))
  sources.load_source("photos", "train", source_dir=folder)
  assert list((tmp_path / "elsewhere").glob("from-*/photos/*/dataset_info.json"))
  monkeypatch.delenv("CAE_JAX_DATA_DIR")
  assert sources.default_data_dir().parts[-2:] == ("cae_jax", "datasets")


@pytest.mark.parametrize(
  ("path", "split"),
  [
    ("valid.tar", "valid"),
    ("valid-0.tar", "valid"),
    ("validation/a.png", "valid"),
    ("photos/Valid_1.png", "valid"),
    ("valid01.png", "valid"),
    ("test.tar.gz", "test"),
    ("testing/a.png", "test"),
    ("test07.png", "test"),
    ("testament.png", "train"),
    ("validated.png", "train"),
    ("train/a.png", "train"),
    ("a_test.png", "train"),
  ],
)
def test_split_of(path, split):
  assert photos.split_of(path) == split


def key(folder):
  return fingerprint.fingerprint(folder, folder.parent / "indexes")


def test_fingerprint_depends_on_names_and_contents_alone(folder):
  first = key(folder)
  assert re.fullmatch("[0-9a-f]{16}", first)
  seen = {first}
  (folder / "a.png").rename(folder / "b.png")
  seen.add(key(folder))
  (folder / "b.png").write_bytes(b"other")
  seen.add(key(folder))
  (folder / "a").mkdir()
  (folder / "b.png").rename(folder / "a" / "b.png")
  seen.add(key(folder))
  assert len(seen) == 4
  (folder / "notes.txt").write_text("still no image")
  os.utime(folder / "a" / "b.png")
  assert key(folder) in seen
  shutil.copytree(folder, folder.parent / "copy")
  assert key(folder.parent / "copy") == key(folder / ".." / folder.name)


def test_fingerprint_reads_a_file_again_only_after_a_change(folder, monkeypatch):
  read = []
  digest = hashlib.file_digest
  monkeypatch.setattr(
    hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name)
  )
  monkeypatch.setattr(fingerprint, "_SETTLED_NS", 0)
  first = key(folder)
  assert len(read) == 5
  assert key(folder) == first
  assert len(read) == 5
  os.utime(folder / "a.png")
  assert key(folder) == first
  assert read[5:] == [str(folder / "a.png")]
  [index] = (folder.parent / "indexes").iterdir()
  index.write_text("{broken")
  assert key(folder) == first


def test_fingerprint_trusts_no_file_that_changed_just_now(folder):
  first = key(folder)
  size = (folder / "a.png").stat().st_size
  (folder / "a.png").write_bytes(bytes(size))
  assert key(folder) != first


# Kodak


def test_registered_checksums_are_of_the_24_files():
  infos = kodak.Builder.url_infos
  assert sorted(infos) == [
    f"https://r0k.us/graphics/kodak/kodak/kodim{number:02d}.png" for number in range(1, 25)
  ]
  assert len({info.checksum for info in infos.values()}) == 24
  assert all(len(info.checksum) == 64 and info.size > 400_000 for info in infos.values())


@pytest.fixture
def fake_kodak(tmp_path, monkeypatch):
  """24 small images in the place of the real ones, with their own checksums; gives their folder."""
  folder = tmp_path / "site" / "kodak"
  folder.mkdir(parents=True)
  for number in range(1, 25):
    (folder / f"kodim{number:02d}.png").write_bytes(encode(noise(number)))
  register(monkeypatch, folder, kodak.HOME_PAGE)
  return folder


def register(monkeypatch, folder, home_page):
  monkeypatch.setattr(kodak, "HOME_PAGE", home_page)
  infos = {
    kodak.url(path.stem): tfds.download.checksums.compute_url_info(path)
    for path in folder.glob("*.png")
  }
  monkeypatch.setattr(kodak.Builder, "url_infos", infos)


def test_kodak_configs(fake_kodak):
  every = load(fake_kodak, "test", "kodak")
  assert [every[i]["name"] for i in range(24)] == [f"kodim{n:02d}" for n in range(1, 25)]
  np.testing.assert_array_equal(every[3]["image"], noise(4))
  train, test = (load(fake_kodak, split, "kodak/paper") for split in ("train", "test"))
  assert list(contents(train)) == [f"kodim{n:02d}" for n in range(1, 18)]
  assert list(contents(test)) == [f"kodim{n:02d}" for n in range(18, 25)]


def test_kodak_without_a_file(fake_kodak):
  (fake_kodak / "kodim07.png").unlink()
  with pytest.raises(files.ImageError, match=r"the Kodak set's kodim07\.png not in it, or unr"):
    load(fake_kodak, "test", "kodak")


def test_kodak_with_another_file(fake_kodak):
  (fake_kodak / "kodim07.png").write_bytes(encode(noise(99)))
  with pytest.raises(files.ImageError, match=r"kodim07\.png is not the published file"):
    load(fake_kodak, "test", "kodak")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
  def __init__(self, *args, answered, **kwargs):
    self.answered = answered
    super().__init__(*args, **kwargs)

  def do_GET(self):
    super().do_GET()
    self.answered.release()

  def log_message(self, *args):
    pass


@pytest.fixture
def home_page(fake_kodak, monkeypatch):
  """The same behind a web server, registered under its address."""
  answered = threading.Semaphore(0)
  handler = functools.partial(QuietHandler, directory=fake_kodak.parent, answered=answered)
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    register(monkeypatch, fake_kodak, f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield fake_kodak
    # Downloads that are under way would be tried for minutes on a server that is gone.
    assert all(answered.acquire(timeout=60) for _ in range(24))
    server.shutdown()
    thread.join()


def test_kodak_is_downloaded(home_page, tmp_path):
  train = sources.load_source("kodak/paper", "train", data_dir=tmp_path / "prepared")
  np.testing.assert_array_equal(train[16]["image"], noise(17))


def test_changed_download_is_refused(home_page, tmp_path):
  (home_page / "kodim07.png").write_bytes(encode(noise(99)))
  with pytest.raises(
    sources.DataSetError, match=r"kodak: TFDS cannot prepare it here: NonMatch.*kodim07\.png"
  ):
    sources.load_source("kodak", "test", data_dir=tmp_path / "prepared")


def test_real_kodak(tmp_path):
  if not KODAK_DIR.is_dir():
    pytest.skip("the Kodak images are not there")
  test = sources.load_source("kodak/paper", "test", source_dir=KODAK_DIR, data_dir=tmp_path)
  assert [example["name"] for example in test] == [f"kodim{n}" for n in range(18, 25)]
  assert sources.image_sizes(test).tolist().count([768, 512]) == 2
  path = KODAK_DIR / "kodim20.png"
  np.testing.assert_array_equal(test[2]["image"], np.asarray(Image.open(path)))
  info = kodak.Builder.url_infos[kodak.url("kodim20")]
  assert info.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
  assert info.size == path.stat().st_size


# Other data sets


@needs_samples
def test_sample_photos(tmp_path):
  train, test = (
    contents(sources.load_source("sample_photos", split, data_dir=tmp_path))
    for split in ("train", "test")
  )
  assert list(train) == ["astronaut", "motorcycle_left", "rocket"]
  assert list(test) == ["chelsea", "coffee"]
  assert all(image.std() > 10 for image in [*train.values(), *test.values()])


def test_sample_photos_without_scikit_image(tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(MissingExtraError, match=r'pip install "cae_jax\[data\]"'):
    sample_photos.data_folder()


class ForeignSet(tfds.core.GeneratorBasedBuilder):
  """A data set as others write them, without names and sizes."""

  VERSION = tfds.core.Version("1.0.0")
  image_keys = ("picture",)

  def _info(self):
    features = {key: tfds.features.Image() for key in self.image_keys}
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict({**features, "label": np.int64})
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for number in range(3):
      images = {key: io.BytesIO(encode(noise(number))) for key in self.image_keys}
      yield number, {**images, "label": number}


class TwoImages(ForeignSet):
  """Which of the two is it?"""

  image_keys = ("left", "right")


def test_any_tfds_image_data_set(tmp_path):
  source = sources.load_source("foreign_set", "train", data_dir=tmp_path)
  read = contents(source)
  assert sorted(read) == ["000000", "000001", "000002"]
  assert {image.tobytes() for image in read.values()} == {noise(i).tobytes() for i in range(3)}
  assert sources.image_sizes(source).tolist() == [[12, 16]] * 3
  assert sources.image_names(source) == list(read)
  assert sources.image_digests(source) == [views.pixel_digest(x) for x in read.values()]


def test_a_data_set_of_others_that_cannot_be_prepared(tmp_path, monkeypatch):
  def fail(self):
    raise KeyError("anything")

  monkeypatch.setattr(ForeignSet, "_generate_examples", fail)
  with pytest.raises(sources.DataSetError, match="foreign_set: TFDS cannot prepare it here: KeyEr"):
    sources.load_source("foreign_set", "train", data_dir=tmp_path)


def test_data_set_with_several_images(tmp_path):
  with pytest.raises(ValueError, match="two_images: expected one feature with images, found"):
    sources.load_source("two_images", "train", data_dir=tmp_path)


def test_neither_tensorflow_nor_output(folder):
  """Preparing and reading work without TensorFlow, write nothing, and give no warning."""
  program = (
    "import sys\n"
    "import cae_jax.data.patches\n"
    "from cae_jax.data import sources\n"
    f"source = sources.load_source('photos', 'train', source_dir={os.fspath(folder)!r},"
    f" data_dir={os.fspath(folder.parent / 'prepared')!r})\n"
    "source[0], sources.image_sizes(source)\n"
    "assert 'tensorflow' not in sys.modules\n"
  )
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=REPOSITORY
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Views


class CountingSource:
  """Images of different sizes that count how often they are read."""

  def __init__(self, count=4):
    self.images = [noise(i, 10 + i, 20) for i in range(count)]
    self.reads = 0

  def __len__(self):
    return len(self.images)

  def __getitem__(self, index):
    self.reads += 1
    return {"image": self.images[index].copy(), "name": str(index)}


def test_cached_reads_once():
  source = CountingSource()
  cached = sources.cached(source, 10**6)
  for _ in range(3):
    for i in range(4):
      np.testing.assert_array_equal(cached[i]["image"], source.images[i])
  assert cached[-1]["name"] == "3"
  assert source.reads == 4
  assert len(cached) == 4
  with pytest.raises(IndexError):
    cached[4]


def test_cached_is_bounded():
  source = CountingSource()
  cached = sources.cached(source, source.images[0].nbytes + source.images[1].nbytes)
  for _ in range(3):
    for i in range(4):
      np.testing.assert_array_equal(cached[i]["image"], source.images[i])
  assert source.reads == 2 + 3 * 2
  with pytest.raises(ValueError, match="expected max_bytes of 0 or more, got -1"):
    sources.cached(source, -1)


def test_cached_images_cannot_be_written_to():
  with pytest.raises(ValueError, match="read-only"):
    sources.cached(CountingSource(), 10**6)[0]["image"][0] = 0


def test_cached_from_many_threads():
  source = CountingSource()
  cached = sources.cached(source, sum(image.nbytes for image in source.images))
  wrong = []

  def read():
    for i in [0, 1, 2, 3] * 50:
      if not np.array_equal(cached[i]["image"], source.images[i]):
        wrong.append(i)

  threads = [threading.Thread(target=read) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong
  reads = source.reads
  read()
  assert source.reads == reads  # all fitted, none was counted twice


def test_sizes_of_views():
  source = CountingSource()
  expected = [[10, 20], [11, 20], [12, 20], [13, 20]]
  assert sources.image_sizes(source).tolist() == expected
  assert sources.image_sizes(sources.cached(source, 10**6)).tolist() == expected
  assert sources.image_sizes(sources.rescaled(source, 8, 9)).tolist() == [[8, 9]] * 4


def test_pixels_and_not_files_are_told_apart(tmp_path):
  image = noise(0)
  seen = {views.pixel_digest(image)}
  for image_format in ("PNG", "BMP", "TIFF"):
    seen.add(views.pixel_digest(files.read_rgb(encode(image, image_format))))
  assert len(seen) == 1
  changed = image.copy()
  changed[3, 5, 1] ^= 1
  turned = np.ascontiguousarray(image.reshape(16, 12, 3))
  assert len({*seen, views.pixel_digest(changed), views.pixel_digest(turned)}) == 3


def test_views_tell_of_the_images_they_show():
  source = CountingSource()
  digests = [views.pixel_digest(image) for image in source.images]
  some = sources.chosen(source, [2, 0])
  assert [example["name"] for example in some] == sources.image_names(some) == ["2", "0"]
  assert sources.image_digests(some) == [digests[2], digests[0]]
  assert sources.image_sizes(some).tolist() == [[12, 20], [10, 20]]
  # of a rescaled image the original counts
  assert sources.image_digests(sources.rescaled(source, 8, 9)) == digests


def test_pairs_are_decoded_when_they_are_asked_for():
  source = CountingSource()
  pairs = sources.pairs(source)
  first = pairs[1:3]
  assert (len(pairs), len(first), source.reads) == (4, 2, 0)
  assert [name for name, _ in first] == ["1", "2"]
  assert pairs[-1][0] == "3"
  np.testing.assert_array_equal(dict(pairs)["2"], source.images[2])
  with pytest.raises(IndexError):
    pairs[4]


class OneImage:
  def __init__(self, image):
    self.image = image

  def __len__(self):
    return 1

  def __getitem__(self, index):
    return {"image": self.image, "name": "one"}


def test_rescaled_turns_a_portrait_and_does_not_resample_it():
  landscape = noise(0, 12, 18)
  for image in (landscape, np.rot90(landscape, -1)):
    rescaled = sources.rescaled(OneImage(image), 12, 18)[0]
    np.testing.assert_array_equal(rescaled["image"], landscape)
    assert rescaled["image"].flags.c_contiguous


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (5, 5), (12, 40)])
def test_rescaled_keeps_a_flat_image_flat(shape):
  flat = np.full((*shape, 3), (10, 200, 90), np.uint8)
  image = sources.rescaled(OneImage(flat), 12, 18)[0]["image"]
  np.testing.assert_array_equal(image, np.broadcast_to(flat[0, 0], (12, 18, 3)))


def test_rescaled_to_nothing():
  with pytest.raises(ValueError, match="expected a positive size, got 0 x 5"):
    sources.rescaled(CountingSource(), 0, 5)
