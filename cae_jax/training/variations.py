"""Photographs as other cameras, editors and files would have left them, to learn from.

They were mostly compressed before, and their last bits are not natural: they are shrunk first.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from cae_jax.data.crops import center_crop
from cae_jax.data.views import ImageSource
from cae_jax.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from cae_jax.models.lossless.phases import CHANNEL_ORDER

STEPPED = 0.5  # share of the photographs that come a second time, coded in steps
MOST_ERROR = 12  # of these
# By which photographs are shrunk: mostly the sharpest.
_FILTERS = [Image.Resampling.LANCZOS] * 3 + [Image.Resampling.BICUBIC, Image.Resampling.BOX]


@dataclasses.dataclass(frozen=True)
class Variation:
  """How photographs become what is learnt from.

  Attributes:
    shrink: each is shrunk by a factor from here to there, and turned at random.
    subsampled: share of photographs whose chroma has half the resolution, as it has in most that
      come from a camera's or a scanner's files.
    grey: share of photographs made grey.
    seed: of all that is random.
  """

  shrink: tuple[float, float] = (1.5, 2.0)
  subsampled: float = 0.25
  grey: float = 0.06
  seed: int = 0


def varied(
  image: np.ndarray, number: int, variation: Variation
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields one or two variants of a photograph, the second to be coded in steps of more than 1.

  Args:
    image: uint8 [H, W, 3].
    number: of the photograph; with the seed it says all that is random.
    variation: see there.
  Yields:
    uint8 [3, H, W], channels in the order of coding (or [1, H, W], grey), and the step.
  """
  rng = np.random.default_rng([variation.seed, number])
  yield _vary(image, variation, rng), 1
  if rng.random() < STEPPED:
    largest_error = int(np.exp(rng.uniform(0, np.log(MOST_ERROR + 1))))
    yield _vary(image, variation, rng), 2 * largest_error + 1


def _vary(image: np.ndarray, variation: Variation, rng: np.random.Generator) -> np.ndarray:
  """Shrinks, sharpens, brightens and turns a photograph as other cameras or editors would."""
  picture = _shrunk(image, rng.uniform(*variation.shrink), Image.Resampling(rng.choice(_FILTERS)))
  if rng.random() < 0.2:
    sharper = ImageFilter.UnsharpMask(rng.uniform(0.5, 1.5), int(rng.integers(20, 80)), 0)
    picture = picture.filter(sharper)
  image = np.asarray(picture)
  if rng.random() < 0.3:
    gamma, gain = rng.uniform(0.7, 1.4), rng.uniform(0.6, 1.1)
    image = np.clip(np.rint(255 * gain * (image / np.float32(255)) ** gamma), 0, 255)
    image = image.astype(np.uint8)
  if rng.random() < variation.subsampled:
    image = subsample_chroma(image, rng)
  if rng.random() < variation.grey:
    x = np.asarray(Image.fromarray(image).convert("L"))[None]
  else:
    x = image.transpose(2, 0, 1)[list(CHANNEL_ORDER)]
  x = x[:, :: rng.choice([1, -1]), :: rng.choice([1, -1])]
  return np.ascontiguousarray(x if rng.integers(2) else x.transpose(0, 2, 1))


def _shrunk(image: np.ndarray, factor: float, resampling: Image.Resampling) -> Image.Image:
  size = tuple(max(1, round(side / factor)) for side in reversed(image.shape[:2]))
  return Image.fromarray(image).resize(size, resampling)


def typical_crops(
  source: ImageSource, variation: Variation, count: int, side: int
) -> Iterator[np.ndarray]:
  """Yields the centres of some photographs, shrunk and not varied otherwise.

  Args:
    source: photographs, at least one.
    variation: says how far they are shrunk: by the middle factor.
    count: how many, if there are as many.
    side: of a crop; smaller photographs are continued by reflection.
  Yields:
    uint8 [side, side, 3] each.
  """
  factor = float(np.sqrt(np.prod(variation.shrink)))
  for index in np.linspace(0, len(source) - 1, min(count, len(source))).astype(int).tolist():
    picture = _shrunk(source[index]["image"], factor, Image.Resampling.LANCZOS)
    yield center_crop(np.asarray(picture), side)


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
