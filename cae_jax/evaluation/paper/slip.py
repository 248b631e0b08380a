"""The likeliest slip behind the paper's baselines: PSNR against the wrong picture.

The paper prints 7.7 to 13.7 dB for JPEG, JPEG 2000 and BPG, which no real codec gives. This module
measures what two slips would give: each decoded picture against the original of another image, and
an RGB array against the YCbCr array of the right one.
"""

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cae_jax.errors import UsageError
from cae_jax.evaluation.codecs.base import ImageCodec
from cae_jax.evaluation.figures import drawing
from cae_jax.evaluation.names import label
from cae_jax.evaluation.paper.table_1 import PAPER_TABLE_1
from cae_jax.evaluation.records import Setting
from cae_jax.evaluation.tables import markdown
from cae_jax.images import color, metrics

# A middle quality of each; the slips' figures hardly depend on it.
SETTINGS = {"jpeg": 30, "jpeg2000": 48, "bpg": 37}


@dataclasses.dataclass(frozen=True)
class Slip:
  """PSNRs of one codec, right and wrong, in dB.

  Attributes:
    codec, setting, version: what decoded the pictures.
    images: names of the originals.
    right: decoded against its own original.
    next_image: decoded against the original that follows (the last against the first).
    all_pairs: decoded against every other original, [i][j] for j != i.
    ycbcr: decoded RGB against its own original in YCbCr.
  """

  codec: str
  setting: Setting
  version: str
  images: tuple[str, ...]
  right: tuple[float, ...]
  next_image: tuple[float, ...]
  all_pairs: tuple[tuple[float, ...], ...]
  ycbcr: tuple[float, ...]


def landscape(x_uint8: np.ndarray) -> np.ndarray:
  """Turns a portrait picture by 90 degrees; the paper's arrays are all 512 x 768 x 3."""
  return np.rot90(x_uint8).copy() if x_uint8.shape[0] > x_uint8.shape[1] else x_uint8


def measure_slip(
  codec: ImageCodec, setting: Setting, images: Sequence[tuple[str, np.ndarray]]
) -> Slip:
  """Encodes and decodes every image, then takes PSNR against right and wrong references.

  Args:
    codec, setting: what to run.
    images: (name, uint8 [H, W, 3]); portraits are turned.
  Returns:
    `Slip`.
  Raises:
    UsageError: fewer than two images, or of different sizes even when turned.
    CodecError: the codec failed.
  """
  names = tuple(name for name, _ in images)
  originals = [landscape(x) for _, x in images]
  shapes = {x.shape for x in originals}
  if len(images) < 2 or len(shapes) != 1:
    raise UsageError(f"expected two or more images of one size, got {len(images)} of {shapes}")
  decoded = [codec.decode(codec.encode(x, setting)) for x in originals]
  pairs = [[metrics.psnr_db(x, x_hat) for x in originals] for x_hat in decoded]
  count = len(images)
  return Slip(
    codec=codec.name,
    setting=setting,
    version=codec.version,
    images=names,
    right=tuple(pairs[i][i] for i in range(count)),
    next_image=tuple(pairs[i][(i + 1) % count] for i in range(count)),
    all_pairs=tuple(
      tuple(value for j, value in enumerate(row) if j != i) for i, row in enumerate(pairs)
    ),
    ycbcr=tuple(metrics.psnr_db(_ycbcr(x), x_hat) for x, x_hat in zip(originals, decoded)),
  )


