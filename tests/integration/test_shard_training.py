"""Training from shards of .cae files, as users start it."""

from cae_jax.bulk import parts
from cae_jax.bulk.jobs import Compression
from cae_jax.data.trained_on import TrainedOn
from cae_jax.data.views import pixel_digest
from cae_jax.images.files import read_rgb
from cae_jax.metrics_file import read_metrics
from cae_jax.weights import load_weights
from tests.integration.conftest import NAMES
from tests.integration.test_codec_training import OWN

_FLAGS = "--dataset=cae_shards", "--valid_dataset=cae_shards"


def test_a_run_learns_from_shards(tiny_training, tmp_path, capsys):
  shards, workdir = tmp_path / "shards", tmp_path / "run"
  for number, images in enumerate(parts.of_folder(tiny_training.source_dir, 2)):
    for part in parts.split(number, images, 2):
      Compression(shards, {"lossless": True})(part)
  # The programs are those of test_codec_training.py, compiled once for both.
  flags = [*_FLAGS, *OWN, f"--source_dir={shards}", "--steps=8"]
  assert tiny_training.run_here(workdir, *flags) == 0, capsys.readouterr().err
  losses = {split: [] for split in ("train", "valid")}
  for line in read_metrics(workdir / "metrics.jsonl"):
    losses[line["split"]].append(line["loss"])
  assert losses["train"][-1] < losses["train"][0]
  assert len(losses["valid"]) == 2
  # The originals are listed, so that nobody tests on them.
  seen = TrainedOn.from_card(load_weights(workdir / "weights.safetensors").card)
  digests = {n: pixel_digest(read_rgb(tiny_training.source_dir / f"{n}.png")) for n in NAMES}
  assert [name for name, digest in digests.items() if seen.has("", digest)] == ["a", "b", "c"]


def test_shards_need_a_folder_and_the_split(tiny_training, tmp_path, capsys):
  assert tiny_training.run_here(tmp_path / "run", *_FLAGS, f"--source_dir={tmp_path}") == 2
  assert "no shards in it" in capsys.readouterr().err
