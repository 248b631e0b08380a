"""Markdown tables: the paper's Table 1 as printed and as measured, and the means of every codec."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cae_jax.evaluation.names import image_stem, in_order, is_baseline, label
from cae_jax.evaluation.records import Record, Setting, summary


@dataclasses.dataclass(frozen=True)
class PrintedRow:
  """A row of the paper's Table 1: PSNR in dB.

  Attributes:
    method: as the paper calls it.
    psnr_db: of the seven images, in the paper's order; None where only the range is kept here.
    low_db, high_db: the range over the seven images.
  """

  method: str
  psnr_db: tuple[float, ...] | None
  low_db: float
  high_db: float


PAPER_SOURCE = (
  '"Convolution Neural Network Based Autoencoder model for Lossless Image Compression", Table 1'
)
PAPER_TABLE_1 = (
  PrintedRow("Proposed", (24.98, 27.05, 28.88, 22.47, 24.90, 26.28, 24.63), 22.47, 28.88),
  PrintedRow("JPEG", None, 9.0, 12.7),
  PrintedRow("JPEG 2000", None, 7.7, 12.9),
  PrintedRow("BPG", None, 7.7, 13.7),
)
PAPER_IMAGES = 7
# The paper does not name its seven test images; ours are the last seven of Kodak.
TEST_IMAGES = tuple(f"kodim{number}" for number in range(18, 25))
# Of a codec's fixed settings the tables by image show those nearest to these mean rates.
_SHOWN_RATES_BPP = (0.25, 0.5, 1.0)
# From this mean gap between a file and the size to meet, the tables interpolate as well.
_COARSE = 0.02
_COARSE_WORDS = (
  "‡ At exactly the same rate: between that file and the codec's next larger one, linear in the "
  "logarithm of the size. Given where the files are more than 2 % too small on average."
)
_GROUP_HEAD = (
  "codec",
  "setting",
  "images",
  "bpp",
  "PSNR",
  "PSNR at the size",
  "PSNR of mean MSE",
  "PSNR Y",
  "MSE",
  "variance",
  "bias²",
  "MS-SSIM",
  "encode s",
  "decode s",
)
_DOUBTS = (
  "The paper gives no bit rate, and its 128 x 192 x 128 latents are 2.7 times as many numbers as "
  "the image has. No real codec gives the PSNRs it prints for JPEG, JPEG 2000 and BPG: the lowest "
  "on any Kodak image are 18.7 dB (JPEG at quality 1) and 20.3 dB (BPG at QP 51). Comparing each "
  "decoded picture with the wrong original does give that range: `experiments/paper_slip.py`."
)


def paper_table(records: Sequence[Record], images: Sequence[str] = TEST_IMAGES) -> str:
  """The paper's Table 1 twice: as printed, and measured here with the rate beside every PSNR.

  Args:
    records: of our codec, and of the baselines at its sizes and at fixed settings.
    images: the columns; matched with the names of the records without folder and suffix.
  Returns:
    Markdown.
  """
  chosen = [record for record in records if record.image is None or image_stem(record) in images]
  parts = [
    "### Table 1 as the paper printed it",
    "PSNR in dB; the seven test images are not named. Source: " + PAPER_SOURCE + ".",
    _printed_table(),
    _DOUBTS,
    "### Table 1 as measured here",
    "PSNR of RGB in dB / bits per pixel of the whole file.",
  ]
  for own in _own_groups(chosen):
    parts += [_same_rate_title(own), _matched_table(chosen, own, images), _COARSE_WORDS]
  fixed = [record for record in chosen if record.matched_to is None and is_baseline(record.codec)]
  if fixed:
    rates = ", ".join(f"{rate:g}" for rate in _SHOWN_RATES_BPP)
    title = f"Baselines at fixed settings (those nearest to {rates} bpp on these images):"
    parts += [title, _fixed_table(fixed, images)]
  parts.append(_notes(chosen))
  return "\n\n".join(part for part in parts if part) + "\n"


def table(records: Sequence[Record]) -> str:
  """Means over the images of every codec and setting, and the versions measured.

  Args:
    records: any.
  Returns:
    Markdown; a codec that did not run has a row that says so and how to get it.
  """
  rows = [_group_row(codec, group, len(_GROUP_HEAD)) for codec, group in _groups(summary(records))]
  legend = (
    "PSNR, PSNR Y, bpp, MSE and MS-SSIM are means over the images; “PSNR of mean MSE” is the other "
    "way to average; “PSNR at the size” is interpolated to exactly the size to match. MSE = "
    "variance + bias² of the error. PSNR in dB, RGB unless Y is named."
  )
  parts = (markdown(_GROUP_HEAD, rows), legend, _notes(records))
  return "\n\n".join(part for part in parts if part) + "\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A Markdown table of cells that are text already."""
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _printed_table() -> str:
  head = ("method", *(f"image {i + 1}" for i in range(PAPER_IMAGES)), "range")
  rows = [_printed_row(row) for row in PAPER_TABLE_1]
  return markdown(head, rows) + "\n\n\\* printed for each image; only the range is kept here."


