"""Blocks of levels of photographs, with the errors of their linear predictions.

What the networks of the lossless model learn from. The linear stage is fitted once to each
photograph and kept beside it, in flat files that are mapped to memory.
`variations` says how photographs are varied before.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cae_jax.data import position
from cae_jax.data.views import ImageSource, image_digests, image_sizes
from cae_jax.errors import UsageError
from cae_jax.models.lossless import linear, passes
from cae_jax.models.lossless.model import finest_blocks
from cae_jax.models.lossless.phases import MARGIN, PARITIES, plane_shape
from cae_jax.training import sharding, variations
from cae_jax.training.variations import Variation
from cae_jax.training.workdir import locked

# Shares of the levels but the finest among the blocks of all these: the coarser are fewer in an
# image, but have more to learn from each.
_COARSER_SHARES = (0.67, 0.22, 0.08, 0.03)
_STEPPED_BLOCKS = 0.2  # share of blocks from photographs that are coded in steps
_KEPT_LEVELS = 1 + len(_COARSER_SHARES)
_AS_DESCRIBED = Variation()
_INDEX = "index.jsonl"
_FILES = {"values.u8": np.uint8, "known.u8": np.uint8, "errors.i16": np.int16}


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
    fingerprint: of all that they depend on.
    shapes: int [N, 2], heights and widths.
    log_sizes: float32 [N, L, 3, 3].
    steps: int [N], in which photographs are coded.
    grey: bool [N].
    values, known, errors: of each photograph uint8, uint8 and int16 [3, H, W].
  """

  def __init__(self, folder: str | os.PathLike):
    """Opens a folder that `prepare` wrote."""
    folder = pathlib.Path(folder)
    self.fingerprint = folder.name
    entries = list(itertools.chain.from_iterable(_read_index(folder)))
    column = lambda name: np.array([entry[name] for entry in entries])
    self.shapes, self.log_sizes = column("shape"), column("log_sizes").astype(np.float32)
    self.steps, self.grey = column("step"), column("grey")
    self.values, self.known, self.errors = (
      _arrays(folder / name, dtype, self.shapes) for name, dtype in _FILES.items()
    )

  def __len__(self) -> int:
    return len(self.shapes)


def _arrays(path: pathlib.Path, dtype: type, shapes: np.ndarray) -> list[np.ndarray]:
  flat = np.memmap(path, dtype, "r")
  ends = np.cumsum(3 * shapes.prod(1))
  return [
    flat[end - 3 * h * w : end].reshape(3, h, w) for end, (h, w) in zip(ends, shapes.tolist())
  ]


def prepare(
  source: ImageSource, folder: str | os.PathLike, variation: Variation = _AS_DESCRIBED
) -> BlockStore:
  """Writes the files of a `BlockStore`, or what an interrupted call has left to do.

  Every process of a run takes part; the first one writes.

  Args:
    source: photographs.
    folder: has one folder for each choice of photographs and variation, made if it is not there;
      about 18 bytes a pixel of what is left.
    variation: of the photographs.
  Raises:
    UsageError: there are no photographs, or another process is at work in that folder.
  """
  if not len(source):
    raise UsageError("expected photographs to learn from, got an empty source")
  settings = _settings(source, variation)
  described = json.dumps(settings, sort_keys=True)
  folder = pathlib.Path(folder) / hashlib.sha256(described.encode()).hexdigest()[:16]
  if sharding.any_process(len(_read_index(folder)) < len(source)):
    with locked(folder):
      sharding.on_first_process(lambda: _write(source, folder, variation, settings))
  return BlockStore(folder)


def _settings(source: ImageSource, variation: Variation) -> dict[str, Any]:
  return {
    "photographs": hashlib.sha256(b"".join(image_digests(source))).hexdigest(),
    "sizes": hashlib.sha256(image_sizes(source).astype("<i8").tobytes()).hexdigest(),
    **dataclasses.asdict(variation),
    "neighbours": linear.NEIGHBOURS,
    "fitted_levels": linear.FITTED_LEVELS,
    "stepped": [variations.STEPPED, variations.MOST_ERROR],
  }


