"""Photographs kept decoded where the training runs, and patches cut from them there.

The pipeline of `patches` feeds a device from its host. Here the device has all photographs as bytes
and cuts, shrinks and flips by itself, in pure JAX: what comes out depends on the key and the step
alone. The law is that of `patches.training_patches`: an epoch holds each photograph as often as
patches would tile it, in random order, and a patch is drawn as `crops.write_patch` does.

With several devices each has a share of the photographs and draws from that (`share_out`).
"""

import concurrent.futures
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from cae_jax.data import order
from cae_jax.data.views import ImageSource
from cae_jax.errors import UsageError
from cae_jax.images.files import ImageError

# Pixels are found by int32.
MAX_SHARE_PIXELS = 2**31 - 1
_LANCZOS_LOBES = 3


class Photos(NamedTuple):
  """The photographs of a share, one after another, as arrays of JAX or NumPy.

  Attributes:
    pixels: uint8 [N, 3], rows of each photograph from top to bottom; the end may be padding.
    firsts: int32 [K], where in `pixels` each photograph begins.
    heights, widths: int32 [K].
  """

  pixels: Any
  firsts: Any
  heights: Any
  widths: Any


class Slots(NamedTuple):
  """The patches of a share's epoch.

  Attributes:
    photos: int32 [L], the photograph of each; the end may be padding.
    length: int32 [], how many there are.
  """

  photos: Any
  length: Any


def share_out(sizes: np.ndarray, count: int) -> list[np.ndarray]:
  """Deals photographs out: the largest first, each to the share with the fewest pixels so far.

  Args:
    sizes: int [N, 2], heights and widths.
    count: number of shares.
  Returns:
    Indexes of the photographs of each share, ascending.
  Raises:
    UsageError: there are fewer photographs than shares.
  """
  if len(sizes) < count:
    raise UsageError(
      f"expected at least one photograph for each of {count} devices, got {len(sizes)}; "
      "experiments.train works with fewer"
    )
  areas = sizes.prod(axis=1)
  loads = np.zeros(count, np.int64)
  shares: list[list[int]] = [[] for _ in range(count)]
  for index in np.argsort(-areas, kind="stable").tolist():
    lightest = int(np.argmin(loads))
    shares[lightest].append(index)
    loads[lightest] += areas[index]
  return [np.array(sorted(share)) for share in shares]


def read_share(
  source: ImageSource, sizes: np.ndarray, indexes: np.ndarray, pixels: int, photos: int
) -> Photos:
  """Decodes the photographs of a share, on all cores.

  Args:
    source: the photographs.
    sizes: int [N, 2], their heights and widths.
    indexes: those of the share.
    pixels, photos: lengths of the arrays to make.
  Returns:
    NumPy arrays; of photographs that only fill up, height and width are one.
  Raises:
    ImageError: an image has another size than the source says.
  """
  areas = sizes[indexes].prod(axis=1)
  firsts = np.cumsum(areas) - areas
  flat = np.zeros((pixels, 3), np.uint8)

  def read(number: int) -> None:
    example = source[int(indexes[number])]
    height, width = sizes[indexes[number]]
    if example["image"].shape != (height, width, 3):
      shape = list(example["image"].shape)
      raise ImageError(f"{example['name']}: expected {height} x {width} RGB pixels, got {shape}")
    first = firsts[number]
    flat[first : first + height * width] = example["image"].reshape(-1, 3)

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(read, range(len(indexes))))
  pad = lambda values, fill: np.concatenate(
    [values, np.full(photos - len(values), fill)], dtype=np.int32, casting="unsafe"
  )
  return Photos(flat, pad(firsts, 0), pad(sizes[indexes][:, 0], 1), pad(sizes[indexes][:, 1], 1))


def slots_of(sizes: np.ndarray, patch_size: int) -> np.ndarray:
  """Lists the photograph of each patch of an epoch: int [K, 2] sizes of photographs -> int [L]."""
  photos, _ = order.visits(sizes, patch_size, 1)
  return photos


def draw(
  photos: Photos,
  slots: Slots,
  key: jax.Array,
  step: jax.Array,
  *,
  rows: int,
  patch_size: int,
  min_scale: float,
  epochs: int = 2,
) -> jax.Array:
  """Draws the patches of a step: uint8 [rows, patch_size, patch_size, 3].

  Args:
    photos, slots: of the share, for this size of patches.
    key: of the run and the share.
    step: int32 [].
    min_scale: as for `patches.training_patches`.
    epochs: how many a batch may touch, see `epochs_touched`.
  """
  key_order, key_draws = jax.random.split(key)
  chosen = choose(slots, key_order, step, rows, epochs)
  draws = jax.random.uniform(jax.random.fold_in(key_draws, step), (rows, 5))
  return cut(photos, chosen, draws, patch_size=patch_size, min_scale=min_scale)


