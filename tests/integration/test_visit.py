"""The journey to an accelerator and back, in this process: packed, trained, brought back, used."""

import json

import numpy as np
import pytest

from cae_jax import codec
from cae_jax.data.folder import FolderSource
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.images.files import read_rgb, write_image
from cae_jax.metrics_file import read_metrics
from cae_jax.models.context import ContextModel
from cae_jax.training.span import Steps
from experiments import pack, train_parts, visit
from experiments.program_flags import parse
from tests.golden import FOLDER
from tests.models import hasty_pass, photo

_MODEL = (
  "--model=factorized", "--name=tiny", "--lmbda=0.05", "--channels=4,6,8", "--bottleneck=6",
  "--dataset=photos", "--test_split=", "--valid_split=valid", "--valid_patch_size=32",
  "--patch_size=16", "--batch_sizes=2", "--min_scale=0.5", "--optimizer=adam",
  "--learning_rate=0.01", "--schedule=trapezoidal", "--log_every=2", "--validations=2",
  "--minutes=60", "--compile_seconds=1000", "--export_dtype=float16", "--block_transform=random",
)  # fmt: skip


def _pack(tmp_path, source_dir, *flags):
  tree = tmp_path / "tree"
  (tree / ".git").exists() or _git_tree(tree)
  output = tmp_path / "parcel"
  arguments = [f"--source_dir={source_dir}", f"--tree={tree}", f"--output={output}", "--wheels="]
  pack.main(parse(pack.define_flags, [*arguments, "--valid_patch_size=32", *flags]))
  return output


def _git_tree(tree):
  """A working tree of 100 kB and some that git ignores."""
  import subprocess

  tree.mkdir()
  subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
  (tree / ".gitignore").write_text("/ignored\n")
  (tree / "kept").write_bytes(bytes(100_000))
  (tree / "ignored").write_bytes(bytes(10**6))


def _visit(tmp_path, parcel, number, *flags):
  output = tmp_path / f"out{number}"
  own = [f"--source_dir={parcel / 'photos'}", f"--output={output}"]
  own += [f"--workdir={tmp_path / f'run{number}'}", *flags]
  visit.main(parse(visit.define_flags, [*_MODEL, *own]))
  return output


def _carried(parcel):
  return f"--carry_from={parcel / 'state'}", f"--cache_from={parcel / 'cache.tar'}"


