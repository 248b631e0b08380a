"""Blocks of levels of photographs, with the errors of their linear predictions.

What the networks of the lossless model learn from. The linear stage is fitted once to each
photograph and kept beside it, in flat files that are mapped to memory. Photographs were mostly
compressed before, and their last bits are not natural: they are shrunk first.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from cae_jax.data.views import ImageSource
from cae_jax.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from cae_jax.images.files import replace_atomically
from cae_jax.models.lossless import linear, passes
from cae_jax.models.lossless.model import finest_blocks
from cae_jax.models.lossless.phases import MARGIN, PARITIES, plane_shape

# Shares of the levels but the finest among the blocks of all these: the coarser are fewer in an
# image, but have more to learn from each.
_COARSER_SHARES = (0.67, 0.22, 0.08, 0.03)
# Share of the photographs that come a second time, coded in steps; and of blocks taken from these.
_STEPPED, _STEPPED_BLOCKS = 0.5, 0.2
_MOST_ERROR = 12
# Green says most of the others and comes first.
CHANNEL_ORDER = (1, 0, 2)
# By which photographs are shrunk: mostly the sharpest.
_FILTERS = [Image.Resampling.LANCZOS] * 3 + [Image.Resampling.BICUBIC, Image.Resampling.BOX]
_KEPT_LEVELS = 1 + len(_COARSER_SHARES)


class Blocks(TypedDict):
  """B blocks of one level each, S' = S + 2 MARGIN rows and columns of its planes.

  Blocks of the finest level come first, as many as `finest_blocks` says.

  Attributes:
    values: uint8 [B, 4, 3, S', S'], the four planes.
    known: same, what a decoder has of them.
    errors: int16, same shape, of the linear predictions of what is known, in eighths.
    log_sizes: float32 [B, 3, 3], of phases and channels: mean sizes of the photograph's errors at
      this level, log2 in eighths.
    level, step: int32 [B]; values are coded in steps, see `passes.Precision`.
    coded: float32 [B, 3], which channels are coded: of grey only the first.
  """

  values: np.ndarray
  known: np.ndarray
  errors: np.ndarray
  log_sizes: np.ndarray
  level: np.ndarray
  step: np.ndarray
  coded: np.ndarray


class BlockStore:
  """Photographs with their errors, in a folder.

  Attributes:
    shapes: int [N, 2], heights and widths.
    log_sizes: float32 [N, L, 3, 3].
    steps: int [N], in which photographs are coded.
    grey: bool [N].
    values, known, errors: of each photograph uint8, uint8 and int16 [3, H, W].
  """

  def __init__(self, folder: str | os.PathLike):
    """Opens a folder that `prepare` wrote."""
    folder = pathlib.Path(folder)
    content = np.load(folder / "index.npz")
    self.shapes, self.log_sizes = content["shapes"], content["log_sizes"]
    self.steps, self.grey = content["steps"], content["grey"]
    self.values = _arrays(folder / "values.u8", np.uint8, self.shapes)
    self.known = _arrays(folder / "known.u8", np.uint8, self.shapes)
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
  subsampled: float = 0.25,
  grey: float = 0.06,
  seed: int = 0,
) -> BlockStore:
  """Writes the files of a `BlockStore`, unless the folder has them for these settings.

  Args:
    source: photographs.
    folder: made if it is not there; about 18 bytes a pixel of what is left.
    shrink: each is shrunk by a factor from here to there, and turned at random.
    subsampled: share of photographs whose chroma has half the resolution, as it has in most that
      come from a camera's or a scanner's files.
    grey: share of photographs made grey.
    seed: of all that is random.
  """
  folder = pathlib.Path(folder)
  settings = {
    "images": len(source),
    "shrink": list(shrink),
    "subsampled": subsampled,
    "grey": grey,
    "seed": seed,
    **_linear_settings(),
  }
  description = folder / "settings.json"
  if description.exists() and json.loads(description.read_text()) == settings:
    return BlockStore(folder)
  folder.mkdir(parents=True, exist_ok=True)
  description.unlink(missing_ok=True)
  index: dict[str, list] = {"shapes": [], "log_sizes": [], "steps": [], "grey": []}
  with contextlib.ExitStack() as stack:
    values, known, errors = (
      stack.enter_context(open(folder / name, "wb"))
      for name in ("values.u8", "known.u8", "errors.i16")
    )
    for x, step in tqdm(_varied(source, shrink, subsampled, grey, seed), unit="image"):
      channels = len(x)
      side = passes.side_of(x, passes.Precision(step=step))
      coded = linear.code_linearly(x, side.coefficients, step)
      as_three = lambda a: np.broadcast_to(a, (3, *a.shape[1:]))
      values.write(as_three(x).tobytes())
      known.write(as_three(coded.known.astype(np.uint8)).tobytes())
      errors.write(as_three(coded.errors.astype(np.int16)).tobytes())
      index["shapes"].append(x.shape[1:])
      index["log_sizes"].append(_of_kept_levels(side.log_sizes))
      index["steps"].append(step)
      index["grey"].append(channels == 1)
  arrays: Any = {name: np.array(of) for name, of in index.items()}
  np.savez(folder / "index.npz", **arrays)
  with replace_atomically(description) as temporary:
    temporary.write_text(json.dumps(settings))
  return BlockStore(folder)


def _linear_settings() -> dict:
  return {
    "neighbours": list(linear.NEIGHBOURS),
    "fitted_levels": linear.FITTED_LEVELS,
    "stepped": [_STEPPED, _MOST_ERROR],
  }


def _of_kept_levels(log_sizes: np.ndarray) -> np.ndarray:
  levels = np.minimum(np.arange(_KEPT_LEVELS), len(log_sizes) - 1)
  return np.broadcast_to(log_sizes[levels], (_KEPT_LEVELS, 3, 3)).astype(np.float32)


def _varied(
  source: ImageSource, shrink: tuple[float, float], subsampled: float, grey: float, seed: int
) -> Iterator[tuple[np.ndarray, int]]:
  """uint8 [3, H, W] (or [1, H, W], grey) of each photograph, in the order of coding; and a step.

  Some come a second time, otherwise varied, to be coded in steps of more than 1.
  """
  for index in range(len(source)):
    image = source[index]["image"]
    rng = np.random.default_rng([seed, index])
    yield _vary(image, shrink, subsampled, grey, rng), 1
    if rng.random() < _STEPPED:
      largest_error = int(np.exp(rng.uniform(0, np.log(_MOST_ERROR + 1))))
      yield _vary(image, shrink, subsampled, grey, rng), 2 * largest_error + 1


def _vary(
  image: np.ndarray, shrink: tuple[float, float], subsampled: float, grey: float, rng
) -> np.ndarray:
  """Shrinks, sharpens, brightens and turns a photograph as other cameras or editors would."""
  factor = rng.uniform(*shrink)
  size = tuple(max(1, round(side / factor)) for side in reversed(image.shape[:2]))
  picture = Image.fromarray(image).resize(size, Image.Resampling(rng.choice(_FILTERS)))
  if rng.random() < 0.2:
    sharper = ImageFilter.UnsharpMask(rng.uniform(0.5, 1.5), int(rng.integers(20, 80)), 0)
    picture = picture.filter(sharper)
  image = np.asarray(picture)
  if rng.random() < 0.3:
    gamma, gain = rng.uniform(0.7, 1.4), rng.uniform(0.6, 1.1)
    image = np.clip(np.rint(255 * gain * (image / np.float32(255)) ** gamma), 0, 255)
    image = image.astype(np.uint8)
  if rng.random() < subsampled:
    image = subsample_chroma(image, rng)
  if rng.random() < grey:
    x = np.asarray(Image.fromarray(image).convert("L"))[None]
  else:
    x = image.transpose(2, 0, 1)[list(CHANNEL_ORDER)]
  x = x[:, :: rng.choice([1, -1]), :: rng.choice([1, -1])]
  return np.ascontiguousarray(x if rng.integers(2) else x.transpose(0, 2, 1))


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
    pixels, stepped = store.shapes.prod(1).astype(np.float64), store.steps > 1
    for of, share in ((stepped, _STEPPED_BLOCKS), (~stepped, 1 - _STEPPED_BLOCKS)):
      pixels[of] *= share / max(pixels[of].sum(), 1)
    self._shares = pixels / pixels.sum()
    self._number = 0

  def __next__(self) -> Blocks:
    rng = np.random.default_rng([self._seed, self._number])
    self._number += 1
    finest = finest_blocks(self._batch_size)
    return _stack([self._draw(rng, i < finest) for i in range(self._batch_size)])

  def get_state(self) -> dict[str, int]:
    return {"number": self._number}

  def set_state(self, state: dict[str, int]) -> None:
    self._number = state["number"]

  def _draw(self, rng: np.random.Generator, finest: bool) -> dict:
    store = self._store
    index = rng.choice(len(self._shares), p=self._shares)
    level = 0 if finest else 1 + int(rng.choice(len(_COARSER_SHARES), p=_COARSER_SHARES))
    shape = store.shapes[index]
    while level > 1 and min(shape) >> (level + 1) < self._side:
      level -= 1
    first = [int(rng.integers(0, max(1, (n >> (level + 1)) - self._side + 1))) for n in shape]
    flips = rng.integers(2, size=2).tolist()
    cut = lambda images: _cut(images[index], shape, level, first, flips, self._side)
    return {
      "values": cut(store.values),
      "known": cut(store.known),
      "errors": cut(store.errors),
      "log_sizes": store.log_sizes[index, level],
      "level": np.int32(level),
      "step": np.int32(store.steps[index]),
      "coded": np.array([1, 0, 0] if store.grey[index] else [1, 1, 1], np.float32),
    }


def _cut(image: np.ndarray, shape: np.ndarray, level: int, first, flips, side: int) -> np.ndarray:
  """The four planes of a block: [4, 3, S', S'] of an image [3, H, W]."""
  step = 2**level
  of_level = tuple(-(-n // step) for n in shape.tolist())
  size = side + 2 * MARGIN
  planes = np.empty((4, 3, size, size), image.dtype)
  for plane, parity in enumerate(PARITIES):
    places = [
      2 * step * _places(start, flip, odd, side, length) + step * odd
      for start, flip, odd, length in zip(first, flips, parity, plane_shape(of_level, plane))
    ]
    # A box first: of a mapped file, only what is in it gets read.
    low = [p.min() for p in places]
    box = (slice(None), *(slice(p.min(), p.max() + 1) for p in places))
    planes[plane] = image[box][np.ix_(range(3), *(p - n for p, n in zip(places, low)))]
  return planes


def _places(start: int, flip: int, odd: int, side: int, length: int) -> np.ndarray:
  """Rows (or columns) of a plane for a block with margins; beyond borders the last again.

  Flipped, pixel 2 i + odd is where 2 (c - i - odd) + odd was: the phases stay what they are.
  """
  along = np.arange(-MARGIN, side + MARGIN)
  places = start + side - 1 - odd - along if flip else start + along
  return np.clip(places, 0, length - 1)


def _stack(blocks: list[dict]) -> Blocks:
  names = Blocks.__annotations__
  stacked: Any = {name: np.stack([block[name] for block in blocks]) for name in names}
  return stacked


def validation_batches(
  store: BlockStore, count: int, batch_size: int, side: int = 16, seed: int = 1
) -> list[dict]:
  """Returns the same blocks at every call, each of mask 1."""
  blocks = BlockIterator(store, batch_size, side, seed)
  return [{**next(blocks), "mask": np.ones(batch_size, np.float32)} for _ in range(count)]
