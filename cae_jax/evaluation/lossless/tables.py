"""Tables of lossless codecs: all data sets at a glance, then each by itself."""

import collections
from collections.abc import Sequence

from cae_jax.evaluation import tables
from cae_jax.evaluation.lossless.standings import REFERENCE, Standing, standings
from cae_jax.evaluation.names import in_order, label
from cae_jax.evaluation.rd.tables import Table
from cae_jax.evaluation.records import Record


def text(records: Sequence[Record], reference: str = REFERENCE) -> str:
  """Writes all tables as Markdown, with the versions measured and what was left out.

  Args:
    records: of codecs that keep a bound.
    reference: the codec that the others are compared with.
  """
  parts = []
  for table in all_tables(standings(records, reference), reference):
    parts += [f"### {table.title}", table.words, tables.markdown(table.head, table.rows)]
  missing = {record.codec: record for record in tables.missing(records)}
  parts += ["\n".join(f"- {label(name)}: {row.status}" for name, row in missing.items())]
  parts += [tables.notes([record for record in records if record.ok]), _left_out(records)]
  return "\n\n".join(part for part in parts if part) + "\n"


def all_tables(rows: Sequence[Standing], reference: str = REFERENCE) -> list[Table]:
  """Builds the overview of every error bound, then the table of every data set and bound."""
  bounds = sorted({row.error_bound for row in rows})
  result = [_overview([r for r in rows if r.error_bound == bound]) for bound in bounds]
  for dataset in dict.fromkeys(row.dataset for row in rows):
    for bound in bounds:
      chosen = [r for r in rows if (r.dataset, r.error_bound) == (dataset, bound)]
      if chosen:
        result.append(_of_set(dataset, bound, chosen, reference))
  return result


def bound_words(bound: int) -> str:
  """Names an error bound."""
  return "lossless" if not bound else f"near-lossless, errors of at most {bound}"


def _left_out(records: Sequence[Record]) -> str:
  """Says how many images of each set a codec has no figures of, and why."""
  bad = collections.Counter(
    (label(r.codec), r.dataset, r.status) for r in records if r.image is not None and not r.ok
  )
  lines = [f"- † {name}, {n} of {dataset}: {why}" for (name, dataset, why), n in bad.items()]
  return "\n".join(lines)


def _overview(rows: Sequence[Standing]) -> Table:
  names = list(dict.fromkeys(row.dataset for row in rows))
  most = {name: max(row.n_images for row in rows if row.dataset == name) for name in names}
  cells = {(row.codec, row.dataset): _overview_cell(row, most[row.dataset]) for row in rows}
  body = [
    (label(codec), *(cells.get((codec, name), "—") for name in names))
    for codec in in_order(row.codec for row in rows)
  ]
  words = (
    "Mean bits per sub-pixel of whole files, each decoded and compared sample by sample; in "
    "brackets how many images, where the codec does not take all of them."
  )
  head = ("codec", *(f"{name} ({most[name]})" for name in names))
  return Table(f"All data sets, {bound_words(rows[0].error_bound)}", words, head, body)


def _overview_cell(row: Standing, most: int) -> str:
  return f"{row.bpsp:.3f}" + (f" ({row.n_images})" if row.n_images < most else "")


def _of_set(dataset: str, bound: int, rows: Sequence[Standing], reference: str) -> Table:
  head = (
    "codec",
    "images",
    "bpsp",
    f"against {label(reference)}",
    "smaller than it",
    "smallest of all",
    *(["PSNR"] if bound else []),
    "encode s",
    "decode s",
  )
  words = (
    f"Means over the images. “Against {label(reference)}” is the ratio of the mean sizes of the "
    "images that both take, less one; then how many of them are smaller, and how often no other "
    "codec is. Wall seconds of one image."
  )
  return Table(f"{dataset}, {bound_words(bound)}", words, head, [_row(row, bound) for row in rows])


def _row(row: Standing, bound: int) -> tuple[str, ...]:
  return (
    label(row.codec),
    str(row.n_images) + (f" (+{row.n_left_out} left out)" if row.n_left_out else ""),
    f"{row.bpsp:.4f}",
    "—" if row.percent is None else f"{row.percent:+.1f} %",
    f"{row.n_smaller} of {row.n_compared}",
    str(row.n_smallest),
    *([tables.number(row.psnr_db, 2)] if bound else []),
    tables.number(row.encode_s, 2),
    tables.number(row.decode_s, 3),
  )