def epochs_touched(rows: int, slots: int) -> int:
  """Counts the epochs that a batch of so many rows can hold patches of."""
  return (rows - 1) // slots + 2


def choose(slots: Slots, key: jax.Array, step: jax.Array, rows: int, epochs: int = 2) -> jax.Array:
  """Gives the photographs, int32 [rows], of patches step * rows, ... of epochs in a row."""
  first = step * rows
  epoch = first // slots.length
  positions = first - epoch * slots.length + jnp.arange(rows)
  is_slot = jnp.arange(len(slots.photos)) < slots.length

  def shuffled(number):
    ranks = jax.random.uniform(jax.random.fold_in(key, number), slots.photos.shape)
    return jnp.argsort(jnp.where(is_slot, ranks, 2.0))

  orders = jax.vmap(shuffled)(epoch + jnp.arange(epochs))
  return slots.photos[orders[positions // slots.length, positions % slots.length]]


def cut(
  photos: Photos, chosen: jax.Array, draws: jax.Array, *, patch_size: int, min_scale: float
) -> jax.Array:
  """Cuts a patch of each chosen photograph as `crops.write_patch` does, by the same numbers.

  Shrinking is a product with Lanczos weights on either side of a window that holds the largest
  crop there can be; what it holds beside the crop has weight zero.

  Args:
    photos: of the share.
    chosen: int32 [B].
    draws: float32 [B, 5] in [0, 1): top, left, vertical flip, horizontal flip, scale.
    patch_size: P.
    min_scale: the smallest scale.
  Returns:
    uint8 [B, P, P, 3].
  """
  heights, widths = photos.heights[chosen], photos.widths[chosen]
  # A photograph smaller than the patch is continued by reflection.
  reach = [jnp.maximum(sides, patch_size) for sides in (heights, widths)]
  crops = jnp.round(patch_size * min_scale ** -draws[:, 4]).astype(jnp.int32)
  crops = jnp.minimum(jnp.maximum(crops, patch_size), jnp.minimum(*reach))
  window = round(patch_size / min_scale)
  rows, columns = (
    _reflected(_positions(draws[:, i], draws[:, i + 2] < 0.5, crops, reach[i], window), sides)
    for i, sides in enumerate((heights, widths))
  )
  places = photos.firsts[chosen, None, None] + rows[:, :, None] * widths[:, None, None]
  region = photos.pixels[places + columns[:, None, :]]
  if window == patch_size:
    return region
  weights = jax.vmap(_shrinking_weights, (0, None, None))(crops, patch_size, window)
  shrink = lambda equation, x: jnp.einsum(equation, weights, x, precision=Precision.HIGHEST)
  x = shrink("bpi,bijc->bpjc", region.astype(jnp.float32))
  x = shrink("bqj,bpjc->bpqc", x)
  return jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)


def _positions(draws, flips, crops, sides, window: int) -> jax.Array:
  """Along one axis, what each of the window's pixels shows: [B] each -> int32 [B, window]."""
  room = sides - crops
  first = jnp.minimum((draws * (room + 1)).astype(jnp.int32), room)
  steps = jnp.arange(window)
  steps = jnp.where(flips[:, None], crops[:, None] - 1 - steps, steps)
  return first[:, None] + steps


def _reflected(positions: jax.Array, sides: jax.Array) -> jax.Array:
  """Positions [B, n] brought into [0, side) by reflection, the border pixel not repeated."""
  last = sides[:, None] - 1
  folded = positions % jnp.maximum(2 * last, 1)
  return jnp.where(last > 0, jnp.minimum(folded, 2 * last - folded), 0)


def _shrinking_weights(crop: jax.Array, size: int, window: int) -> jax.Array:
  """Pillow's Lanczos weights: float32 [size, window], of the first `crop` pixels."""
  scale = crop / size
  centers = (jnp.arange(size)[:, None] + 0.5) * scale
  support = _LANCZOS_LOBES * scale
  pixels = jnp.arange(window)[None]
  begin = jnp.maximum(jnp.floor(centers - support + 0.5), 0)
  end = jnp.minimum(jnp.floor(centers + support + 0.5), crop)
  x = (pixels - centers + 0.5) / scale
  weights = jnp.sinc(x) * jnp.sinc(x / _LANCZOS_LOBES)
  weights = jnp.where((pixels >= begin) & (pixels < end), weights, 0.0)
  return weights / jnp.sum(weights, axis=1, keepdims=True)
