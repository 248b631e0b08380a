"""Patches: what is in them, how often, and what they depend on."""

import collections
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_jax.data import crops, order, patches, recent, views


class ArraySource:
  """Images from a list of arrays."""

  def __init__(self, *images):
    self.images = images

  def __len__(self):
    return len(self.images)

  def __getitem__(self, index):
    return {"image": self.images[index], "name": str(index)}


def coordinates(height, width, number=0):
  """An image whose every pixel says where it is and in which image."""
  image = np.empty((height, width, 3), np.uint8)
  image[..., 0] = np.arange(height)[:, None]
  image[..., 1] = np.arange(width)
  image[..., 2] = number
  return image


SOURCE = ArraySource(coordinates(40, 60, 0), coordinates(20, 30, 1), coordinates(9, 200, 2))


def make(source=SOURCE, **kwargs):
  options = {"patch_size": 16, "batch_size": 4, "seed": 0, "num_threads": 0, **kwargs}
  return patches.training_patches(source, **options)


def take(iterator, count):
  return [next(iterator)["image"] for _ in range(count)]


def assert_same(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second):
    np.testing.assert_array_equal(a, b)


def test_patches_are_flipped_crops():
  for patch in np.concatenate(take(make(), 20)):
    rows, columns = patch[..., 0].astype(int), patch[..., 1].astype(int)
    if patch[0, 0, 2] == 2:
      continue  # reflected
    assert np.unique(patch[..., 2]).size == 1
    assert (np.diff(rows, axis=0) == rows[1, 0] - rows[0, 0]).all()
    assert (np.diff(columns, axis=1) == columns[0, 1] - columns[0, 0]).all()
    assert (np.diff(rows, axis=1) == 0).all()
    assert abs(rows[1, 0] - rows[0, 0]) == abs(columns[0, 1] - columns[0, 0]) == 1


def test_all_positions_and_flips_occur():
  source = ArraySource(coordinates(18, 17))
  seen = collections.Counter()
  for patch in np.concatenate(take(make(source, batch_size=50), 20)):
    down, right = patch[1, 0, 0] > patch[0, 0, 0], patch[0, 1, 1] > patch[0, 0, 1]
    seen[int(patch[..., 0].min()), int(patch[..., 1].min()), bool(down), bool(right)] += 1
  assert len(seen) == 3 * 2 * 2 * 2
  assert min(seen.values()) > 15  # of about 42 each


def test_images_are_used_in_proportion_to_their_area():
  for patches_per_decode in (1, 2, 100):
    iterator = make(batch_size=6, patches_per_decode=patches_per_decode)
    for _ in range(2):
      epoch = np.concatenate(take(iterator, 3))
      assert np.bincount(epoch[:, 0, 0, 2]).tolist() == [9, 2, 7]


def test_visits():
  sizes = np.array([[40, 60], [20, 30], [9, 200], [1, 1], [32, 32]])  # 9, 2, 7, 1, 4 patches
  images, counts = order.visits(sizes, 16, 4)
  assert images.tolist() == [0, 0, 0, 1, 2, 2, 3, 4]
  assert counts.tolist() == [4, 4, 1, 2, 4, 3, 1, 4]


@settings(max_examples=50, deadline=None)
@given(
  sides=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=9),
  patches_per_decode=st.integers(1, 9),
  seed=st.integers(0, 2**32 - 1),
  epoch=st.integers(0, 10**9),
)
def test_every_epoch_has_every_patch(sides, patches_per_decode, seed, epoch):
  images, counts = order.visits(np.array(sides), 16, patches_per_decode)
  assert counts.min() >= 1
  assert counts.max() <= patches_per_decode
  taken = order.epoch_order(images, counts, seed, epoch)
  for image, (height, width) in enumerate(sides):
    assert np.count_nonzero(taken == image) == max(1, round(height * width / 256))


def test_endless_goes_from_epoch_to_epoch():
  orders = [np.array([5, 6, 7]), np.array([8, 9, 10]), np.array([11, 12, 13])]
  result = order.endless(orders.__getitem__, 3, np.array([1, 2, 3, 4, 8]))
  assert result.tolist() == [6, 7, 8, 9, 13]


def test_orders_of_epochs_and_seeds_differ():
  visits = np.arange(100), np.ones(100, int)
  first = order.epoch_order(*visits, 0, 0)
  assert not np.array_equal(first, order.epoch_order(*visits, 0, 1))
  assert not np.array_equal(first, order.epoch_order(*visits, 1, 0))
  source = ArraySource(coordinates(200, 200))
  assert not np.array_equal(*take(make(source), 2))
  assert not np.array_equal(take(make(source), 1), take(make(source, seed=1), 1))


