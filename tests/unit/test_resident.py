"""Patches cut on the device: against the pipeline's, and what they depend on."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.data import crops, resident
from cae_jax.errors import UsageError
from cae_jax.images.files import ImageError
from tests.trained import pictures

SIZES = np.array([[70, 48], [33, 90], [20, 24], [64, 64]])


class _Source:
  """Pictures of the sizes above."""

  def __len__(self):
    return len(SIZES)

  def __getitem__(self, index):
    height, width = SIZES[index]
    image = pictures(1, 96, index)[0, :height, :width]
    return {"image": np.ascontiguousarray(image), "name": str(index)}


def _share(padding=100):
  indexes = np.arange(len(SIZES))
  pixels = int(SIZES[indexes].prod(axis=1).sum()) + padding
  photos = resident.read_share(_Source(), SIZES, indexes, pixels, len(indexes) + 1)
  return jax.tree.map(jnp.asarray, photos)


def _reference(chosen, draws, size, min_scale):
  patches = np.empty((len(chosen), size, size, 3), np.uint8)
  for patch, index, draw in zip(patches, chosen, np.asarray(draws, np.float64)):
    crops.write_patch(patch, _Source()[index]["image"], draw, min_scale=min_scale)
  return patches.astype(int)


_cut = jax.jit(resident.cut, static_argnames=("patch_size", "min_scale"))


@pytest.mark.parametrize("size", [16, 40])  # 40: two pictures are continued by reflection
def test_crops_and_flips_are_those_of_the_pipeline(size):
  chosen = np.tile(np.arange(len(SIZES)), 16)
  draws = jax.random.uniform(jax.random.key(1), (len(chosen), 5))
  patches = _cut(_share(), chosen, draws, patch_size=size, min_scale=1.0)
  np.testing.assert_array_equal(patches, _reference(chosen, draws, size, 1.0))


@pytest.mark.parametrize("min_scale", [0.8, 0.4])
def test_shrinking_is_pillows(min_scale):
  chosen = np.tile(np.arange(len(SIZES)), 16)
  draws = jax.random.uniform(jax.random.key(2), (len(chosen), 5))
  patches = _cut(_share(), chosen, draws, patch_size=24, min_scale=min_scale)
  difference = np.abs(patches - _reference(chosen, draws, 24, min_scale))
  # Pillow rounds and clips between its two passes, and its weights have eight bits.
  assert difference.max() <= 3
  assert difference.mean() < 0.25


def test_the_ends_of_the_draws():
  """The last float32 below one neither leaves the picture nor the window."""
  chosen, last = np.arange(len(SIZES)), np.nextafter(np.float32(1), np.float32(0))
  draws = np.full((len(chosen), 5), last)
  patches = _cut(_share(), chosen, draws, patch_size=24, min_scale=0.5)
  assert np.abs(patches - _reference(chosen, draws, 24, 0.5)).max() <= 3


def test_an_epoch_holds_each_picture_as_often_as_patches_tile_it():
  photos = resident.slots_of(SIZES, 16)
  count = len(photos)
  slots = resident.Slots(jnp.concatenate([jnp.asarray(photos), jnp.zeros(5, int)]), count)
  rows = 7
  epochs = resident.epochs_touched(rows, count)
  choose = jax.jit(lambda step: resident.choose(slots, jax.random.key(0), step, rows, epochs))
  chosen = np.concatenate([choose(step) for step in range(2 * count)])[: 14 * count]
  rounds = chosen.reshape(-1, count)
  expected = collections.Counter(photos.tolist())
  assert all(collections.Counter(r.tolist()) == expected for r in rounds)
  assert not (rounds[0] == rounds[1]).all()


def test_batches_larger_than_an_epoch():
  slots = resident.Slots(jnp.array([0, 1, 2]), 3)
  rows = 8
  epochs = resident.epochs_touched(rows, 3)
  chosen = [resident.choose(slots, jax.random.key(0), s, rows, epochs) for s in range(3)]
  rounds = np.concatenate(chosen).reshape(-1, 3)
  assert (np.sort(rounds, axis=1) == [0, 1, 2]).all()


def test_patches_depend_on_key_and_step_alone():
  photos = _share()
  slots = resident.Slots(jnp.asarray(resident.slots_of(SIZES, 16)), 50)
  draw = jax.jit(
    lambda key, step: resident.draw(photos, slots, key, step, rows=4, patch_size=16, min_scale=0.5)
  )
  one, again, step, key = (
    np.asarray(draw(jax.random.key(k), s)) for k, s in ((0, 3), (0, 3), (0, 4), (1, 3))
  )
  np.testing.assert_array_equal(one, again)
  assert (one != step).any()
  assert (one != key).any()


def test_shares_hold_every_picture_once_and_about_as_many_pixels():
  sizes = np.random.default_rng(0).integers(200, 1000, (300, 2))
  shares = resident.share_out(sizes, 8)
  assert sorted(np.concatenate(shares)) == list(range(300))
  loads = [sizes[share].prod(axis=1).sum() for share in shares]
  assert max(loads) < 1.01 * min(loads)
  with pytest.raises(UsageError, match="each of 8 devices, got 3"):
    resident.share_out(sizes[:3], 8)


def test_a_source_that_is_wrong_about_a_size():
  sizes = SIZES + np.eye(4, 2, 1, int)
  with pytest.raises(ImageError, match=r"0: expected 70 x 49 RGB pixels, got \[70, 48, 3\]"):
    resident.read_share(_Source(), sizes, np.arange(4), int(sizes.prod(axis=1).sum()), 4)
