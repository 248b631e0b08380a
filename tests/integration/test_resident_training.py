"""Training from photographs on the device: the same run whatever cut it, by steps or by minutes."""

import concurrent.futures
import json
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from cae_jax.data.patches import center_patches
from cae_jax.errors import UsageError
from cae_jax.models import init_params
from cae_jax.models.paper import PaperAutoencoder
from cae_jax.training import losses, sharding
from cae_jax.training.loop import LoopConfig, run_steps
from cae_jax.training.reporting import read_metrics
from cae_jax.training.resident import Dispatch, Recipe, ResidentPhotos, ResidentSteps, Stage
from cae_jax.training.span import Minutes, Steps
from cae_jax.training.state import create_state
from tests.integration.conftest import environment

STEPS = 12
MODEL = PaperAutoencoder(channels=(4, 6, 8))
STAGES = Stage(0.0, 16, 4), Stage(0.75, 32, 2)


class Noise:
  """Pictures of noise."""

  def __init__(self, count=3):
    self.count = count

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    rng = np.random.default_rng(index)
    return {"image": rng.integers(0, 256, (40 + index, 40, 3), dtype=np.uint8), "name": str(index)}


@pytest.fixture(scope="module")
def dispatches():
  """Compiled once for all runs here."""
  photos = ResidentPhotos(Noise(), sharding.data_mesh())
  recipe = Recipe(losses.reconstruction_loss(MODEL), optax.adam, min_scale=0.5, seed=1)
  return [Dispatch(recipe, photos, stage) for stage in STAGES]


def _train(workdir, dispatches, span=None, stop_after=None, settings=None, **options):
  schedule = lambda fraction: 1e-2 * (1 - fraction)
  stepper = ResidentSteps(
    dispatches, span or Steps(STEPS), schedule, 3, settings or {"patches": "these"}, **options
  )
  if stop_after is not None:
    _interrupt(stepper, stop_after)
  return run_steps(
    LoopConfig(steps=STEPS, log_every=3, validate_every=6),
    stepper,
    start=(create_state(init_params(MODEL, 0), optax.adam(1.0)), None),
    errors_fn=jax.jit(losses.reconstruction_errors(MODEL)),
    valid_batches=center_patches(Noise(), patch_size=32, batch_size=2),
    workdir=workdir,
    mesh=sharding.data_mesh(),
  )


def _interrupt(stepper, step):
  """Makes the process get a SIGTERM with the dispatch after a step."""
  import os
  import signal

  advance = stepper.advance

  def cut(state, at, limit):
    if at == step:
      os.kill(os.getpid(), signal.SIGTERM)
    return advance(state, at, limit)

  stepper.advance = cut