def _write(
  source: ImageSource, folder: pathlib.Path, variation: Variation, settings: dict[str, Any]
) -> None:
  """Goes on with the flat files of a folder; a photograph is in the index once it is in them."""
  done = _read_index(folder)
  (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
  _cut_back(folder, done)
  bar = tqdm(total=len(source), initial=len(done), desc="preparing photographs", unit="image")
  with bar, (folder / _INDEX).open("a") as index:
    for number in range(len(done), len(source)):
      entries = [
        _append(folder, x, step)
        for x, step in variations.varied(source[number]["image"], number, variation)
      ]
      index.write(json.dumps(entries) + "\n")
      index.flush()
      bar.update()


def _append(folder: pathlib.Path, x: np.ndarray, step: int) -> dict[str, Any]:
  """Appends a photograph [C, H, W], coded in steps, to the flat files; returns its entry."""
  side = passes.side_of(x, passes.Precision(step=step))
  coded = linear.code_linearly(x, side.coefficients, step)
  arrays = x, coded.known, coded.errors
  for (name, dtype), array in zip(_FILES.items(), arrays, strict=True):
    with (folder / name).open("ab") as file:
      file.write(np.broadcast_to(array.astype(dtype), (3, *x.shape[1:])).tobytes())
  return {
    "shape": x.shape[1:],
    "log_sizes": _of_kept_levels(side.log_sizes).tolist(),
    "step": step,
    "grey": len(x) == 1,
  }


def _read_index(folder: pathlib.Path) -> list[list[dict[str, Any]]]:
  """The entries of each photograph that is there; a last line that was cut does not count."""
  path = folder / _INDEX
  text = path.read_text() if path.exists() else ""
  return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _cut_back(folder: pathlib.Path, done: Sequence[Any]) -> None:
  """Drops from all files what was begun when a call was interrupted."""
  with (folder / _INDEX).open("ab+") as file:
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
  pixels = sum(entry["shape"][0] * entry["shape"][1] for entries in done for entry in entries)
  for name, dtype in _FILES.items():
    with (folder / name).open("ab") as file:
      file.truncate(3 * pixels * np.dtype(dtype).itemsize)


def _of_kept_levels(log_sizes: np.ndarray) -> np.ndarray:
  levels = np.minimum(np.arange(_KEPT_LEVELS), len(log_sizes) - 1)
  return np.broadcast_to(log_sizes[levels], (_KEPT_LEVELS, 3, 3))


class BlockIterator(Iterator[Blocks]):
  """An endless, resumable stream of batches; a batch depends on the seed and its number alone."""

  def __init__(
    self,
    store: BlockStore,
    batch_size: int,
    side: int = 16,
    seed: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
  ):
    """Begins with the first batch.

    Args:
      store: what blocks are cut from.
      batch_size: blocks in a batch of all processes together.
      side: of a block, in positions of its planes: 2 `side` pixels of its level.
      seed: of all draws.
      shard_index: number of this process, which gets a part of each batch.
      shard_count: number of processes.
    """
    self._store, self._batch_size, self._side = store, batch_size, side
    own = batch_size // shard_count
    self._own = slice(shard_index * own, (shard_index + 1) * own)
    pixels, stepped = store.shapes.prod(1).astype(np.float64), store.steps > 1
    for of, share in ((stepped, _STEPPED_BLOCKS), (~stepped, 1 - _STEPPED_BLOCKS)):
      pixels[of] *= share / max(pixels[of].sum(), 1)
    self._sums, self._coarser_sums = map(_summed, (pixels / pixels.sum(), _COARSER_SHARES))
    self._number = 0
    self._config: dict[str, Any] = {
      "photographs": store.fingerprint,
      "batch_size": batch_size,
      "side": side,
      "seed": seed,
    }

  def __next__(self) -> Blocks:
    rng = np.random.default_rng([self._config["seed"], self._number])
    self._number += 1
    finest = finest_blocks(self._batch_size)
    drawn = [self._draw(rng, i < finest) for i in range(self._batch_size)]
    return _stack([self._read(*places) for places in drawn[self._own]])

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs to continue with the batch that comes next."""
    return position.to_state(self._number, self._config)

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues where `get_state` was called; raises UsageError if that was of other blocks."""
    self._number = position.next_batch(state, self._config)

  def differences(self, state: dict[str, Any]) -> list[str]:
    """Says in what the blocks of a state are others than these; then it is of no use here."""
    return position.differences(state, self._config)

  def _draw(self, rng: np.random.Generator, finest: bool) -> tuple[int, int, list[int], list[int]]:
    """A photograph, a level, the first row and column, and whether each axis is flipped."""
    index = _choose(rng, self._sums)
    level = 0 if finest else 1 + _choose(rng, self._coarser_sums)
    shape = self._store.shapes[index].tolist()
    while level > 1 and min(shape) >> (level + 1) < self._side:
      level -= 1
    first = [int(rng.integers(0, max(1, (n >> (level + 1)) - self._side + 1))) for n in shape]
    return index, level, first, rng.integers(2, size=2).tolist()

  def _read(self, index: int, level: int, first: list[int], flips: list[int]) -> dict[str, Any]:
    store, step = self._store, int(self._store.steps[index])
    shape = store.shapes[index].tolist()
    axes = [_axis(*place, level, self._side) for place in zip(first, flips, shape)]
    values, errors = (_cut(images[index], *axes) for images in (store.values, store.errors))
    return {
      "values": values,
      "known": values if step == 1 else _cut(store.known[index], *axes),
      "errors": errors,
      "log_sizes": store.log_sizes[index, level],
      "level": np.int32(level),
      "step": np.int32(step),
      "coded": np.array([1, 0, 0] if store.grey[index] else [1, 1, 1], np.float32),
    }


def _summed(shares: npt.ArrayLike) -> np.ndarray:
  """For `_choose`: the sum of the shares up to each."""
  sums = np.cumsum(shares)
  return sums / sums[-1]


def _choose(rng: np.random.Generator, sums: np.ndarray) -> int:
  """Draws what `rng.choice` does, which would sum up the shares of all photographs every time."""
  return int(sums.searchsorted(rng.random(), side="right"))


def _cut(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
  """The four planes of a block: [4, 3, S', S'] of an image [3, H, W], places as of `_axis`."""
  top, left = rows.min(), columns.min()
  # A box first: of a mapped file, only what is in it gets read.
  box = image[:, top : rows.max() + 1, left : columns.max() + 1]
  found = box[:, (rows - top).reshape(-1, 1), (columns - left).reshape(-1)]
  size = rows.shape[1]
  planes = found.reshape(3, 2, size, 2, size).transpose(1, 3, 0, 2, 4)
  return np.stack([planes[parity] for parity in PARITIES])


def _axis(first: int, flip: int, length: int, level: int, side: int) -> np.ndarray:
  """Rows (or columns) of an image that a block's planes have, by parity: [2, S']."""
  step = 2**level
  of_level = -(-length // step)
  lengths = [plane_shape((of_level, of_level), plane)[0] for plane in (0, 1)]
  return np.stack(
    [
      2 * step * _places(first, flip, odd, side, lengths[odd]) + step * odd
      for odd in ((0, 1) if lengths[1] else (0, 0))  # of one row: no others
    ]
  )


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
