import os
from pathlib import Path

import pytest

from cae_jax.errors import UsageError
from cae_jax.paths import make_folder, read_file, shown, user_path


@pytest.fixture(autouse=True)
def _home(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
  ("text", "path"),
  [
    ("~", "/home/me"),
    ("~/runs/a", "/home/me/runs/a"),
    ("~root/x", os.path.expanduser("~root/x")),
    ("a/~/b", "a/~/b"),
    ("./~", "~"),
    ("~$nobody.png", "~$nobody.png"),
    ("c:/x", "c:/x"),
    ("a/b://c", "a/b:/c"),
    ("gs:x", "gs:x"),
    (Path("~/a"), "/home/me/a"),
  ],
)
def test_home_is_expanded_as_shells_do(text, path):
  assert user_path(text) == Path(path)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("gs://bucket/run", r"^gs://bucket/run: expected a path, not a URL; fetch the files first"),
    ("https://a.b/c.png", "not a URL"),
    ("file:///tmp/a.png", "not a URL"),
    ("", "expected a path, got an empty one"),
    ("a\0b", r"^a\\x00b: a path cannot hold a NUL byte"),
  ],
)
def test_what_is_no_path_is_refused(text, message):
  with pytest.raises(UsageError, match=message):
    user_path(text)


@pytest.mark.parametrize(
  ("name", "text"),
  [
    (b"plain.png", "plain.png"),
    ("café 図.png".encode(), "café 図.png"),
    (b"caf\xe9.png", r"caf\xe9.png"),
    (b"a\nb\x1b[31m\t.png", r"a\nb\x1b[31m\t.png"),
    ("a\u2028b\u202ec".encode(), r"a\u2028b\u202ec"),
  ],
)
def test_any_name_is_shown_as_one_printable_line(name, text):
  assert shown(os.fsdecode(name)) == text
  assert shown(Path(os.fsdecode(name))) == text


def test_a_folder_is_no_file(tmp_path):
  (tmp_path / "a").write_bytes(b"words")
  assert read_file(tmp_path / "a") == b"words"
  with pytest.raises(UsageError, match=rf"^{tmp_path} is a folder; .* as in {tmp_path}/\*$"):
    read_file(tmp_path)
  with pytest.raises(FileNotFoundError):
    read_file(tmp_path / "b")


def test_folders_are_made_where_no_file_is(tmp_path):
  for _ in range(2):
    make_folder(tmp_path / "a" / "b")
  (tmp_path / "c").write_bytes(b"words")
  (tmp_path / "link").symlink_to("nowhere")
  for name in ("c", "link"):
    for folder in (tmp_path / name, tmp_path / name / "d" / "e"):
      with pytest.raises(UsageError, match=rf"^{tmp_path}/{name} is there and is no folder"):
        make_folder(folder)
