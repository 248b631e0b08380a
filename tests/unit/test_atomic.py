"""Files are replaced whole, where they are, as they were, and only if that is allowed."""

import errno
import os
import stat
import threading
from unittest import mock

import pytest

from cae_jax import atomic
from cae_jax.atomic import replace_atomically


def write(path, text, **kwargs):
  with replace_atomically(path, **kwargs) as temporary:
    temporary.write_text(text)


def mode_of(path):
  return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def umask():
  before = os.umask(0o027)
  yield
  os.umask(before)


def test_the_old_file_stays_on_failure(tmp_path):
  path = tmp_path / "file.txt"
  path.write_text("old")

  def fail():
    with replace_atomically(path) as temporary:
      temporary.write_text("half of the n")
      assert temporary.suffix == ".txt"
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fail()
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["file.txt"]


def test_the_new_file_appears_at_the_end(tmp_path):
  path = tmp_path / ("n" * 240 + ".txt")
  path.write_text("old")
  with replace_atomically(path) as temporary:
    temporary.write_text("new")
    assert path.read_text() == "old"
  assert path.read_text() == "new"
  assert os.listdir(tmp_path) == [path.name]


def test_the_name_may_be_relative(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write("file", "new")
  assert (tmp_path / "file").read_text() == "new"


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    write(tmp_path / "absent" / "file.txt", "new")
  assert caught.value.filename == str(tmp_path / "absent")


def test_a_folder_is_not_replaced(tmp_path):
  with pytest.raises(IsADirectoryError):
    write(tmp_path, "new")


@pytest.mark.parametrize("exists", [True, False])
def test_errors_of_the_system_name_the_file_and_not_the_temporary_one(tmp_path, exists):
  path = tmp_path / "file.txt"
  if exists:
    path.write_text("old")

  def fail(*more):
    with replace_atomically(path) as temporary:
      raise OSError(errno.ENOSPC, "No space left on device", *[get(temporary) for get in more])

  for more in ([], [str], [lambda path: os.fsencode(path)], [str, lambda _: None, str]):
    with pytest.raises(OSError, match="No space") as caught:
      fail(*more)
    assert (caught.value.filename, caught.value.filename2) == (str(path), None)
  with pytest.raises(OSError, match="No space") as caught:
    fail(lambda _: "another file")
  assert caught.value.filename == "another file"
  assert os.listdir(tmp_path) == ["file.txt"] * exists


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_device_is_named():
  with pytest.raises(OSError, match="No space left") as caught:
    write("/dev/full", "new" * 100_000)
  assert caught.value.filename == "/dev/full"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told_before_the_block(tmp_path):
  tmp_path.chmod(0o555)
  path = tmp_path / "file"
  with pytest.raises(PermissionError) as caught:
    atomic.check_allowed(path)
  assert caught.value.filename == str(path)
  with pytest.raises(PermissionError) as caught, replace_atomically(path):
    pytest.fail("the block must not run")
  assert caught.value.filename == str(path)


def test_where_files_may_be_written(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(atomic.os, "access", lambda folder, mode: asked.append(folder) or False)
  (tmp_path / "folder").mkdir()
  (tmp_path / "link").symlink_to(os.path.join("folder", "file"))
  with pytest.raises(PermissionError, match="denied") as caught:
    atomic.check_allowed(tmp_path / "link")
  assert caught.value.filename == str(tmp_path / "link")
  assert asked == [tmp_path / "folder"]
  atomic.check_allowed(os.devnull)  # nothing is created beside it


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_the_mode_of_a_file_is_kept(tmp_path, umask, mode):
  path = tmp_path / "file"
  path.write_text("old")
  path.chmod(mode)
  with replace_atomically(path) as temporary:
    assert mode_of(temporary) & ~mode in (0, stat.S_IWUSR)  # never open to more readers
    temporary.write_text("new")
  assert (path.read_text(), mode_of(path)) == ("new", mode)


def test_a_new_file_has_the_users_default_mode(tmp_path, umask):
  write(tmp_path / "file", "new")
  assert mode_of(tmp_path / "file") == 0o640


@pytest.mark.parametrize("exists", [True, False], ids=["target", "no target"])
def test_links_are_written_through(tmp_path, exists):
  store, names = tmp_path / "store", tmp_path / "names"
  store.mkdir()
  names.mkdir()
  real = store / "real.txt"
  if exists:
    real.write_text("old")
  (names / "second").symlink_to(os.path.join("..", "store", "real.txt"))
  (names / "first").symlink_to("second")
  write(names / "first", "new", overwrite=exists)
  assert real.read_text() == "new"
  assert (names / "first").is_symlink()
  assert (names / "second").is_symlink()
  assert os.listdir(store) == ["real.txt"]


def test_a_circle_of_links_is_the_systems_error(tmp_path):
  (tmp_path / "a").symlink_to("b")
  (tmp_path / "b").symlink_to("a")
  with pytest.raises(OSError, match="symbolic links") as caught:
    write(tmp_path / "a", "new")
  assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_pipe_gets_the_bytes_and_stays(tmp_path, overwrite):
  pipe = tmp_path / "pipe.png"
  os.mkfifo(pipe)
  received = []
  reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
  reader.start()
  write(pipe, "new" * 100_000, overwrite=overwrite)
  reader.join(timeout=20)
  assert received == ["new" * 100_000]
  assert stat.S_ISFIFO(os.lstat(pipe).st_mode)
  assert os.listdir(tmp_path) == ["pipe.png"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="there is no /proc")
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_open_files_are_written_into(tmp_path, kind):
  """As /dev/stdout is, which links to /proc/self/fd/1."""
  path = tmp_path / "file"
  read, end = os.pipe() if kind == "pipe" else (None, os.open(path, os.O_CREAT | os.O_WRONLY))
  link = tmp_path / "stdout"
  link.symlink_to(f"/proc/self/fd/{end}")
  inode = None if kind == "pipe" else path.stat().st_ino
  write(link, "new")
  os.close(end)
  if kind == "pipe":
    with os.fdopen(read) as stream:
      assert stream.read() == "new"
  else:
    assert (path.read_text(), path.stat().st_ino) == ("new", inode)
  assert link.is_symlink()


def test_what_is_there_is_not_overwritten_unless_allowed(tmp_path):
  path = tmp_path / "file"
  path.write_text("old")
  with pytest.raises(FileExistsError) as caught, replace_atomically(path, overwrite=False):
    pytest.fail("the block must not run")
  assert caught.value.filename == str(path)
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["file"]


def test_a_name_that_was_taken_is_given_back(tmp_path, monkeypatch):
  monkeypatch.setattr(atomic.os, "link", mock.Mock(side_effect=PermissionError(errno.EPERM, "")))
  monkeypatch.setattr(atomic.os, "replace", mock.Mock(side_effect=OSError(errno.EIO, "broken")))
  with pytest.raises(OSError, match="broken"), replace_atomically(tmp_path / "a", overwrite=False):
    pass
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_one_of_several_writers_succeeds(tmp_path, monkeypatch, links):
  if not links:

    def no_links(*_):
      raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(atomic.os, "link", no_links)
  path, outcomes, together = tmp_path / "file", [], threading.Barrier(8)

  def create(index):
    try:
      with replace_atomically(path, overwrite=False) as temporary:
        temporary.write_text(str(index))
        together.wait(timeout=20)
    except FileExistsError as error:
      outcomes.append(error.filename)
    else:
      outcomes.append(index)

  writers = [threading.Thread(target=create, args=(index,)) for index in range(8)]
  for writer in writers:
    writer.start()
  for writer in writers:
    writer.join()
  winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
  assert len(winners) == 1
  assert path.read_text() == str(winners[0])
  assert sorted(map(str, outcomes)) == sorted([str(winners[0])] + [str(path)] * 7)
  assert os.listdir(tmp_path) == ["file"]
