import json

import numpy as np
import pytest

from cae_jax.evaluation.figures import drawing, runs
from experiments import cli, compare_runs

LINES = [
  {"step": 10, "split": "train", "loss": 3.0, "steps_per_s": 2.0},
  {"step": 20, "split": "train", "loss": 2.0, "steps_per_s": 5.0},
  {"step": 20, "split": "valid", "loss": 2.5, "rate_bpp": 0.5, "psnr_db@-0.3": -1.0},
]


def _run(folder, lines=LINES):
  folder.mkdir(parents=True)
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return folder / "metrics.jsonl"


def test_seconds_are_those_of_the_steps():
  train, valid = (runs.run_curve(LINES, split) for split in ("train", "valid"))
  np.testing.assert_allclose(train.seconds, [5.0, 7.0])
  np.testing.assert_array_equal(train.values, [3.0, 2.0])
  np.testing.assert_allclose((valid.steps[0], valid.seconds[0], valid.values[0]), (20, 7.0, 2.5))


def test_a_line_whose_steps_were_not_timed_went_as_fast_as_the_next():
  lines = [{k: v for k, v in LINES[0].items() if k != "steps_per_s"}, *LINES[1:]]
  np.testing.assert_allclose(runs.run_curve(lines, "train").seconds, [2.0, 4.0])
  assert np.isnan(runs.run_curve(lines[:1], "train").seconds).all()


def test_runs_are_drawn(tmp_path):
  figure = runs.compare({name: _run(tmp_path / name) for name in ("a", "b")})
  assert figure.axes[0].get_ylabel() == "validation loss"
  drawing.save(figure, tmp_path / "c.png")
  assert (tmp_path / "c.png").stat().st_size > 5000


def test_every_run_has_a_line_of_its_own(tmp_path):
  folders = [tmp_path / f"r{i}" / "context" for i in range(9)] + [tmp_path / "eye"]
  for folder in folders:
    _run(folder)
  named = compare_runs._named(folders)
  assert list(named) == [*map(str, folders[:9]), "eye"]
  axes, _ = runs.compare({name: path / "metrics.jsonl" for name, path in named.items()}).axes
  assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 10


def test_a_run_without_validation(tmp_path):
  path = _run(tmp_path / "a", LINES[:2])
  with pytest.raises(ValueError, match="has no validation yet"):
    runs.compare({"a": path})


@pytest.mark.parametrize(
  ("figure", "value", "axis"),
  [
    ("rate_bpp", 0.5, "validation rate_bpp (bits per pixel)"),
    ("psnr_db@-0.3", -1.0, "validation psnr_db@-0.3 (dB)"),
  ],
)
def test_any_figure_of_the_validation_is_drawn_with_its_unit(tmp_path, figure, value, axis):
  _run(tmp_path / "a")
  flags = [f"--runs={tmp_path / 'a'}", f"--output={tmp_path / 'c.png'}", f"--figure={figure}"]
  assert cli.run(compare_runs.main, compare_runs.define_flags, flags) == 0
  assert (tmp_path / "c.png").stat().st_size > 5000
  axes, _ = runs.compare({"a": tmp_path / "a" / "metrics.jsonl"}, figure).axes
  assert (list(axes.lines[0].get_ydata()), axes.get_ylabel()) == ([value], axis)
  assert axes.get_yscale() == "linear"


@pytest.mark.parametrize("figure", ["bpsp", "split", "steps_per_s"])
def test_a_figure_that_a_run_lacks(tmp_path, figure):
  path = _run(tmp_path / "a")
  words = rf"no validation figure '{figure}'; choose one of loss, psnr_db@-0\.3, rate_bpp"
  with pytest.raises(ValueError, match=words):
    runs.compare({"a": path}, figure)
