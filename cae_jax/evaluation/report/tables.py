"""The report's tables as HTML: BD-rates, times, settings and versions."""

import collections
import html
import re
import statistics
from collections.abc import Iterable, Sequence

from cae_jax.evaluation.lossless import tables as lossless_tables
from cae_jax.evaluation.lossless.standings import standings
from cae_jax.evaluation.names import in_order, is_baseline, label
from cae_jax.evaluation.rd import bd_rates
from cae_jax.evaluation.rd import tables as rd_tables
from cae_jax.evaluation.rd.curves import Curve, ms_ssim_db
from cae_jax.evaluation.records import Record

_NUMBER = re.compile(r"[-+−]?[\d.]+( %)?|—|∞")
_NUMBER_CLASS = ' class="number"'


def rate_distortion_html(records: Sequence[Record], published: Sequence[Curve] = ()) -> str:
  """Writes BD-rates and the baselines at our rates, with the conventions they depend on.

  Args:
    records: any.
    published: further anchors.
  """
  compared = bd_rates.compare(records, published)
  first, *others = rd_tables.tables(compared, bd_rates.at_own_rates(records))
  return "\n".join([_section(first, " open"), *map(_section, others)])


def lossless_html(records: Sequence[Record]) -> str:
  """Writes how lossless and near-lossless codecs stand on each data set; nothing without records.

  Args:
    records: of codecs that keep an error bound.
  """
  tables = lossless_tables.all_tables(standings(records))
  return "\n".join(_section(table, " open" * (not at)) for at, table in enumerate(tables))


_TIMES = """Medians over all files of a codec, with the first and third quartile, in wall seconds on
the machine of the evaluation. Of codecs that are programs they include the start of the program and
its image files. MP/s are megapixels per second."""
_TIMING = """All codecs took turns on one image at about one file size: warm calls, and cold ones in
processes of their own; MiB are the largest memory of these. MACs are of encoder + decoder."""


def times_html(records: Sequence[Record], timing: rd_tables.Table | None = None) -> str:
  """Writes how long each codec takes: timed side by side, or else medians over the records.

  Args:
    records: with figures; matched rows count as well, each is a file that was made and read.
    timing: of `timing.read`.
  """
  if timing is not None:
    words = f"<p>{_TIMING} {html.escape(timing.words)}</p>\n"
    return words + table_html(timing.head, timing.rows, "Times")
  codecs = in_order(record.codec for record in records)
  rows = [_times_row(codec, [r for r in records if r.codec == codec]) for codec in codecs]
  head = ("codec", "files", "encode s", "quartiles", "decode s", "quartiles", "decode MP/s")
  return f"<p>{_TIMES}</p>\n" + table_html(head, rows, "Times")


def files_html(records: Sequence[Record]) -> str:
  """Writes the figures of each file; for a few files, which make no curves.

  Args:
    records: of lossy codecs, with figures.
  """
  head = ("codec", "image", "bytes", "bits per pixel", "PSNR, dB", "MS-SSIM, dB")
  return table_html(head, map(_file_row, records), "Files")


def codecs_html(records: Sequence[Record]) -> str:
  """Writes version and settings of every codec, and why one has no figures."""
  codecs = in_order(record.codec for record in records)
  rows = [_codec_row(codec, [r for r in records if r.codec == codec]) for codec in codecs]
  return table_html(("codec", "version and options", "settings", "notes"), rows, "Codecs")


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> str:
  """Writes a table of plain text that scrolls within itself where the screen is narrow.

  Args:
    head, rows: text of the cells.
    name: what it is, for screen readers.
  Returns:
    HTML; all text is escaped.
  """
  rows = [tuple(row) for row in rows]
  numeric = [all(_NUMBER.fullmatch(cell) for cell in column) for column in zip(*rows)]
  heads = zip(head, numeric or [False] * len(head))
  top = "".join(
    f'<th scope="col"{_NUMBER_CLASS * is_numeric}>{html.escape(cell)}</th>'
    for cell, is_numeric in heads
  )
  body = "\n".join(_row_html(row) for row in rows)
  return (
    f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(name)}">'
    f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
  )


def _section(table: rd_tables.Table, is_open: str = "") -> str:
  # Markdown's code spans are all the words have of it.
  words = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(table.words))
  body = table_html(table.head, table.rows, table.title) if table.rows else ""
  title = f"<summary><h3>{html.escape(table.title)}</h3></summary>"
  return f"<details{is_open}>{title}\n<p>{words}</p>\n{body}</details>"


def _row_html(row: Sequence[str]) -> str:
  first, *others = row
  cells = "".join(f"<td{_class(cell)}>{html.escape(cell)}</td>" for cell in others)
  return f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>'


def _class(cell: str) -> str:
  if _NUMBER.fullmatch(cell):
    return _NUMBER_CLASS
  return ' class="long"' if len(cell) > 40 else ""


def _times_row(codec: str, records: Sequence[Record]) -> tuple[str, ...]:
  encode_s = [r.encode_s for r in records if r.encode_s is not None]
  decode_s = [r.decode_s for r in records if r.decode_s is not None]
  speeds = [
    (r.width or 0) * (r.height or 0) / 1e6 / r.decode_s for r in records if r.decode_s is not None
  ]
  speed = f"{statistics.median(speeds):.2f}" if speeds else "—"
  return label(codec), str(len(records)), *_spread(encode_s), *_spread(decode_s), speed


def _spread(seconds: Sequence[float]) -> tuple[str, str]:
  """Median, and first and third quartile, in words."""
  if not seconds:
    return "—", "—"
  median = f"{statistics.median(seconds):.3f}"
  if len(seconds) < 2:
    return median, "—"
  low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
  return median, f"{low:.3f} to {high:.3f}"


def _file_row(record: Record) -> tuple[str, ...]:
  ms_ssim = "—" if record.ms_ssim is None else f"{ms_ssim_db(record.ms_ssim):.2f}"
  figures = (f"{record.rate_bpp:.4f}", f"{record.psnr_db:.2f}", ms_ssim)
  size = f"{record.size_bytes}"
  return label(record.codec), record.image or "", size, *(f.replace("inf", "∞") for f in figures)


def _codec_row(codec: str, records: Sequence[Record]) -> tuple[str, ...]:
  versions = dict.fromkeys(r.version for r in records if r.version)
  fixed = [r for r in records if r.setting is not None and r.matched_to is None]
  settings = ", ".join(dict.fromkeys(str(r.setting) for r in fixed)) or "—"
  return label(codec), "; ".join(versions) or "—", settings, "; ".join(_notes(codec, records))


def _notes(codec: str, records: Sequence[Record]) -> list[str]:
  notes = [] if is_baseline(codec) else ["ours"]
  matched = [r for r in records if r.matched_to is not None]
  for other in dict.fromkeys(r.matched_to or "" for r in matched):
    goals = dict.fromkeys(str(r.matched_setting) for r in matched if r.matched_to == other)
    notes.append(f"also at the size of {label(other)} at {', '.join(goals)}")
  bad = collections.Counter(record.status for record in records if not record.ok)
  return notes + [f"{count} × {status}" for status, count in bad.items()]