class CountingSource(ArraySource):
  seconds = 0.0

  def __init__(self, *images):
    super().__init__(*images)
    self.read_indexes = []

  @property
  def reads(self):
    return len(self.read_indexes)

  def __getitem__(self, index):
    self.read_indexes.append(index)
    time.sleep(self.seconds)
    return super().__getitem__(index)

  def sizes(self):
    return np.array([image.shape[:2] for image in self.images])


def test_one_decoding_serves_several_patches():
  images = [coordinates(64, 64, number) for number in range(200)]  # 16 patches each
  reads, of_different_images = {}, {}
  for patches_per_decode in (1, 8):
    source = CountingSource(*images)
    batches = take(make(source, batch_size=16, patches_per_decode=patches_per_decode), 200)
    reads[patches_per_decode] = source.reads / 3200
    numbers = [np.unique(batch[..., 2]).size for batch in batches]
    of_different_images[patches_per_decode] = np.mean(numbers)
  assert reads[1] > 0.6
  assert reads[8] < 1.2 / 8
  assert of_different_images[8] > 12


def test_threads_that_want_the_same_image_wait_for_one_decoding():
  source = CountingSource(*[coordinates(64, 64, number) for number in range(20)])
  source.seconds = 0.005
  iterator = make(source, num_threads=8, prefetch=16)
  take(iterator, 50)  # of 80 batches an epoch; how many more are read ahead is up to the threads
  iterator.close()
  assert len(set(source.read_indexes)) == source.reads > 10


def test_failed_read_is_tried_anew():
  source = CountingSource(None, coordinates(20, 20))
  images = recent.RecentImages(source, np.array([[20, 20]] * 2), 1)
  source.images = (coordinates(20, 20),)
  with pytest.raises(IndexError):
    images.read(1)
  source.images = (coordinates(20, 20), coordinates(20, 20, 1))
  for index in (1, 0, 1, 1):
    np.testing.assert_array_equal(images.read(index), source.images[index])
  assert source.reads == 4  # of which one failed, and the room is for one


def test_threads_and_prefetching_change_nothing():
  expected = take(make(), 12)
  for num_threads, prefetch in ((1, 1), (2, 3), (8, 16)):
    iterator = make(num_threads=num_threads, prefetch=prefetch)
    assert_same(take(iterator, 12), expected)
    iterator.close()


@pytest.mark.parametrize("shard_count", [2, 3])
def test_shards_are_a_partition_of_the_global_batch(shard_count):
  whole = take(make(batch_size=4 * shard_count), 6)
  for shard_index in range(shard_count):
    shard = take(make(shard_index=shard_index, shard_count=shard_count), 6)
    assert_same(shard, [batch[4 * shard_index : 4 * shard_index + 4] for batch in whole])


@settings(max_examples=15, deadline=None)
@given(done=st.integers(0, 12), num_threads=st.sampled_from([0, 3]))
def test_state_continues_with_the_next_batch(done, num_threads):
  iterator = make(num_threads=num_threads)
  take(iterator, done)
  state = json.loads(json.dumps(iterator.get_state()))
  expected = take(iterator, 3)
  other = make(num_threads=num_threads)
  take(other, 2)
  other.set_state(state)
  assert_same(take(other, 3), expected)
  iterator.set_state(state)
  assert_same(take(iterator, 3), expected)
  iterator.close()
  other.close()


def test_state_for_another_number_of_processes():
  one = make(batch_size=8)
  take(one, 3)
  two = make(batch_size=4, shard_index=1, shard_count=2)
  two.set_state(one.get_state())
  assert_same(take(two, 2), [batch[4:] for batch in take(one, 2)])


@pytest.mark.parametrize(
  ("change", "name"),
  [
    ({"seed": 1}, "seed was 0, is 1"),
    ({"batch_size": 5}, "global_batch_size was 4, is 5"),
    ({"patch_size": 8}, "patch_size was 16, is 8"),
    ({"min_scale": 0.5}, "min_scale was 1.0, is 0.5"),
    ({"patches_per_decode": 1}, "patches_per_decode was 8, is 1"),
    ({"source": ArraySource(coordinates(40, 60))}, "sizes was"),
  ],
)
def test_state_of_other_patches(change, name):
  with pytest.raises(ValueError, match=f"the saved position is of other patches: .*{name}"):
    make(**change).set_state(make().get_state())


def test_state_that_is_none():
  with pytest.raises(ValueError, match="the saved position is of other patches: seed was None"):
    make().set_state({})


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 40))
def test_reflection_has_the_image_and_only_its_pixels(height, width, size):
  image = coordinates(height, width)
  reflected = crops.reflect_to(image, size)
  assert reflected.shape == (max(height, size), max(width, size), 3)
  np.testing.assert_array_equal(reflected[:height, :width], image)
  steps = [np.abs(np.diff(reflected[..., k].astype(int), axis=k)) for k in (0, 1)]
  assert all(step.max(initial=0) <= 1 for step in steps)  # no jumps
  assert reflected[..., 0].max() == height - 1
  assert reflected[..., 1].max() == width - 1


