"""Markdown tables: the means of every codec, and what all tables share."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cae_jax.evaluation.names import in_order, label
from cae_jax.evaluation.records import Record, of_last_versions, summary
from cae_jax.images.metrics import MS_SSIM_MIN_SIDE

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
)


class _Column(NamedTuple):
  """A column of means: its title, digits after the point, and -1 where less is better, or 1."""

  title: str
  digits: int
  sign: int


# Columns that are there if some codec was measured by them, by the field of the records.
_FURTHER = {
  "ssimulacra2": _Column("SSIMULACRA2", 2, 1),
  "butteraugli_3norm": _Column("Butteraugli 3-norm", 3, -1),
  "butteraugli_max": _Column("Butteraugli max", 2, -1),
  "dists": _Column("DISTS", 4, -1),
  "wasserstein": _Column("Wasserstein", 4, -1),
  "kid": _Column("KID", 3, -1),
}
_SECONDS = ("encode s", "decode s")


def table(records: Sequence[Record]) -> str:
  """Writes means over the images of every codec and setting, and the versions measured.

  Args:
    records: any.
  Returns:
    Markdown; a codec that did not run has a row that says so and how to get it.
  """
  groups = _groups(summary(records))
  further = [n for n in _FURTHER if any(g.get(f"mean_{n}") is not None for _, g in groups)]
  head = (*_GROUP_HEAD, *(_FURTHER[name].title for name in further), *_SECONDS)
  rows = [_group_row(codec, group, further, len(head)) for codec, group in groups]
  legend = (
    "Figures are means over the images; “PSNR of mean MSE” is the other "
    "way to average; “PSNR at the size” is interpolated to exactly the size to match. MSE = "
    "variance + bias² of the error. PSNR in dB, RGB unless Y is named. Seconds are of single "
    "calls; of models that run in JAX the first of each size compiles. `experiments.timing` "
    "compares times."
  )
  for words, sign in (("less", -1), ("more", 1)):
    titles = [_FURTHER[name].title for name in further if _FURTHER[name].sign == sign]
    legend += f" Of {', '.join(titles)} {words} is better." if titles else ""
  parts = (markdown(head, rows), legend, _too_small(records), notes(records))
  return "\n\n".join(part for part in parts if part) + "\n"


def _too_small(records: Sequence[Record]) -> str:
  """Names images that MS-SSIM cannot be taken of, for which it has no curves; empty if none is."""
  small = {
    record.image or ""
    for record in records
    if record.ok and min(record.width or 0, record.height or 0) < MS_SSIM_MIN_SIDE
  }
  names = ", ".join(sorted(small)[:3]) + (" …" if len(small) > 3 else "")
  why = f"There are no curves of MS-SSIM, which needs sides from {MS_SSIM_MIN_SIDE} pixels"
  return f"{why}: {names} is smaller." if small else ""


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Writes a Markdown table of cells that are text already."""
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def at_target(record: Record) -> Record:
  """Returns the row as it would be at exactly the size to match."""
  if record.psnr_db_at_target is None or not record.width or not record.height:
    return record
  rate_bpp = 8 * (record.target_bytes or 0) / (record.width * record.height)
  return dataclasses.replace(record, psnr_db=record.psnr_db_at_target, rate_bpp=rate_bpp)


def _group_row(
  codec: str, group: Mapping[str, Any], further: Sequence[str], width: int
) -> tuple[str, ...]:
  if not group["n_images"]:
    return label(codec), group["status"], *("",) * (width - 2)
  count = str(group["n_images"]) + (f" (+{group['n_failed']} not met)" if group["n_failed"] else "")
  return (
    label(codec),
    _setting_words(group),
    count,
    number(group["mean_rate_bpp"], 4),
    db(group["mean_psnr_db"]),
    number(group["mean_psnr_db_at_target"], 2),
    db(group["psnr_of_mean_mse_db"]),
    db(group["mean_psnr_y_db"]),
    number(group["mean_mse"], 2),
    number(group["mean_mse_variance"], 2),
    number(group["mean_mse_bias_squared"], 3),
    number(group["mean_ms_ssim"], 4),
    *(number(group[f"mean_{name}"], _FURTHER[name].digits) for name in further),
    number(group["mean_encode_s"], 3),
    number(group["mean_decode_s"], 3),
  )


def _setting_words(group: Mapping[str, Any]) -> str:
  if group["matched_to"] is None:
    return str(group["setting"])
  return f"at the size of {label(group['matched_to'])} at {group['matched_setting']}"


def _groups(means: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
  return [(codec, group) for codec in in_order(means) for group in means[codec]]


def missing(records: Sequence[Record]) -> list[Record]:
  """Returns the rows of codecs that could not run."""
  return [record for record in records if record.image is None]


def missing_row(record: Record, width: int) -> tuple[str, ...]:
  """Says in a row of `width` cells why a codec did not run."""
  return label(record.codec), record.status, *("",) * (width - 2)


def notes(records: Sequence[Record]) -> str:
  """Says what was measured, and which rows are not what was asked for."""
  versions: dict[str, dict[str, None]] = {}
  for record in records:
    if record.version:
      versions.setdefault(record.codec, {})[record.version] = None
  lines = [f"- {label(codec)}: {'; '.join(versions[codec])}" for codec in in_order(versions)]
  bad = [record for record in records if not record.ok and record.image is not None]
  lines += [
    f"- † {label(record.codec)}, {record.image}: {record.status}"
    for record in sorted(bad, key=lambda record: (record.codec, record.image or ""))
  ]
  return "\n".join(lines)


def left_out(records: Sequence[Record]) -> str:
  """Says how many records are not of the last versions, by codec; empty if all are."""
  shown = collections.Counter(record.codec for record in of_last_versions(records))
  counts = collections.Counter(record.codec for record in records) - shown
  return "\n".join(
    f"{counts[codec]} records of {label(codec)} are not shown: of other weights of that name, of "
    "another version, or at the sizes of such files; give each an --output of its own"
    for codec in in_order(counts)
  )


def db(value: float | None) -> str:
  """Writes a PSNR; None and inf both stand for a picture without loss (see `Record`)."""
  return "∞" if value is None or math.isinf(value) else f"{value:.2f}"


def number(value: float | None, digits: int) -> str:
  """Writes a number; a dash for None."""
  return "—" if value is None else f"{value:.{digits}f}"


def _escape(cell: str) -> str:
  return cell.replace("|", "\\|").replace("\n", " ")
