"""Batches of patches: random ones to train on, one centre of each image to validate on."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from cae_jax.data import crops, order, position
from cae_jax.data.recent import RecentImages
from cae_jax.data.views import ImageSource, image_sizes
from cae_jax.errors import UsageError

if TYPE_CHECKING:
  import grain

_ENDLESS = 2**62  # batches


class Batch(TypedDict):
  """Patches, uint8 [B, P, P, 3]."""

  image: np.ndarray


class MaskedBatch(Batch):
  """Patches with a mask, float32 [B], 1 for an image and 0 for padding."""

  mask: np.ndarray


def training_patches(
  source: ImageSource,
  *,
  patch_size: int,
  batch_size: int,
  seed: int,
  shard_index: int = 0,
  shard_count: int = 1,
  num_threads: int = 4,
  prefetch: int = 8,
  patches_per_decode: int = 8,
  min_scale: float = 1.0,
) -> "PatchIterator":
  """Makes endless batches of random crops with random flips.

  An epoch holds each image as often as patches would tile it (at least once), so that every pixel
  of the data set is about as likely as any other: sampling images evenly would show the pixels of
  a small image many times as often as those of a big one. The order is random, but the patches of
  an image are kept near enough to each other that one decoding serves several (`order.visits`).

  Global batch number b (of all processes together) depends on the seed and on b alone, never on
  threads or prefetching; shard s gets the s-th `batch_size` of its rows. So the global batches are
  the same for any number of processes.

  Args:
    source: the images. One smaller than the patch is continued by reflection below and to the
      right.
    patch_size: P, pixels.
    batch_size: B, patches a batch of this process.
    seed: 0 to 2**32 - 1.
    shard_index: number of this process.
    shard_count: number of processes.
    num_threads: threads that make batches; 0 to make them in the caller's.
    prefetch: batches made ahead.
    patches_per_decode: how many patches to take of an image while it is at hand; 1 gives the freest
      order, and is as fast if the source is `cached` and all of it fits.
    min_scale: below 1, patches are also shrunk (Lanczos), by a factor between this and 1 drawn
      evenly in its logarithm, as far as the image is big enough.
  Returns:
    An iterator over {"image": uint8 [B, P, P, 3]} with `get_state`, `set_state` and `close`.
  Raises:
    UsageError: an argument is out of its range, or the source is empty.
  """
  import grain  # only the pipeline needs it

  _check(
    source, patch_size, batch_size, seed, shard_index, shard_count, patches_per_decode, min_scale
  )
  sizes = image_sizes(source)
  images, counts = order.visits(sizes, patch_size, patches_per_decode)
  make = _RandomPatches(
    # One window of patches is in use and the next is begun.
    read=RecentImages(source, sizes, 2 * order.VISITS_PER_WINDOW).read,
    order=functools.lru_cache(maxsize=2)(
      functools.partial(order.epoch_order, images, counts, seed)
    ),
    epoch_length=int(counts.sum()),
    patch_size=patch_size,
    global_batch_size=batch_size * shard_count,
    min_scale=min_scale,
    seed=seed,
    # As `sharding.to_global` puts them together.
    shard=slice(shard_index * batch_size, (shard_index + 1) * batch_size),
  )
  options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
  config = {
    "seed": seed,
    "patch_size": patch_size,
    "global_batch_size": batch_size * shard_count,
    "patches_per_decode": patches_per_decode,
    "min_scale": min_scale,
    "sizes": hashlib.sha256(sizes.astype("<i8").tobytes()).hexdigest()[:16],
  }
  return PatchIterator(grain.MapDataset.range(_ENDLESS).map(make).to_iter_dataset(options), config)


def center_patches(source: ImageSource, *, patch_size: int, batch_size: int) -> list[MaskedBatch]:
  """Cuts out the centre of every image, once each, in the order of the source.

  Args:
    source: the images; one smaller than the patch is continued by reflection.
    patch_size: P, pixels.
    batch_size: B, patches a batch.
  Returns:
    Batches {"image": uint8 [B, P, P, 3], "mask": float32 [B]}; the last is filled up with black
    patches of mask 0.
  Raises:
    UsageError: an argument is not positive, or the source is empty.
  """
  _check(source, patch_size, batch_size)
  batches: list[MaskedBatch] = []
  for start in range(0, len(source), batch_size):
    indexes = range(start, min(start + batch_size, len(source)))
    image = np.zeros((batch_size, patch_size, patch_size, 3), np.uint8)
    for row, index in enumerate(indexes):
      image[row] = crops.center_crop(source[index]["image"], patch_size)
    mask = (np.arange(batch_size) < len(indexes)).astype(np.float32)
    batches.append({"image": image, "mask": mask})
  return batches


def random_blocks(source: ImageSource, count: int, block: int, seed: int) -> np.ndarray:
  """Takes small blocks from all over a source, for its statistics.

  Args:
    source: the images, as for `training_patches`.
    count: how many blocks.
    block: their side in pixels, at most 128.
    seed: 0 to 2**32 - 1.
  Returns:
    uint8 [count, block, block, 3].
  """
  patches = training_patches(source, patch_size=128 // block * block, batch_size=16, seed=seed)
  blocks: list[np.ndarray] = []
  while sum(map(len, blocks)) < count:
    blocks.append(split_blocks(next(patches)["image"], block))
  patches.close()
  return np.concatenate(blocks)[:count]


def split_blocks(patches: np.ndarray, block: int) -> np.ndarray:
  """Cuts patches into square blocks: [B, P, P, 3], P a multiple -> [N, block, block, 3]."""
  per_side = patches.shape[1] // block
  blocks = patches.reshape(len(patches), per_side, block, per_side, block, 3)
  return blocks.swapaxes(2, 3).reshape(-1, block, block, 3)


class PatchIterator(Iterator[Batch]):
  """Endless batches that can be continued from any one on.

  The state is plain JSON and small: the number of the next batch, and what the batches depend on.
  """

  def __init__(self, dataset: "grain.IterDataset", config: dict[str, Any]):
    self._iterator = iter(dataset)
    self._config = config

  def __next__(self) -> Batch:
    return next(self._iterator)

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs to continue with the batch that comes next."""
    return position.to_state(int(self._iterator.get_state()["next_index"]), self._config)

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues where `get_state` was called, in this or an earlier process.

    The number of processes may differ as long as the global batch is the same.

    Raises:
      UsageError: the state is of other data, another seed or other sizes.
    """
    self._iterator.set_state({"next_index": position.next_batch(state, self._config)})

  def differences(self, state: dict[str, Any]) -> list[str]:
    """Says in what the patches of a state are others than these; then it is of no use here."""
    return position.differences(state, self._config)

  def close(self) -> None:
    """Ends the threads."""
    self._iterator.close()


@dataclasses.dataclass(frozen=True)
class _RandomPatches:
  """Batch number -> {"image": patches} of one process.

  Grain sees whole batches: its own shuffle, random map and batch together took 300 microseconds a
  patch, ten times as long as the crop.
  """

  read: Callable[[int], np.ndarray]
  order: Callable[[int], np.ndarray]
  epoch_length: int
  patch_size: int
  global_batch_size: int
  min_scale: float
  seed: int
  shard: slice

  def __call__(self, batch_number: int) -> Batch:
    first = batch_number * self.global_batch_size
    numbers = np.arange(first, first + self.global_batch_size)[self.shard]
    indexes = order.endless(self.order, self.epoch_length, numbers)
    draws = order.draws(self.seed, batch_number, (self.global_batch_size, 5))
    patches = np.empty((len(numbers), self.patch_size, self.patch_size, 3), np.uint8)
    for patch, index, draw in zip(patches, indexes.tolist(), draws[self.shard].tolist()):
      crops.write_patch(patch, self.read(index), draw, min_scale=self.min_scale)
    return {"image": patches}


def _check(
  source: ImageSource,
  patch_size: int,
  batch_size: int,
  seed: int = 0,
  shard_index: int = 0,
  shard_count: int = 1,
  patches_per_decode: int = 1,
  min_scale: float = 1.0,
) -> None:
  if patch_size < 1 or batch_size < 1:
    raise UsageError(
      f"expected positive sizes, got patches of {patch_size}, batches of {batch_size}"
    )
  if patches_per_decode < 1:
    raise UsageError(f"expected patches_per_decode of 1 or more, got {patches_per_decode}")
  if not 0 <= seed < 2**32:
    raise UsageError(f"expected a seed from 0 to 2**32 - 1, got {seed}")
  if not 0 <= shard_index < shard_count:
    raise UsageError(f"expected 0 <= shard_index < shard_count, got {shard_index} of {shard_count}")
  if not 0.0 < min_scale <= 1.0:
    raise UsageError(f"expected min_scale above 0 and at most 1, got {min_scale}")
  if not len(source):
    raise UsageError("expected images to take patches from, got an empty source")
