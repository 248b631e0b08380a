"""The look of tiny weights, from the command line to decoded pictures."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from cae_jax import codec
from cae_jax.data.folder import FolderSource
from cae_jax.data.trained_on import TrainedOn
from cae_jax.errors import UsageError
from cae_jax.images.files import read_rgb, write_image
from cae_jax.metrics_file import read_metrics
from cae_jax.models.context import ContextModel
from cae_jax.models.context.look import changed_part
from cae_jax.training import sharding
from cae_jax.training.checkpoints import Checkpoints
from cae_jax.training.look import DISCRIMINATOR, LOOK
from cae_jax.training.state import create_state
from cae_jax.weights import load_weights
from cae_jax.weights.look import load_look, save_look
from experiments import train, train_look
from experiments.program_flags import parse
from tests.golden import FOLDER
from tests.models import context_codec, context_weights, hasty_pass, photo

OWN = (
  "--task=look",
  "--name=tiny-look",
  f"--start_weights={FOLDER / 'context.safetensors'}",
  "--discriminator_channels=4,6,8",
  "--test_split=",
  "--patch_size=64",
  "--valid_patch_size=64",
  "--batch_size=4",
  "--min_scale=1",
)
QUALITY = 20.0


def _figures(workdir):
  """All that was logged, but for speed."""
  lines = read_metrics(workdir / "metrics.jsonl")
  return [{k: v for k, v in line.items() if k != "steps_per_s"} for line in lines]


def _last_state(tiny_training, workdir):
  args = parse(train.define_flags, tiny_training.flags(workdir, *OWN))
  params = _start(args)
  state = create_state(params, train_look.optimizer(args))
  with Checkpoints(workdir / "checkpoints") as checkpoints:
    return jax.device_get(
      checkpoints.restore(jax.device_put(state, sharding.replicated(sharding.data_mesh())))[0]
    ), jax.device_get(params)


def _start(args):
  return train_look.initial_params(args, train_look.model(args), lambda *_: [])


@pytest.fixture(scope="module", autouse=True)
def _hasty():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(ContextModel, "rounded", hasty_pass)
    yield


@pytest.fixture(scope="module")
def training(tiny_training, tmp_path_factory):
  """On pictures that are large enough for patches of 64 pixels."""
  folder = tmp_path_factory.mktemp("large")
  for seed, name in enumerate(("a", "b", "valid", "test")):
    write_image(folder / f"{name}.png", photo(80, 96, seed))
  return dataclasses.replace(tiny_training, source_dir=folder)


@pytest.fixture(scope="module")
def finished(training, tmp_path_factory):
  """The workdir of an uncut run of four steps."""
  workdir = tmp_path_factory.mktemp("finished")
  assert training.run_here(workdir, *OWN, "--steps=4") == 0
  return workdir


def test_a_run_leaves_curves_of_both_players(finished):
  assert (finished / "curves.png").exists()
  assert list(finished.glob("events.out.tfevents.*"))
  lines = _figures(finished)
  assert [(line["step"], line["split"]) for line in lines] == [
    *((step, "train") for step in range(1, 5)), (4, "valid"),
  ]  # fmt: skip
  both = {"loss", "psnr_db", "texture", "adversarial", "discriminator_loss", "discriminator_right"}
  assert all(line.keys() >= both for line in lines)
  assert all(0 <= line["strength"] <= 1 for line in lines[:4])
  assert lines[-1].keys() >= {"psnr_loss_db", "texture_before"}
  result = json.loads((finished / "result.json").read_text())
  assert (result["exported_step"], result["skipped_steps"], result["test"]) == (4, 0, None)


def test_both_players_move_and_nothing_else(training, finished):
  state, initial = _last_state(training, finished)
  assert state.params.keys() == {LOOK, DISCRIMINATOR}
  changed = changed_part(context_weights().params)
  assert jax.tree.structure(state.params[LOOK]) == jax.tree.structure(changed)
  moved = jax.tree.map(lambda a, b: (a != b).any(), state.params, initial)
  assert all(jax.tree.leaves(moved))
  kept = load_weights(finished / "weights.safetensors")
  assert kept.hash() == context_weights().hash()


def test_its_weights_show_files_with_a_look(training, finished):
  image = read_rgb(training.source_dir / "test.png")
  data = context_codec().compress(image, quality=QUALITY)
  look = load_look(finished / "weights.look.safetensors")
  assert {a.dtype for a in jax.tree.leaves(look.difference)} == {np.dtype(np.float16)}
  assert look.card["step"] == 4
  assert not look.card["flags"].keys() & {"workdir", "source_dir", "data_dir", "inception"}
  ours = codec.load(finished / "weights.safetensors")
  np.testing.assert_array_equal(ours.decompress(data), context_codec().decompress(data))
  assert (ours.decompress(data, look=1) != ours.decompress(data)).any()


def test_a_cut_run_ends_with_the_look_of_the_uncut(training, finished, tmp_path, capsys):
  assert training.run_here(tmp_path, *OWN, "--steps=4", "--max_minutes=0") == 0
  assert "stopped at step 1" in capsys.readouterr().out
  assert training.run_here(tmp_path, *OWN, "--steps=4") == 0
  assert _figures(tmp_path) == _figures(finished)
  states = [_last_state(training, folder)[0] for folder in (tmp_path, finished)]
  jax.tree.map(np.testing.assert_array_equal, *states)


def test_without_a_discriminator_there_is_one_player(training, tmp_path):
  """As in the first two runs of the ablation; not trained here, since it is another program."""
  flags = training.flags(tmp_path, *OWN, "--adversarial_weight=0", "--texture_weight=0")
  args = parse(train.define_flags, flags)
  losses, _ = train_look.objectives(args, train_look.model(args))
  players = train_look.parameter_shapes(args).keys()
  assert players == train_look.optimizer(args).keys() == losses.keys() == {LOOK}


def test_a_look_goes_on_from_another(training, finished, tmp_path):
  parsed = lambda *more: parse(train.define_flags, training.flags(tmp_path, *OWN, *more))
  args = parsed(f"--start_look={finished / 'weights.safetensors'}")
  before = load_look(finished / "weights.look.safetensors")
  started = _start(args)
  jax.tree.map(np.testing.assert_array_equal, started[LOOK], before.difference)
  jax.tree.map(
    np.testing.assert_array_equal, started[DISCRIMINATOR], _start(parsed())[DISCRIMINATOR]
  )
  seen = train_look.trained_on(args, FolderSource(training.source_dir, "test"))
  assert seen.digests >= TrainedOn.from_card(before.card).digests > frozenset()
  narrower = jax.tree.map(lambda a: a[..., :1], before.difference)
  save_look(tmp_path / "other.look.safetensors", dataclasses.replace(before, difference=narrower))
  with pytest.raises(UsageError, match="a look of another network than --start_weights="):
    _start(parsed(f"--start_look={tmp_path / 'other.safetensors'}"))


def test_a_look_is_that_of_some_weights(training, tmp_path, capsys):
  assert training.run_here(tmp_path, "--task=look", "--test_split=") == 2
  assert "--task=look: expected --start_weights, whose look" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--test_split=test",), "--task=look has no report of its own"),
    (("--fade=80,45",), "--fade=80,45: expected the smaller quality first"),
    (("--fade=80",), "expected FULL,GONE"),
    (("--patch_size=48",), "--patch_size=48: this network takes multiples of 64"),
    ((f"--start_weights={FOLDER / 'paper.safetensors'}",), "the model 'paper' cannot have a look"),
    (("--adversarial_weight=-1",), "adversarial_weight"),
    (("--texture=inception",), "--texture=inception: expected --inception=FOLDER; npm pack nsfwjs"),
    (("--texture=inception", f"--inception={FOLDER}"), "golden: not nsfwjs' Inception v3"),
  ],
)
def test_bad_input_is_one_line_and_status_2(training, tmp_path, capsys, flags, message):
  assert training.run_here(tmp_path, *OWN, *flags) == 2
  [error] = capsys.readouterr().err.splitlines()
  assert message in error
