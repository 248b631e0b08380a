"""A run of the lossless model, from the command line to files that come back."""

import json
import shutil

import numpy as np
import pytest

from cae_jax import codec
from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.errors import UsageError
from cae_jax.images.files import read_rgb
from cae_jax.metrics_file import read_metrics
from cae_jax.models import build_model
from cae_jax.weights import load_weights
from experiments import train, train_parts
from experiments.program_flags import parse

OWN = (
  "--model=lossless",
  "--name=tiny",
  "--trunk_widths=8,6",
  "--head_width=4",
  "--shrink_min=1",
  "--shrink_max=1",
)


def _figures(workdir):
  """All that was logged, but for speed."""
  lines = read_metrics(workdir / "metrics.jsonl")
  return [{k: v for k, v in line.items() if k != "steps_per_s"} for line in lines]


@pytest.fixture(scope="module")
def finished(tiny_training, tmp_path_factory):
  """The workdir of an uncut run of four steps."""
  workdir = tmp_path_factory.mktemp("finished")
  assert tiny_training.run_here(workdir, *OWN, "--steps=4") == 0
  return workdir


def test_a_run_leaves_what_it_promises(tiny_training, finished):
  for name in ("flags.txt", "checkpoints", "curves.png", "table.md", "records.jsonl", "blocks"):
    assert (finished / name).exists(), name
  assert list(finished.glob("events.out.tfevents.*"))
  lines = _figures(finished)
  assert [(line["step"], line["split"]) for line in lines] == [
    *((step, "train") for step in range(1, 5)), (4, "valid"),
  ]  # fmt: skip
  assert all(line["bpsp"] == line["loss"] > 0 for line in lines)
  weights = load_weights(finished / "weights.safetensors")
  assert weights.config == {
    "model": "lossless",
    "trunk_widths": [8, 6],
    "head_width": 4,
    "biases": False,
  }
  assert weights.card["step"] == 4
  seen = TrainedOn.from_card(weights.card)
  image = read_rgb(tiny_training.source_dir / "a.png")
  assert seen.has("a", pixel_digest(image))
  [group] = json.loads((finished / "result.json").read_text())["test"]["tiny"]
  [record] = [json.loads(line) for line in (finished / "records.jsonl").read_text().splitlines()]
  assert (record["setting"], record["max_error"], record["psnr_db"]) == (0, 0, None)
  assert group["mean_bpsp"] == pytest.approx(8 * record["size_bytes"] / (3 * 48 * 64))
  assert f"{group['mean_bpsp']:.4f}" in (finished / "table.md").read_text()


def test_its_weights_give_every_bit_back(tiny_training, finished):
  ours = codec.load(finished / "weights.safetensors")
  image = read_rgb(tiny_training.source_dir / "test.png")
  for x in (image, image[..., 0], image[:5, :3]):
    np.testing.assert_array_equal(ours.decompress(ours.compress(x)), x)


def test_a_cut_run_ends_with_the_weights_of_the_uncut(tiny_training, finished, tmp_path, capsys):
  assert tiny_training.run_here(tmp_path, *OWN, "--steps=4", "--max_minutes=0") == 0
  assert "stopped at step 1" in capsys.readouterr().out
  times = lambda: [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("blocks/*/*"))]
  prepared = times()
  assert prepared
  assert tiny_training.run_here(tmp_path, *OWN, "--steps=4", "--test_split=") == 0
  assert times() == prepared
  assert _figures(tmp_path) == _figures(finished)
  ours, theirs = (load_weights(folder / "weights.safetensors") for folder in (tmp_path, finished))
  assert ours.hash() == theirs.hash()


def test_export_only_and_going_on_from_weights(tiny_training, finished, tmp_path, capsys):
  workdir = shutil.copytree(finished, tmp_path / "run")
  kept = load_weights(workdir / "weights.safetensors")
  (workdir / "weights.safetensors").unlink()
  assert tiny_training.run_here(workdir, *OWN, "--steps=4", "--export_only", "--test_split=") == 0
  assert load_weights(workdir / "weights.safetensors").hash() == kept.hash()
  capsys.readouterr()
  start = (f"--start_weights={workdir / 'weights.safetensors'}", "--steps=4", "--max_minutes=0")
  tuned, data = tmp_path / "tuned", tmp_path / "data"
  assert tiny_training.run_here(tuned, *OWN, *start, f"--data_dir={data}", "--test_split=") == 0
  before, *steps = _figures(tuned)
  assert (before["step"], before["split"]) == (0, "valid")
  assert before["loss"] == pytest.approx(_figures(finished)[-1]["loss"])
  assert steps[0]["loss"] < _figures(finished)[0]["loss"]
  assert list((data / "blocks").iterdir())
  assert not (tuned / "blocks").exists()
  capsys.readouterr()
  assert tiny_training.run_here(tmp_path / "other", *OWN, *start, "--head_width=5") == 2
  assert "another network (head_width 4 instead of 5)" in capsys.readouterr().err


def test_what_trains_on_patches_refuses_it():
  args = parse(train.define_flags, ["--model=lossless"])
  with pytest.raises(UsageError, match="--model=lossless makes no images; train it with"):
    train_parts.objectives(args, build_model({"model": "lossless"}))


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--batch_size=1",), "--batch_size=1: a batch has blocks of the finest level and of coarser"),
    (("--patch_size=17",), "--patch_size=17: this network takes multiples of 2"),
    (("--shrink_min=3",), "--shrink_min=3 --shrink_max=1: expected the smaller factor first"),
    (("--trunk_widths=0",), "trunk_widths"),
    (("--grey_share=2",), "grey_share"),
  ],
)
def test_bad_input_is_one_line_and_status_2(tiny_training, tmp_path, capsys, flags, message):
  assert tiny_training.run_here(tmp_path, *OWN, *flags) == 2
  [error] = capsys.readouterr().err.splitlines()
  assert message in error