def _printed_row(row: PrintedRow) -> tuple[str, ...]:
  values = ("*",) * PAPER_IMAGES if row.psnr_db is None else map("{:.2f}".format, row.psnr_db)
  return row.method, *values, f"{row.low_db:.1f} to {row.high_db:.1f}"


def _own_groups(records: Sequence[Record]) -> list[tuple[str, Setting | None]]:
  """Codec and setting of our own rows, in the order they came."""
  own = [r for r in records if not is_baseline(r.codec) and r.matched_to is None and r.image]
  return list(dict.fromkeys((record.codec, record.setting) for record in own))


def _same_rate_title(own: tuple[str, Setting | None]) -> str:
  codec, setting = own
  return (
    f"{label(codec)} at {setting}, and each baseline's largest file that is not above its size, "
    "image by image:"
  )


def _matched_table(records: Sequence[Record], own: tuple, images: Sequence[str]) -> str:
  first = [r for r in records if (r.codec, r.setting) == own and r.matched_to is None]
  rows = [_image_row(label(own[0]), first, images)]
  matched = [r for r in records if (r.matched_to, r.matched_setting) == own]
  for codec in in_order(record.codec for record in matched):
    of_codec = [record for record in matched if record.codec == codec]
    rows.append(_image_row(label(codec), of_codec, images))
    if _too_coarse(of_codec):
      rows.append(_image_row(f"{label(codec)} ‡", [at_target(r) for r in of_codec], images))
  rows += [_missing_row(record, len(images) + 2) for record in _missing(records)]
  return markdown(("method", *images, "mean"), rows)


def _too_coarse(records: Sequence[Record]) -> bool:
  """Whether the files are on average too small to be compared at the same rate."""
  good = [record for record in records if record.ok and record.size_bytes and record.target_bytes]
  if not good or any(record.psnr_db_at_target is None for record in good):
    return False
  gaps = [1 - (record.size_bytes or 0) / (record.target_bytes or 1) for record in good]
  return statistics.fmean(gaps) > _COARSE


def at_target(record: Record) -> Record:
  """The row as it would be at exactly the size to match."""
  if record.psnr_db_at_target is None or not record.width or not record.height:
    return record
  rate_bpp = 8 * (record.target_bytes or 0) / (record.width * record.height)
  return dataclasses.replace(record, psnr_db=record.psnr_db_at_target, rate_bpp=rate_bpp)


def _fixed_table(records: Sequence[Record], images: Sequence[str]) -> str:
  rows = []
  for codec in in_order(record.codec for record in records if record.image):
    of_codec = [record for record in records if record.codec == codec and record.ok]
    for setting in _shown_settings(of_codec) if of_codec else []:
      chosen = [record for record in of_codec if record.setting == setting]
      rows.append(_image_row(f"{label(codec)} at {setting}", chosen, images))
  rows += [_missing_row(record, len(images) + 2) for record in _missing(records)]
  return markdown(("method", *images, "mean"), rows)