def test_the_journey(tiny_training, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(visit, "Minutes", lambda minutes: Steps(8))
  parcel = _pack(tmp_path, tiny_training.source_dir)
  assert "3 of 3 photographs" in capsys.readouterr().out
  growing = "--batch_sizes=2,4", "--grow_to=32", "--grow_at=0.9"
  first = _visit(tmp_path, parcel, 1, *growing, "--notrace")
  assert {path.name for path in first.iterdir()} == {
    "cache.tar.1-of-1", "metrics.jsonl", "undecayed", "visit.json", "weights.safetensors.1-of-1",
  }  # fmt: skip
  report = json.loads((first / "visit.json").read_text())
  assert report["photographs"] == 3
  assert {row["batch_size"] for row in report["measured"]} == {2, 4}
  assert report["chosen"] in report["measured"]
  assert all(value > 0 for value in report["matrix_flops_per_s"].values())
  assert report["steps"] == 8
  expected = {"photographs", "parameters", "compilation", "measurement", "training", "export"}
  assert report["phases"].keys() >= expected
  lines = read_metrics(first / "metrics.jsonl")
  assert lines[-1]["split"] == "valid"
  assert lines[-1]["step"] == 8

  # The next visit goes on from before the decay.
  monkeypatch.setattr(visit.speed, "matrix_flops_per_s", lambda dtype, side: 1e9)
  parcel = _pack(tmp_path, tiny_training.source_dir, f"--visit={first}", "--programs")
  second = _visit(tmp_path, parcel, 2, *_carried(parcel))
  assert read_metrics(second / "metrics.jsonl")[0]["step"] == 8  # 6 before, and two
  assert (second / "trace.tar.gz").exists()

  joined = tmp_path / "weights.safetensors"
  joined.write_bytes((second / "weights.safetensors.1-of-1").read_bytes())
  ours = codec.load(joined)
  assert not ours.weights.card["flags"].keys() & {"workdir", "source_dir", "output", "cache_from"}
  seen = TrainedOn.from_card(ours.weights.card)
  assert seen == TrainedOn.of(FolderSource(parcel / "photos", "train").digests())
  image = read_rgb(tiny_training.source_dir / "test.png")
  assert ours.decompress(ours.compress(image)).shape == image.shape


def test_a_visit_trains_a_look(tmp_path, monkeypatch):
  """Both players, from photographs on the device to a look that weights can be shown with."""
  monkeypatch.setattr(visit, "Minutes", lambda minutes: Steps(4))
  monkeypatch.setattr(visit.speed, "matrix_flops_per_s", lambda dtype, side: 1e9)
  monkeypatch.setattr(ContextModel, "rounded", hasty_pass)
  photos = tmp_path / "photos"
  photos.mkdir()
  for seed, name in enumerate(("a", "b", "valid")):
    write_image(photos / f"{name}.png", photo(80, 96, seed))
  parcel = _pack(tmp_path, photos)
  weights = FOLDER / "context.safetensors"
  output = _visit(
    tmp_path, parcel, 1, "--task=look", f"--start_weights={weights}", "--notrace",
    "--discriminator_channels=4,6,8", "--patch_size=64", "--valid_patch_size=64",
    "--min_scale=1", "--name=tiny-look",
  )  # fmt: skip
  report = json.loads((output / "visit.json").read_text())
  assert report["steps"] == 4
  assert report["step_macs_per_pixel"] > 0
  assert {"discriminator_loss", "psnr_loss_db"} <= read_metrics(output / "metrics.jsonl")[-1].keys()
  for name in ("weights.safetensors", "weights.look.safetensors"):
    (tmp_path / name).write_bytes((output / f"{name}.1-of-1").read_bytes())
  ours, image = codec.load(tmp_path / "weights.safetensors"), photo(80, 96, 3)
  data = ours.compress(image, quality=20)
  assert (ours.decompress(data, look=1) != ours.decompress(data)).any()


def test_a_parcel_and_the_tree_keep_within_the_limit(tmp_path):
  rng = np.random.default_rng(0)
  photos = tmp_path / "photos"
  photos.mkdir()
  for number in range(60):
    write_image(photos / f"{number}.png", rng.integers(0, 256, (100, 100, 3), dtype=np.uint8))
  write_image(photos / "valid.png", rng.integers(0, 256, (100, 100, 3), dtype=np.uint8))
  parcel = _pack(tmp_path, photos, "--limit_mib=1")
  size = sum(path.stat().st_size for path in parcel.rglob("*") if path.is_file())
  assert 0.9 < (size + 100_000) / (1 << 20) <= 1
  assert 0 < len(FolderSource(parcel / "photos", "train")) < 60
  first = len(FolderSource(parcel / "photos", "train"))
  _pack(tmp_path, photos, "--limit_mib=1", "--parcels=2")
  second = FolderSource(tmp_path / "parcel-2" / "photos", "train")
  assert len(FolderSource(parcel / "photos", "train")) == first
  assert first < len(second) <= 60 - first  # no centres to validate on take room there
  assert not set(second.digests()) & set(FolderSource(parcel / "photos", "train").digests())
  (tmp_path / "tree" / "more").write_bytes(bytes(1 << 20))
  with pytest.raises(UsageError, match=r"nothing is left .* a working tree of 1\.1 MiB"):
    _pack(tmp_path, photos, "--limit_mib=1")


def test_photographs_can_be_named(tiny_training, tmp_path, capsys):
  members = tmp_path / "members.txt"
  members.write_text("b.png\n")
  _pack(tmp_path, tiny_training.source_dir, "--only=a.png", f"--members={members}")
  assert "2 of 2 photographs" in capsys.readouterr().out
  members.write_text("shard.tar/x.png\n")
  with pytest.raises(UsageError, match=r"--members: shard\.tar/x\.png is not in"):
    _pack(tmp_path, tiny_training.source_dir, f"--members={members}")


def test_a_parcel_takes_the_place_of_a_parcel_only(tiny_training, tmp_path):
  mine = tmp_path / "parcel"
  mine.mkdir()
  (mine / "novel.txt").write_text("words")
  with pytest.raises(UsageError, match="parcel holds other things than a parcel"):
    _pack(tmp_path, tiny_training.source_dir)
  (mine / "novel.txt").rename(tmp_path / "novel.txt")
  _pack(tmp_path, tiny_training.source_dir)
  with pytest.raises(UsageError, match="parcel holds --source_dir="):
    _pack(tmp_path, mine / "photos")
  assert (mine / "photos" / "train.tar").exists()


def test_what_cannot_be_packed_is_said_before_a_parcel_goes(tiny_training, tmp_path):
  parcel, visited = _pack(tmp_path, tiny_training.source_dir), tmp_path / "visited"
  (visited / "undecayed").mkdir(parents=True)
  with pytest.raises(UsageError, match=r"--programs: \S+ holds no compiled programs"):
    _pack(tmp_path, tiny_training.source_dir, f"--visit={visited}", "--programs")
  assert (parcel / "photos" / "train.tar").exists()
  with pytest.raises(UsageError, match=r"--tree=\S+: expected a git working tree"):
    _pack(tmp_path, tiny_training.source_dir, f"--tree={visited}")


def test_a_visit_does_not_take_an_earlier_ones_workdir(tiny_training, tmp_path):
  parcel = _pack(tmp_path, tiny_training.source_dir)
  workdir = tmp_path / "run1"
  workdir.mkdir()
  (workdir / "plan.json").write_text('{"carry_from": null, "chosen": {"batch_size": 2}}')
  with pytest.raises(UsageError, match="run1 holds a visit that began with --carry_from=None"):
    _visit(tmp_path, parcel, 1, *_carried(parcel)[:1])


def test_a_visit_goes_on_with_the_same_photographs_only(tiny_training, tmp_path):
  parcel = _pack(tmp_path, tiny_training.source_dir)
  workdir = tmp_path / "run1"
  workdir.mkdir()
  train_parts.keep_photographs(workdir, FolderSource(parcel / "photos", "train"))
  (workdir / "metrics.jsonl").write_text('{"step": 2, "split": "train"}\n')
  others = tmp_path / "others"
  others.mkdir()
  for seed, name in enumerate(("a", "b", "c", "valid"), start=9):  # of the same sizes
    write_image(others / f"{name}.png", photo(48, 64, seed))
  with pytest.raises(UsageError, match="run1 holds a run that learns from other photographs than"):
    _visit(tmp_path, parcel, 1, f"--source_dir={others}")


def test_what_a_visit_does_not_do_is_said(tmp_path, capsys):
  own = [f"--output={tmp_path / 'out'}", f"--workdir={tmp_path / 'run'}"]
  for flag in ("--export_only", "--rescale=64,96", "--carry_to=there", "--max_minutes=3"):
    with pytest.raises(UsageError, match=f"{flag.partition('=')[0]}: a visit cannot do that"):
      visit.main(parse(visit.define_flags, [*own, flag]))
  with pytest.raises(UsageError, match="--name=a b: expected 1 to 32 printable ASCII characters"):
    visit.main(parse(visit.define_flags, [*own, "--name=a b", "--steps=9"]))
  assert "--steps not used: a visit reads --source_dir" in capsys.readouterr().out
  assert not (tmp_path / "run").exists()


def test_a_visit_without_time_says_so(tiny_training, tmp_path, monkeypatch):
  parcel = _pack(tmp_path, tiny_training.source_dir)
  monkeypatch.setattr(
    visit._Visit, "choose", lambda self: self.report.update(chosen={"step_seconds": 1.0})
  )
  with pytest.raises(UsageError, match=r"--minutes=0\.5: no time is left to train in"):
    _visit(tmp_path, parcel, 1, "--minutes=0.5")


def test_what_is_too_large_stays_behind(tmp_path, capsys):
  (tmp_path / "undecayed").mkdir()
  for name in ("log.txt", "visit.json", "undecayed/state-1-of-1.safetensors"):
    (tmp_path / name).write_bytes(bytes(1000))
  (tmp_path / "trace.tar.gz").write_bytes(bytes(1000))
  (tmp_path / "cache.tar.1-of-1").write_bytes(bytes(1000))
  visit.keep_within_limits(tmp_path)
  assert capsys.readouterr().out == ""
  for number in range(4):
    (tmp_path / f"weights.{number}").write_bytes(bytes(1000))
  visit.keep_within_limits(tmp_path)
  files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
  assert len(files) == visit.MAX_FILES
  assert "trace.tar.gz" not in files
  assert "trace.tar.gz is left out" in capsys.readouterr().out
  (tmp_path / "cache.tar.1-of-1").write_bytes(bytes(visit.MAX_FILE_BYTES + 1))
  visit.keep_within_limits(tmp_path)
  assert not (tmp_path / "cache.tar.1-of-1").exists()