def slip_table(slips: Sequence[Slip], notes: Sequence[str] = ()) -> str:
  """Writes ranges beside the paper's, then the values image by image.

  Args:
    slips: one for each codec that ran, all of the same images.
    notes: on codecs that did not run.
  Returns:
    Markdown.
  """
  head = ("PSNR in dB", "paper prints", "right original", "next original", "all wrong originals")
  rows = [_range_row(slip) for slip in slips]
  parts = [
    markdown((*head, "RGB against YCbCr"), rows),
    "Each decoded picture against the original of the next image:",
    markdown(("image", *(label(slip.codec) for slip in slips), "spread"), _image_rows(slips)),
    _spread_words(slips),
    "\n".join(f"- {label(slip.codec)} at {slip.setting}: {slip.version}" for slip in slips),
    "\n".join(f"- {note}" for note in notes),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def slip_figure(slips: Sequence[Slip]) -> Figure:
  """Draws a panel for each codec (at least one): PSNRs, right and wrong, over the paper's range."""
  figure = drawing.figure(4.2 * len(slips), 5.2)
  panels = figure.subplots(1, len(slips), sharey=True, squeeze=False)[0]
  for axes, slip in zip(panels, slips):
    _panel(axes, slip)
  panels[0].set_ylabel("PSNR (dB)")
  drawing.legend(figure, panels)
  return figure


def _panel(axes, slip: Slip) -> None:
  printed = _printed(slip.codec)
  if printed is not None:
    words = "range the paper prints for this codec"
    axes.axhspan(*printed, color="#F0E442", alpha=0.45, lw=0, label=words)
  columns = {
    "right\noriginal": slip.right,
    "next\noriginal": slip.next_image,
    "all wrong\noriginals": _flat(slip),
    "RGB against\nYCbCr": slip.ycbcr,
  }
  colour, marker = drawing.style(slip.codec, ())
  spread = np.random.default_rng(0)
  for place, values in enumerate(columns.values()):
    xs = place + spread.uniform(-0.22, 0.22, len(values))
    size = 5 if len(values) <= 100 else 2.5
    axes.plot(xs, values, marker, ms=size, color=colour, mec="black", mew=0.3, alpha=0.8)
  axes.set_xticks(range(len(columns)), columns, fontsize=9)
  axes.set_xlim(-0.5, len(columns) - 0.5)
  axes.set_title(f"{label(slip.codec)} at {slip.setting}")
  axes.grid(axis="y", color="#EEEEEE")


def _range_row(slip: Slip) -> tuple[str, ...]:
  printed = _printed(slip.codec)
  return (
    label(slip.codec),
    "—" if printed is None else f"{printed[0]:.1f} to {printed[1]:.1f}",
    *(_range(values) for values in (slip.right, slip.next_image, _flat(slip), slip.ycbcr)),
  )


def _image_rows(slips: Sequence[Slip]) -> list[tuple[str, ...]]:
  rows = []
  for i, name in enumerate(slips[0].images if slips else ()):
    values = [slip.next_image[i] for slip in slips]
    rows.append((name, *(f"{v:.2f}" for v in values), f"{max(values) - min(values):.2f}"))
  return rows


def _spread_words(slips: Sequence[Slip]) -> str:
  if len(slips) < 2:
    return ""
  columns = list(zip(*(slip.next_image for slip in slips)))
  spread = statistics.fmean(max(values) - min(values) for values in columns)
  return (
    f"Against the wrong original the codecs differ by {spread:.2f} dB on average: the picture it "
    "is compared with decides, not the codec. In the paper's table JPEG 2000 and BPG agree within "
    "0.1 dB on five of the seven images, all three on none."
  )


def _printed(codec: str) -> tuple[float, float] | None:
  for row in PAPER_TABLE_1:
    if row.method == label(codec):
      return min(row.psnr_db), max(row.psnr_db)
  return None


def _flat(slip: Slip) -> tuple[float, ...]:
  return tuple(value for row in slip.all_pairs for value in row)


def _range(values: Sequence[float]) -> str:
  return f"{min(values):.1f} to {max(values):.1f}"


def _ycbcr(x_uint8: np.ndarray) -> np.ndarray:
  ycbcr = color.rgb_to_ycbcr(x_uint8.astype(np.float64))
  return np.clip(np.rint(ycbcr), 0, 255).astype(np.uint8)