def test_small_image_is_reflected():
  image = coordinates(3, 2)
  rows = [0, 1, 2, 1, 0, 1]
  np.testing.assert_array_equal(crops.reflect_to(image, 6)[:, 0, 0], rows)
  for patch in take(make(ArraySource(image), patch_size=6), 2)[0]:
    assert patch[:, 0, 0].tolist() in (rows, rows[::-1])


def test_write_patch_by_hand():
  image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
  patch = np.empty((4, 4, 3), np.uint8)
  crops.write_patch(patch, image, (0.0, 0.999, 0.9, 0.9, 0.5))
  np.testing.assert_array_equal(patch, image[:4, -4:])
  crops.write_patch(patch, image, (0.5, 0.0, 0.0, 0.9, 0.5))
  np.testing.assert_array_equal(patch, image[8:12, :4][::-1])
  crops.write_patch(patch, image, (0.5, 0.0, 0.0, 0.0, 0.5))
  np.testing.assert_array_equal(patch, image[8:12, :4][::-1, ::-1])


def test_scale_shrinks():
  image = coordinates(100, 200)
  patch = np.empty((10, 10, 3), np.uint8)
  crops.write_patch(patch, image, (0, 0, 0.9, 0.9, 1 - 1e-9), min_scale=0.25)
  np.testing.assert_allclose(patch[1:-1, 0, 0], 4 * np.arange(1, 9) + 1.5, atol=1)
  crops.write_patch(patch, image, (0, 0, 0.9, 0.9, 0.0), min_scale=0.25)
  np.testing.assert_array_equal(patch, image[:10, :10])
  crops.write_patch(patch, image[:12], (0, 0, 0.9, 0.9, 1 - 1e-9), min_scale=0.25)
  assert patch[..., 0].max() >= 10  # cut down to the whole height of 12


def test_scaled_patches_are_as_reproducible():
  assert_same(take(make(min_scale=0.5), 5), take(make(min_scale=0.5, num_threads=2), 5))


def test_patches_do_not_share_memory_with_the_cache():
  source = views.cached(ArraySource(coordinates(16, 16)), 10**6)
  batch = next(make(source))["image"]
  batch[:] = 0
  np.testing.assert_array_equal(source[0]["image"], coordinates(16, 16))


def test_failing_source_raises_where_the_batch_is_asked_for():
  class Broken(ArraySource):
    def __getitem__(self, index):
      raise ValueError("a.png: not a readable image")

    def sizes(self):
      return np.array([[16, 16]])

  for num_threads in (0, 2):
    with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
      next(make(Broken(None), num_threads=num_threads))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"patch_size": 0}, "expected positive sizes, got patches of 0"),
    ({"batch_size": -1}, "batches of -1"),
    ({"seed": 2**32}, "expected a seed from 0"),
    ({"shard_index": 2, "shard_count": 2}, "expected 0 <= shard_index < shard_count, got 2 of 2"),
    ({"patches_per_decode": 0}, "expected patches_per_decode of 1 or more, got 0"),
    ({"min_scale": 0.0}, "expected min_scale above 0"),
    ({"source": ArraySource()}, "got an empty source"),
  ],
)
def test_bad_arguments(change, message):
  with pytest.raises(ValueError, match=message):
    make(**change)


def test_center_patches_count_every_image_once():
  source = ArraySource(*(coordinates(8 + 2 * i, 12, i) for i in range(5)))
  batches = patches.center_patches(source, patch_size=8, batch_size=2)
  assert [batch["mask"].tolist() for batch in batches] == [[1, 1], [1, 1], [1, 0]]
  assert batches[0]["mask"].dtype == np.float32
  images = np.concatenate([batch["image"] for batch in batches])
  assert images.shape == (6, 8, 8, 3)
  for i in range(5):
    np.testing.assert_array_equal(images[i], source.images[i][i : i + 8, 2:10])
  assert not images[5].any()


def test_center_patch_of_a_small_image():
  (batch,) = patches.center_patches(ArraySource(coordinates(3, 9)), patch_size=5, batch_size=1)
  np.testing.assert_array_equal(batch["image"][0, :, 0, 0], [0, 1, 2, 1, 0])
  np.testing.assert_array_equal(batch["image"][0, 0, :, 1], [2, 3, 4, 5, 6])


def test_center_patches_of_nothing():
  with pytest.raises(ValueError, match="got an empty source"):
    patches.center_patches(ArraySource(), patch_size=5, batch_size=1)