@pytest.fixture(scope="module")
def uncut(dispatches, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uncut")
  return workdir, _train(workdir, dispatches)


@pytest.mark.parametrize("cut", [0, 6])
def test_a_resumed_run_is_bit_identical(uncut, dispatches, tmp_path, cut):
  workdir, expected = uncut
  assert expected.finished
  first = _train(tmp_path, dispatches, stop_after=cut)
  assert int(first.state.step) == cut + 3
  assert not first.finished
  resumed = _train(tmp_path, dispatches)
  assert resumed.finished
  jax.tree.map(np.testing.assert_array_equal, resumed.state, expected.state)
  lines = lambda folder: [
    {k: v for k, v in line.items() if k != "steps_per_s"}
    for line in read_metrics(folder / "metrics.jsonl")
  ]
  assert lines(tmp_path) == lines(workdir)


def test_patches_grow_and_the_log_says_what_the_steps_were(uncut):
  lines = read_metrics(uncut[0] / "metrics.jsonl")
  train = [line for line in lines if line["split"] == "train"]
  assert [line["step"] for line in train] == [3, 6, 9, 12]
  assert [line["patch_size"] for line in train] == [16, 16, 16, 32]
  assert [line["batch_size"] for line in train] == [4, 4, 4, 2]
  assert [line["fraction"] for line in train] == [0, 0.25, 0.5, 0.75]
  np.testing.assert_allclose(
    [line["learning_rate"] for line in train], [1e-2, 7.5e-3, 5e-3, 2.5e-3]
  )
  assert [line["step"] for line in lines if line["split"] == "valid"] == [6, 12]


class _Clock:
  """Every look at it takes so many seconds."""

  def __init__(self, seconds, now=0.0):
    self.seconds, self.now = seconds, now

  def __call__(self):
    self.now += self.seconds
    return self.now


def test_a_run_by_minutes_ends_in_time_and_decays_until_then(dispatches, tmp_path):
  turned = []
  clock = _Clock(2.0)
  result = _train(
    tmp_path,
    dispatches,
    span=Minutes(1.0, clock),
    turning_point=(0.7, lambda state: turned.append(int(state.step))),
  )
  assert result.finished
  lines = [m for m in read_metrics(tmp_path / "metrics.jsonl") if m["split"] == "train"]
  fractions = [line["fraction"] for line in lines]
  assert fractions == sorted(fractions)
  assert 0.7 < fractions[-1] < 1
  assert clock.now <= 60 + 2 * 3  # it looks at the clock to see that it is over, too
  assert lines[-1]["learning_rate"] < 0.3e-2
  [step] = turned
  assert fractions[step // 3] >= 0.7 > fractions[step // 3 - 1]


@pytest.mark.parametrize("stop_after", [6, 18])
def test_time_between_two_calls_does_not_count(stop_after, dispatches, tmp_path):
  _train(tmp_path, dispatches, span=Minutes(1.0, _Clock(2.0)), stop_after=stop_after)
  assert _train(tmp_path, dispatches, span=Minutes(99.0, _Clock(2.0, now=1e6))).finished
  lines = [m for m in read_metrics(tmp_path / "metrics.jsonl") if m["split"] == "train"]
  steps = np.diff([line["fraction"] for line in lines])
  assert (steps > 0).all()
  assert lines[-1]["fraction"] > 0.7
  assert steps.max() < 0.2


def test_a_stage_that_is_not_compiled_yet_waits(dispatches):
  stepper = ResidentSteps(dispatches, Steps(4), lambda fraction: 0.0, 2, {})
  assert stepper._dispatch_at(0.8).stage == STAGES[1]
  stepper._compiling[dispatches[1]] = future = concurrent.futures.Future()
  assert stepper._dispatch_at(0.8).stage == STAGES[0]
  future.set_result(None)
  assert stepper._dispatch_at(0.8).stage == STAGES[1]
  stepper._compiling[dispatches[1]] = future = concurrent.futures.Future()
  future.set_exception(MemoryError())
  assert stepper._dispatch_at(0.8).stage == STAGES[0]


def test_other_patches_are_refused(dispatches, tmp_path):
  _train(tmp_path, dispatches, stop_after=0)
  with pytest.raises(UsageError, match="patches was these, is those"):
    _train(tmp_path, dispatches, settings={"patches": "those"})


def test_other_pictures_have_another_fingerprint():
  photos = ResidentPhotos(Noise(), sharding.data_mesh())
  assert photos.fingerprint() != ResidentPhotos(Noise(4), sharding.data_mesh()).fingerprint()


_ON_EIGHT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from cae_jax.data import resident as data
from cae_jax.training import losses, sharding
from cae_jax.training.resident import Dispatch, Recipe, ResidentPhotos, Stage, make_draw, share_key
from cae_jax.training.state import create_state
from cae_jax.models import init_params
from tests.integration.test_resident_training import MODEL, Noise

assert jax.device_count() == 8
mesh = sharding.data_mesh()
photos = ResidentPhotos(Noise(19), mesh)
slots, shortest = photos.slots(16)
epochs = data.epochs_touched(2, shortest)
draw = jax.jit(
  make_draw(mesh, patch_size=16, batch_size=16, min_scale=0.5, seed=5, epochs=epochs)
)
batch = draw(photos.photos, slots, jnp.int32(7))
assert [s.data.shape[0] for s in batch.addressable_shards] == [2] * 8
alone = jax.jit(
  lambda photos, slots, key: data.draw(
    photos, slots, key, jnp.int32(7), rows=2, patch_size=16, min_scale=0.5, epochs=epochs
  )
)
for share, indexes in enumerate(data.share_out(photos.sizes, 8)):
  own = jax.tree.map(lambda a: np.asarray(a)[share], (photos.photos, slots))
  assert len(indexes) in (2, 3)
  expected = alone(*own, share_key(5, share))
  np.testing.assert_array_equal(np.asarray(batch)[2 * share : 2 * share + 2], expected)
for leaf in jax.tree.leaves(photos.photos):
  assert {s.data.shape[0] for s in leaf.addressable_shards} == {1}

recipe = Recipe(losses.reconstruction_loss(MODEL), optax.sgd, seed=5)
dispatch = Dispatch(recipe, photos, Stage(0.0, 16, 16))
state = create_state(init_params(MODEL, 0), optax.sgd(1.0))
state, figures = dispatch(jax.device_put(state, sharding.replicated(mesh)), 1e-2, 3)
try:
  Dispatch(recipe, photos, Stage(0.0, 16, 12))
except ValueError as error:
  message = str(error)
print(json.dumps({"loss": figures["loss"].tolist(), "message": message}))
"""


def test_eight_devices_draw_from_eight_shares():
  done = subprocess.run(
    [sys.executable, "-c", _ON_EIGHT], env=environment(8), capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  told = json.loads(done.stdout)
  assert len(told["loss"]) == 3
  assert all(np.isfinite(told["loss"]))
  assert "does not split evenly over 8 devices" in told["message"]


def test_the_state_before_the_decay_is_taken_once(dispatches, tmp_path):
  turned = []
  turning_point = 0.3, lambda state: turned.append(int(state.step))
  for stop_after in (18, None):
    _train(tmp_path, dispatches, span=Steps(30), turning_point=turning_point, stop_after=stop_after)
  assert turned == [9]
