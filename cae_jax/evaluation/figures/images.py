"""Pictures beside pictures: the paper's figures 5 and 7."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cae_jax.evaluation.figures import drawing

# A row of an image figure: what is shown for one image by one method.
Shown = tuple[np.ndarray | None, str]


def reconstructions(
  originals: Sequence[np.ndarray],
  decoded: Sequence[np.ndarray],
  captions: Sequence[str],
) -> Figure:
  """Draws originals, reconstructions, and the spot with the largest error enlarged (figure 5).

  Args:
    originals, decoded: uint8 [H, W, 3] each; the first four are shown.
    captions: of the reconstructions, with rate and PSNR.
  Raises:
    ValueError: no images, or not as many of each.
  """
  if not originals or not len(originals) == len(decoded) == len(captions):
    counts = f"{len(originals)}, {len(decoded)} and {len(captions)}"
    raise ValueError(f"expected originals, reconstructions and captions of one count, got {counts}")
  columns = list(zip(originals, decoded, captions))[:4]
  tallest = min(1.0, max(x.shape[0] / x.shape[1] for x, _, _ in columns))
  heights = (tallest, tallest, 0.52)  # of the rows, in widths of a column; the last is a pair
  figure = drawing.figure(4.0 * len(columns), 4.0 * sum(heights) + 1.0)
  grid = figure.subplots(3, len(columns), squeeze=False, height_ratios=heights)
  for axes, (x, x_hat, caption) in zip(grid.T, columns):
    spot = _worst_spot(x, x_hat)
    _picture(axes[0], x, "original")
    _picture(axes[1], x_hat, caption)
    for shown in axes[:2]:
      shown.add_patch(Rectangle(spot[:2], spot[2], spot[2], fill=False, ec="#F0E442", lw=1.5))
    gap = np.full((spot[2], max(2, spot[2] // 24), 3), 255, np.uint8)
    pair = np.concatenate([_crop(x, spot), gap, _crop(x_hat, spot)], axis=1)
    _picture(axes[2], pair, "original | reconstruction, enlarged", interpolation="nearest")
  return figure


def methods_on_images(
  originals: Mapping[str, np.ndarray], methods: Mapping[str, Mapping[str, Shown]]
) -> Figure:
  """Draws each method's reconstruction of each image, side by side (figure 7).

  Args:
    originals: name of the image -> uint8 [H, W, 3]; the paper shows three.
    methods: method -> name of the image -> (uint8 [H, W, 3], caption with rate and PSNR); the
      picture may be None, the caption then says why (codec not installed).
  Raises:
    ValueError: there are no images.
  """
  if not originals:
    raise ValueError("expected at least one image, got none")
  widest = max(x.shape[1] / x.shape[0] for x in originals.values())
  height = sum(min(3.2 / x.shape[1] * x.shape[0], 4.2) + 0.55 for x in originals.values())
  figure = drawing.figure(3.3 * min(1.0, widest) * (len(methods) + 1), height)
  ratios = [min(x.shape[0] / x.shape[1], 4.2 / 3.2) + 0.17 for x in originals.values()]
  grid = figure.subplots(len(originals), len(methods) + 1, squeeze=False, height_ratios=ratios)
  for row, (name, x) in zip(grid, originals.items()):
    _picture(row[0], x, f"{name}\noriginal")
    for axes, (method, shown) in zip(row[1:], methods.items()):
      x_hat, caption = shown.get(name, (None, "not measured"))
      if x_hat is None:
        _no_picture(axes, f"{method}\n", caption, x.shape[0] / x.shape[1])
      else:
        _picture(axes, x_hat, f"{method}\n{caption}")
  return figure


def _picture(axes: Axes, x: np.ndarray, title: str, interpolation: str = "antialiased") -> None:
  axes.imshow(x, interpolation=interpolation)
  axes.set_title(title, fontsize=10)
  axes.set_anchor("S")  # what room there is belongs to the title
  axes.set_axis_off()


def _no_picture(axes: Axes, title: str, words: str, aspect: float) -> None:
  axes.set_title(title, fontsize=10)
  axes.set_box_aspect(aspect)
  lines = textwrap.fill(words, 34, break_long_words=False)
  axes.text(0.5, 0.5, lines, ha="center", va="center", fontsize=9)
  axes.set_xticks([])
  axes.set_yticks([])


def _worst_spot(x: np.ndarray, x_hat: np.ndarray) -> tuple[int, int, int]:
  """Left, top and side of the square with the largest squared error, on a grid of half a side."""
  side = min(*x.shape[:2], 96)
  error = np.square(x.astype(np.float64) - x_hat).sum(axis=-1)
  tops = range(0, x.shape[0] - side + 1, max(1, side // 2))
  lefts = range(0, x.shape[1] - side + 1, max(1, side // 2))
  spots = [(left, top, side) for top in tops for left in lefts]
  return max(spots, key=lambda s: error[s[1] : s[1] + side, s[0] : s[0] + side].sum())


def _crop(x: np.ndarray, spot: tuple[int, int, int]) -> np.ndarray:
  left, top, side = spot
  return x[top : top + side, left : left + side]
