"""The scripts of `cae completion`, as shells run them."""

import shutil
import subprocess
import sys

import pytest

from tests.command_line import one_error, run

pytest.importorskip("shtab")


def _completed(tmp_path, *words):
  """What bash offers for the last of some words."""
  line = " ".join(f"'{word}'" for word in words)
  script = f"""
    source "$1"
    COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
    compopt() {{ :; }}
    _shtab_cae
    printf '%s\\n' "${{COMPREPLY[@]}}"
  """
  done = subprocess.run(
    ["bash", "-c", script, "bash", tmp_path / "cae.bash"],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    timeout=30,
  )
  assert done.stderr == ""
  return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash(tmp_path, capsys):
  assert run("completion", "bash") == 0
  (tmp_path / "cae.bash").write_text(capsys.readouterr().out)
  (tmp_path / "photo.png").touch()
  (tmp_path / "photos").mkdir()
  assert _completed(tmp_path, "cae", "comp") == ["compress", "compare", "completion"]
  assert _completed(tmp_path, "cae", "compress", "--skip") == ["--skip_existing"]
  assert _completed(tmp_path, "cae", "compress", "ph") == ["photo.png", "photos"]
  assert _completed(tmp_path, "cae", "compress", "--output_dir", "ph") == ["photos"]
  assert "--max_pixels" in _completed(tmp_path, "cae", "decompress", "--m")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell, capsys):
  assert run("completion", shell) == 0
  script = capsys.readouterr().out
  for word in ("compress", "near_lossless", "compare"):
    assert word in script


def test_without_shtab_the_extra_is_named(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "shtab", None)
  assert run("completion", "bash") == 2
  assert 'pip install "cae_jax[completion]"' in one_error(capsys)
