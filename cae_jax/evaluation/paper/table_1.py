"""The paper's Table 1 as printed, and as measured here with the rate beside every PSNR."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from cae_jax.evaluation.names import image_stem, in_order, is_baseline, label
from cae_jax.evaluation.records import Record, Setting
from cae_jax.evaluation.tables import at_target, db, markdown, missing, missing_row, notes


class PrintedRow(NamedTuple):
  """A row of the paper's Table 1.

  Attributes:
    method: as the paper calls it.
    psnr_db: of the seven images, in the paper's order.
  """

  method: str
  psnr_db: tuple[float, ...]


PAPER_SOURCE = (
  '"Convolution Neural Network Based Autoencoder model for Lossless Image Compression", Table 1'
)
PAPER_TABLE_1 = (
  PrintedRow("Proposed", (24.98, 27.05, 28.88, 22.47, 24.90, 26.28, 24.63)),
  PrintedRow("JPEG", (9.003919, 11.538549, 9.139331, 10.525949, 11.688374, 12.680623, 12.724757)),
  PrintedRow(
    "JPEG 2000", (12.656721, 12.354865, 7.6641064, 12.627939, 11.03956, 11.393139, 12.895276)
  ),
  PrintedRow("BPG", (13.656495, 12.408018, 7.667928, 12.643165, 11.067859, 12.656573, 12.916949)),
)
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
_DOUBTS = (
  "The paper gives no bit rate, and its 128 x 192 x 128 latents are 2.7 times as many numbers as "
  "the image has. No real codec gives the PSNRs it prints for JPEG, JPEG 2000 and BPG: the lowest "
  "on any Kodak image are 18.7 dB (JPEG at quality 1) and 20.3 dB (BPG at QP 51). Comparing each "
  "decoded picture with the wrong original does give that range: `experiments/paper_slip.py`."
)


def paper_table(records: Sequence[Record], images: Sequence[str] = TEST_IMAGES) -> str:
  """Writes the paper's Table 1 twice: as printed, and as measured here, with rates.

  Args:
    records: of our codec, and of the baselines at its sizes and at fixed settings.
    images: the columns; matched with the names of the records without folder and suffix.
  Returns:
    Markdown; empty if there is no record of these images.
  """
  chosen = [record for record in records if record.image is None or image_stem(record) in images]
  if all(record.image is None for record in chosen):
    return ""
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
  parts.append(notes(chosen))
  return "\n\n".join(part for part in parts if part) + "\n"


def _printed_table() -> str:
  head = ("method", *(f"image {i + 1}" for i in range(len(TEST_IMAGES))), "range")
  return markdown(head, map(_printed_row, PAPER_TABLE_1))


def _printed_row(row: PrintedRow) -> tuple[str, ...]:
  values = map(db, row.psnr_db)
  return row.method, *values, f"{min(row.psnr_db):.1f} to {max(row.psnr_db):.1f}"


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
  rows += [missing_row(record, len(images) + 2) for record in missing(records)]
  return markdown(("method", *images, "mean"), rows)


def _too_coarse(records: Sequence[Record]) -> bool:
  """Whether the files are on average too small to be compared at the same rate."""
  good = [record for record in records if record.ok and record.size_bytes and record.target_bytes]
  if not good or any(record.psnr_db_at_target is None for record in good):
    return False
  gaps = [1 - (record.size_bytes or 0) / (record.target_bytes or 1) for record in good]
  return statistics.fmean(gaps) > _COARSE


def _fixed_table(records: Sequence[Record], images: Sequence[str]) -> str:
  rows = []
  for codec in in_order(record.codec for record in records if record.image):
    of_codec = [record for record in records if record.codec == codec and record.ok]
    for setting in _shown_settings(of_codec) if of_codec else []:
      chosen = [record for record in of_codec if record.setting == setting]
      rows.append(_image_row(f"{label(codec)} at {setting}", chosen, images))
  rows += [missing_row(record, len(images) + 2) for record in missing(records)]
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
    mean = f"{db(psnr)} / {statistics.fmean(record.rate_bpp or 0.0 for record in good):.3f}"
  return name, *cells, mean


def _cell(record: Record | None) -> str:
  if record is None:
    return "—"
  if record.psnr_db is None or record.rate_bpp is None:
    return "failed"
  mark = "" if record.ok else " †"
  return f"{db(record.psnr_db)} / {record.rate_bpp:.3f}{mark}"
