"""Blocks of levels of photographs, with the errors of their linear predictions.

What the networks of the lossless model learn from. The linear stage is fitted once to each
photograph and kept beside it, in flat files that are mapped to memory. Photographs were mostly
compressed before, and their last bits are not natural: they are shrunk first.
"""

import json
import os
import pathlib
from collections.abc import Iterator
from typing import TypedDict

import numpy as np
from PIL import Image

from cae_jax.data.views import ImageSource
from cae_jax.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from cae_jax.images.files import replace_atomically
from cae_jax.models.lossless import linear
from cae_jax.models.lossless.phases import MARGIN, PARITIES, plane_shape

# Shares of the levels among blocks, the finest first: the coarser are fewer in an image, but have
# more to learn from each.
LEVEL_SHARES = (0.64, 0.24, 0.08, 0.03, 0.01)
# Green says most of the others and comes first.
CHANNEL_ORDER = (1, 0, 2)
_KEPT_LEVELS = len(LEVEL_SHARES)


class Blocks(TypedDict):
  """B blocks of one level each, S + 2 MARGIN rows and columns of its planes.

  values: uint8 [B, 4, 3, S', S'], the four planes. errors: int16, same shape, of the linear
  predictions, in eighths. log_sizes: float32 [B, 3, 3], of phases and channels: mean sizes of the
  photograph's errors at this level, log2 in eighths. level: int32 [B].
  """

  values: np.ndarray
  errors: np.ndarray
  log_sizes: np.ndarray
  level: np.ndarray


class BlockStore:
  """Photographs with their errors, in a folder.

  Attributes:
    shapes: int [N, 2], heights and widths.
    log_sizes: float32 [N, L, 3, 3].
    values, errors: of each photograph uint8 and int16 [3, H, W].
  """

  def __init__(self, folder: str | os.PathLike):
    """Opens a folder that `prepare` wrote."""
    folder = pathlib.Path(folder)
    content = np.load(folder / "index.npz")
    self.shapes, self.log_sizes = content["shapes"], content["log_sizes"]
    self.values = _arrays(folder / "values.u8", np.uint8, self.shapes)
    self.errors = _arrays(folder / "errors.i16", np.int16, self.shapes)

  def __len__(self) -> int:
    return len(self.shapes)


def _arrays(path: pathlib.Path, dtype: type, shapes: np.ndarray) -> list[np.ndarray]:
  flat = np.memmap(path, dtype, "r")
  ends = np.cumsum(3 * shapes.prod(1))
  return [
    flat[end - 3 * h * w : end].reshape(3, h, w) for end, (h, w) in zip(ends, shapes.tolist())
  ]


def prepare(
  source: ImageSource,
  folder: str | os.PathLike,
  shrink: tuple[float, float] = (1.5, 2.0),
  subsampled: float = 0.2,
  seed: int = 0,
) -> BlockStore:
  """Writes the files of a `BlockStore`, unless the folder has them for these settings.

  Args:
    source: photographs.
    folder: made if it is not there; about 9 bytes a pixel of what is left.
    shrink: each is shrunk by a factor from here to there, and turned at random.
    subsampled: share of photographs whose chroma has half the resolution, as it has in most that
      come from a camera's or a scanner's files.
    seed: of all that is random.
  """
  folder = pathlib.Path(folder)
  settings = {
    "images": len(source),
    "shrink": list(shrink),
    "subsampled": subsampled,
    "seed": seed,
    **_linear_settings(),
  }
  description = folder / "settings.json"
  if description.exists() and json.loads(description.read_text()) == settings:
    return BlockStore(folder)
  folder.mkdir(parents=True, exist_ok=True)
  description.unlink(missing_ok=True)
  shapes, log_sizes = [], []
  with open(folder / "values.u8", "wb") as values, open(folder / "errors.i16", "wb") as errors:
    for x in _varied(source, shrink, subsampled, seed):
      error, sizes = linear.error_map(x, linear.fit_image(x))
      values.write(x.tobytes())
      errors.write(error.tobytes())
      shapes.append(x.shape[1:])
      log_sizes.append(_of_kept_levels(linear.log_sizes(sizes)))
  np.savez(folder / "index.npz", shapes=np.array(shapes), log_sizes=np.array(log_sizes))
  with replace_atomically(description) as temporary:
    temporary.write_text(json.dumps(settings))
  return BlockStore(folder)


def _linear_settings() -> dict:
  return {"neighbours": list(linear.NEIGHBOURS), "fitted_levels": linear.FITTED_LEVELS}


def _of_kept_levels(log_sizes: np.ndarray) -> np.ndarray:
  levels = np.minimum(np.arange(_KEPT_LEVELS), len(log_sizes) - 1)
  return log_sizes[levels].astype(np.float32)


def _varied(
  source: ImageSource, shrink: tuple[float, float], subsampled: float, seed: int
) -> Iterator[np.ndarray]:
  """uint8 [3, H, W] of each photograph, in the order of coding."""
  for index in range(len(source)):
    image = source[index]["image"]
    rng = np.random.default_rng([seed, index])
    factor = rng.uniform(*shrink)
    height, width = (max(1, round(side / factor)) for side in image.shape[:2])
    image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    if rng.random() < subsampled:
      image = subsample_chroma(image, rng)
    x = image.transpose(2, 0, 1)[list(CHANNEL_ORDER)]
    x = x[:, :: rng.choice([1, -1]), :: rng.choice([1, -1])]
    yield np.ascontiguousarray(x if rng.integers(2) else x.transpose(0, 2, 1))


