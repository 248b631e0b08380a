"""Which checkpoints stay, which is the best, and what becomes of damaged ones."""

import contextlib
import dataclasses
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cae_jax.training.checkpoints import CheckpointError, Checkpoints
from cae_jax.training.state import create_state

NAN = math.nan
LOSSES = (1.0, 0.5, 0.7, 0.8)  # of steps 1 to 4


def state(step=0):
  fresh = create_state({"w": jnp.full((20, 30), float(step))}, optax.adam(1.0))
  return dataclasses.replace(fresh, step=jnp.asarray(step, jnp.int32))


def save(folder, losses):
  with Checkpoints(folder) as checkpoints:
    for step, loss in enumerate(losses, 1):
      checkpoints.save(state(step), {"next": step}, loss)


def kept(folder):
  return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
  ("losses", "best", "steps"),
  [
    (LOSSES, 2, {2, 3, 4}),
    ((1.0, NAN, NAN, NAN), 1, {1, 3, 4}),
    ((1.0, 0.5, NAN, 0.7), 2, {2, 3, 4}),
    ((1.0, 0.5, math.inf, -math.inf), 2, {2, 3, 4}),
    ((NAN, NAN, 3.0, NAN), 3, {3, 4}),
    ((1.0, None, None, None), 1, {1, 3, 4}),
    ((None, NAN, NAN, NAN), 1, {1, 3, 4}),
    ((NAN, None, None, NAN), 3, {3, 4}),
    ((0.5, 0.5), 2, {1, 2}),
  ],
)
def test_nan_is_worst_and_the_best_stays(tmp_path, losses, best, steps):
  save(tmp_path, losses)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.best_step == best
    assert checkpoints.last_step == len(losses)
    restored, data_state = checkpoints.restore_best(state())
  assert int(restored.step) == best
  assert data_state == {"next": best}
  assert kept(tmp_path) == {str(step) for step in steps}


def test_no_best_where_no_validation_was_finite(tmp_path):
  save(tmp_path, (NAN, math.inf, NAN))
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.best_step is None
    assert int(checkpoints.restore(state())[0].step) == 3
    with pytest.raises(CheckpointError, match="no validation loss of this run was finite"):
      checkpoints.restore_best(state())


def test_no_checkpoint_is_an_error(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for restore in (checkpoints.restore, checkpoints.restore_best):
      with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        restore(state())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp("checkpoints")
  save(folder, LOSSES)
  return folder


def test_whichever_file_is_damaged_another_checkpoint_is_read(whole, tmp_path, capsys):
  """Or the same, where the file does not matter; and the run can go on saving."""
  outcomes = set()
  files = [file for file in whole.glob("4/**/*") if file.is_file()]
  for index, file in enumerate(files):
    folder = shutil.copytree(whole, tmp_path / str(index))
    (folder / file.relative_to(whole)).write_bytes(b"")
    with Checkpoints(folder) as checkpoints:
      restored, data_state = checkpoints.restore(state())
      assert data_state == {"next": int(restored.step)}
      np.testing.assert_array_equal(restored.params["w"], float(restored.step))
      said = capsys.readouterr().out
      if int(restored.step) != 4:
        assert kept(folder) == {"2", "3", "4.damaged"}
        assert f"{folder}/4 cannot be read" in said
        checkpoints.save(state(4), {}, 0.1)
    outcomes.add(int(restored.step))
  assert outcomes == {4, 3}


def test_where_the_best_is_damaged_the_next_best_is_read(whole, tmp_path):
  folder = shutil.copytree(whole, tmp_path / "run")
  for path in (folder / "2" / "state" / "d").iterdir():
    path.unlink()
  with Checkpoints(folder) as checkpoints:
    assert int(checkpoints.restore_best(state())[0].step) == 3
  assert kept(folder) == {"2.damaged", "3", "4"}


def test_a_loss_that_cannot_be_read_counts_as_not_validated(whole, tmp_path, capsys):
  folder = shutil.copytree(whole, tmp_path / "run")
  shutil.rmtree(folder / "2" / "metrics")
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.best_step == 3
  assert "the checkpoint counts as not validated" in capsys.readouterr().out


def test_a_deletion_that_was_cut_short_leaves_no_half_of_a_checkpoint(
  tmp_path, monkeypatch, capsys
):
  with monkeypatch.context() as killed:
    killed.setattr(shutil, "rmtree", lambda *_, **__: None)
    save(tmp_path, LOSSES)
  assert kept(tmp_path) == {"2", "3", "4", "deleted"}
  assert kept(tmp_path / "deleted") == {"1"}
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.last_step == 4
  assert kept(tmp_path) == {"2", "3", "4"}
  assert capsys.readouterr().out == ""


@contextlib.contextmanager
def small_files(size_bytes):
  """Lets nothing write larger files, as if the disk were full."""
  resource = pytest.importorskip("resource")
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size_bytes", [0, 100, 1000])
def test_a_checkpoint_that_cannot_be_written_is_an_error(whole, tmp_path, size_bytes):
  """Whichever file it is; those before are left."""
  folder = shutil.copytree(whole, tmp_path / "run")
  checkpoints = Checkpoints(folder)
  message = (
    rf"{folder}: a checkpoint cannot be written \(.*\); once it can, the same command goes on"
  )
  with pytest.raises(CheckpointError, match=message), small_files(size_bytes), checkpoints:
    checkpoints.save(state(5), {"next": 5}, 0.1)
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.last_step == 4
    assert int(checkpoints.restore(state())[0].step) == 4


def test_where_none_can_be_read_all_are_left(whole, tmp_path):
  folder = shutil.copytree(whole, tmp_path / "run")
  for step in (2, 3, 4):
    (folder / str(step) / "state" / "_METADATA").write_bytes(b"")
  with (
    Checkpoints(folder) as checkpoints,
    pytest.raises(CheckpointError, match=rf"no checkpoint can be read: {folder}/4: Expecting.*/3:"),
  ):
    checkpoints.restore(state())
  assert kept(folder) == {"2", "3", "4"}


def test_another_model_is_no_damage(whole, tmp_path):
  folder = shutil.copytree(whole, tmp_path / "run")
  other = create_state({"w": jnp.zeros((20, 31))}, optax.adam(1.0))
  with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError, match="no checkpoint"):
    checkpoints.restore(other)
  assert kept(folder) == {"2", "3", "4"}


def test_restored_is_what_was_saved(whole):
  with Checkpoints(whole) as checkpoints:
    restored, _ = checkpoints.restore(state())
  jax.tree.map(np.testing.assert_array_equal, restored, state(4))
