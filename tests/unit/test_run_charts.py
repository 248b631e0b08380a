import json

import numpy as np
import pytest

from cae_jax.evaluation.figures import drawing, runs
from experiments import compare_runs

LINES = [
  {"step": 10, "split": "train", "loss": 3.0, "steps_per_s": 2.0},
  {"step": 20, "split": "train", "loss": 2.0, "steps_per_s": 5.0},
  {"step": 20, "split": "valid", "loss": 2.5},
]


def test_seconds_are_those_of_the_steps():
  train, valid = (runs.loss_curve(LINES, split) for split in ("train", "valid"))
  np.testing.assert_allclose(train.seconds, [5.0, 7.0])
  np.testing.assert_array_equal(train.losses, [3.0, 2.0])
  np.testing.assert_allclose((valid.steps[0], valid.seconds[0], valid.losses[0]), (20, 7.0, 2.5))


def test_runs_are_drawn(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in LINES))
  figure = runs.compare({"a": tmp_path / "a", "b": tmp_path / "b"})
  drawing.save(figure, tmp_path / "c.png")
  assert (tmp_path / "c.png").stat().st_size > 5000


def test_every_run_has_a_line_of_its_own(tmp_path):
  folders = [tmp_path / f"r{i}" / "context" for i in range(9)] + [tmp_path / "eye"]
  for folder in folders:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
  named = compare_runs._named(folders)
  assert list(named) == [*map(str, folders[:9]), "eye"]
  axes, _ = runs.compare({name: path / "metrics.jsonl" for name, path in named.items()}).axes
  assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 10


def test_a_run_without_validation(tmp_path):
  (tmp_path / "a").write_text("".join(json.dumps(line) + "\n" for line in LINES[:2]))
  with pytest.raises(ValueError, match="has no validation yet"):
    runs.compare({"a": tmp_path / "a"})