def subsample_chroma(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Halves the resolution of chroma and brings it back, as common decoders do.

  Down both or one of the axes; samples at every other pixel or between pixels; repeated or
  interpolated, rounded before or not.

  Args:
    image: uint8 [H, W, 3].
    rng: draws which.
  """
  ycbcr = np.array(rgb_to_ycbcr(image.astype(np.float32)))
  axes = (0, 1) if rng.random() < 0.75 else (int(rng.integers(2)),)
  between, repeated, rounded = rng.random(3) < (0.5, 0.2, 0.5)
  for c in (1, 2):
    half = ycbcr[..., c]
    for axis in axes:
      half = _halved(half, axis, between)
    half = np.rint(half) if rounded else half
    for axis in reversed(axes):
      half = _doubled(half, axis, image.shape[axis], between, repeated)
    ycbcr[..., c] = half
  return np.clip(np.rint(ycbcr_to_rgb(ycbcr)), 0, 255).astype(np.uint8)


def _halved(x: np.ndarray, axis: int, between: bool) -> np.ndarray:
  x = np.moveaxis(x, axis, 0)
  x = np.concatenate([x, x[-1:]]) if len(x) % 2 else x
  before = np.concatenate([x[:1], x[1:-1:2]])
  even, odd = x[::2], x[1::2]
  half = (even + odd) / 2 if between else (before + 2 * even + odd) / 4
  return np.moveaxis(half, 0, axis)


def _doubled(x: np.ndarray, axis: int, length: int, between: bool, repeated: bool) -> np.ndarray:
  x = np.moveaxis(x, axis, 0)
  before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
  if repeated:
    pair = x, x
  elif between:
    pair = (before + 3 * x) / 4, (3 * x + after) / 4
  else:
    pair = x, (x + after) / 2
  doubled = np.stack(pair, 1).reshape(-1, *x.shape[1:])[:length]
  return np.moveaxis(doubled, 0, axis)


class BlockIterator(Iterator[Blocks]):
  """An endless, resumable stream of batches; a batch depends on the seed and its number alone."""

  def __init__(self, store: BlockStore, batch_size: int, side: int = 16, seed: int = 0):
    """`side` is of a block, in positions of its planes: 2 `side` pixels of its level."""
    self._store, self._batch_size, self._side, self._seed = store, batch_size, side, seed
    pixels = store.shapes.prod(1)
    self._shares = pixels / pixels.sum()
    self._number = 0

  def __next__(self) -> Blocks:
    rng = np.random.default_rng([self._seed, self._number])
    self._number += 1
    return _stack([self._draw(rng) for _ in range(self._batch_size)])

  def get_state(self) -> dict[str, int]:
    return {"number": self._number}

  def set_state(self, state: dict[str, int]) -> None:
    self._number = state["number"]

  def _draw(self, rng: np.random.Generator) -> tuple:
    index = rng.choice(len(self._shares), p=self._shares)
    level = int(rng.choice(_KEPT_LEVELS, p=LEVEL_SHARES))
    shape = self._store.shapes[index]
    while level and min(shape) >> (level + 1) < self._side:
      level -= 1
    first = [int(rng.integers(0, max(1, (n >> (level + 1)) - self._side + 1))) for n in shape]
    flips = rng.integers(2, size=2).tolist()
    return (*_cut(self._store, index, level, first, flips, self._side), level)


def _cut(store: BlockStore, index: int, level: int, first, flips, side: int) -> tuple:
  """Values and errors [4, 3, S', S'], and log sizes [3, 3]."""
  step = 2**level
  shape = tuple(-(-n // step) for n in store.shapes[index].tolist())
  size = side + 2 * MARGIN
  values, errors = np.empty((4, 3, size, size), np.uint8), np.empty((4, 3, size, size), np.int16)
  for plane, parity in enumerate(PARITIES):
    places = [
      2 * step * _places(start, flip, odd, side, length) + step * odd
      for start, flip, odd, length in zip(first, flips, parity, plane_shape(shape, plane))
    ]
    # A box first: of a mapped file, only what is in it gets read.
    low = [p.min() for p in places]
    box = (slice(None), *(slice(p.min(), p.max() + 1) for p in places))
    grid = np.ix_(range(3), *(p - n for p, n in zip(places, low)))
    values[plane] = store.values[index][box][grid]
    errors[plane] = store.errors[index][box][grid]
  return values, errors, store.log_sizes[index, level]


def _places(start: int, flip: int, odd: int, side: int, length: int) -> np.ndarray:
  """Rows (or columns) of a plane for a block with margins; beyond borders the last again.

  Flipped, pixel 2 i + odd is where 2 (c - i - odd) + odd was: the phases stay what they are.
  """
  along = np.arange(-MARGIN, side + MARGIN)
  places = start + side - 1 - odd - along if flip else start + along
  return np.clip(places, 0, length - 1)


def _stack(blocks: list[tuple]) -> Blocks:
  values, errors, log_sizes, levels = zip(*blocks)
  return {
    "values": np.stack(values),
    "errors": np.stack(errors),
    "log_sizes": np.stack(log_sizes),
    "level": np.array(levels, np.int32),
  }


def validation_batches(
  store: BlockStore, count: int, batch_size: int, side: int = 16, seed: int = 1
) -> list[dict]:
  """Returns the same blocks at every call, each of mask 1."""
  blocks = BlockIterator(store, batch_size, side, seed)
  return [{**next(blocks), "mask": np.ones(batch_size, np.float32)} for _ in range(count)]