def _shown_settings(records: Sequence[Record]) -> list[Setting | None]:
  """The settings nearest to each rate to show, smallest file first."""
  rates: dict[Setting | None, list[float]] = {}
  for record in records:
    rates.setdefault(record.setting, []).append(record.rate_bpp or 0.0)
  means = sorted((statistics.fmean(values), setting) for setting, values in rates.items())
  near = {_nearest(means, rate) for rate in _SHOWN_RATES_BPP}
  return [setting for _, setting in sorted(near)]


def _nearest(means: Sequence[tuple[float, Any]], rate_bpp: float) -> tuple[float, Any]:
  return min(means, key=lambda mean: abs(mean[0] - rate_bpp))


def _image_row(name: str, records: Sequence[Record], images: Sequence[str]) -> tuple[str, ...]:
  by_image = {image_stem(record): record for record in records}
  cells = [_cell(by_image.get(image)) for image in images]
  good = [record for record in by_image.values() if record.ok]
  mean = "—"
  if len(good) == len(images):
    psnr = statistics.fmean(record.psnr_db or 0.0 for record in good)
    mean = f"{_db(psnr)} / {statistics.fmean(record.rate_bpp or 0.0 for record in good):.3f}"
  return name, *cells, mean


def _cell(record: Record | None) -> str:
  if record is None:
    return "—"
  if record.psnr_db is None or record.rate_bpp is None:
    return "failed"
  mark = "" if record.ok else " †"
  return f"{_db(record.psnr_db)} / {record.rate_bpp:.3f}{mark}"


def _group_row(codec: str, group: Mapping[str, Any], width: int) -> tuple[str, ...]:
  if not group["n_images"]:
    return label(codec), group["status"], *("",) * (width - 2)
  count = str(group["n_images"]) + (f" (+{group['n_failed']} not met)" if group["n_failed"] else "")
  return (
    label(codec),
    _setting_words(group),
    count,
    _number(group["mean_rate_bpp"], 4),
    _db(group["mean_psnr_db"]),
    _number(group["mean_psnr_db_at_target"], 2),
    _db(group["psnr_of_mean_mse_db"]),
    _db(group["mean_psnr_y_db"]),
    _number(group["mean_mse"], 2),
    _number(group["mean_mse_variance"], 2),
    _number(group["mean_mse_bias_squared"], 3),
    _number(group["mean_ms_ssim"], 4),
    _number(group["mean_encode_s"], 3),
    _number(group["mean_decode_s"], 3),
  )


def _setting_words(group: Mapping[str, Any]) -> str:
  if group["matched_to"] is None:
    return str(group["setting"])
  return f"at the size of {label(group['matched_to'])} at {group['matched_setting']}"


def _groups(means: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
  return [(codec, group) for codec in in_order(means) for group in means[codec]]


def _missing(records: Sequence[Record]) -> list[Record]:
  return [record for record in records if record.image is None]


def _missing_row(record: Record, width: int) -> tuple[str, ...]:
  return label(record.codec), record.status, *("",) * (width - 2)


def _notes(records: Sequence[Record]) -> str:
  """What was measured, and which rows do not stand for what they were asked for."""
  versions = {record.codec: record.version for record in records if record.version}
  lines = [f"- {label(codec)}: {versions[codec]}" for codec in in_order(versions)]
  bad = [record for record in records if not record.ok and record.image is not None]
  lines += [
    f"- † {label(record.codec)}, {record.image}: {record.status}"
    for record in sorted(bad, key=lambda record: (record.codec, record.image or ""))
  ]
  return "\n".join(lines)


def _db(value: float | None) -> str:
  """A PSNR; None and inf both stand for a picture without loss (see `Record`)."""
  return "∞" if value is None or math.isinf(value) else f"{value:.2f}"


def _number(value: float | None, digits: int) -> str:
  return "—" if value is None else f"{value:.{digits}f}"


def _escape(cell: str) -> str:
  return cell.replace("|", "\\|").replace("\n", " ")
