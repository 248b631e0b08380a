"""The report at the end of a training run of a lossless model."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cae_jax.codec import LosslessCodec
from cae_jax.data.sources import ImageSource, pairs
from cae_jax.evaluation import evaluate, records, tables
from cae_jax.evaluation.codecs.base import CodecError, FileCodec
from cae_jax.evaluation.codecs.own_codec import version_of
from cae_jax.evaluation.records import Record
from cae_jax.images.files import replace_atomically

_SETTING = "lossless"


def write(folder: Path, codec: LosslessCodec, source: ImageSource) -> dict[str, Any]:
  """Writes records.jsonl and table.md, of whole files that were decoded and compared.

  Returns:
    Means as `records.summary` gives them, and "mean_rate_bpsp", bits per sub-pixel.
  Raises:
    CodecError: an image has not come back.
  """
  rows = evaluate.run([_file_codec(codec)], pairs(source))
  records.write_records(folder / "records.jsonl", rows)
  for row in rows:
    if not row.ok or row.mse:
      why = row.status if not row.ok else f"its mean squared error is {row.mse:g}"
      raise CodecError(f"{row.image} has not come back: {why}; please report this")
  with replace_atomically(folder / "table.md") as temporary:
    temporary.write_text(_table(rows), encoding="utf-8")
  summary = records.summary(rows)
  for group in summary[codec.weights.name]:
    group["mean_rate_bpsp"] = group["mean_rate_bpp"] / 3
  return summary


def _file_codec(codec: LosslessCodec) -> FileCodec:
  return FileCodec(
    name=codec.weights.name,
    version=version_of(codec),
    settings=(_SETTING,),
    search=(_SETTING,),
    encoder=lambda x, _: codec.compress(x),
    decoder=codec.decompress,
  )


def _table(rows: Sequence[Record]) -> str:
  lines = [(str(row.image), *_figures([row])) for row in rows]
  head = ("image", "bytes", "bits per sub-pixel", "encode s", "decode s")
  table = tables.markdown(head, [*lines, ("mean", *_figures(rows))])
  words = "Whole files, each decoded and compared: every sample has come back."
  return f"{table}\n\n{words}\n\n{tables.notes(rows)}\n"


def _figures(rows: Sequence[Record]) -> tuple[str, ...]:
  mean = lambda name: statistics.fmean(getattr(row, name) for row in rows)
  rate_bpsp = mean("rate_bpp") / 3
  times = (f"{mean(name):.2f}" for name in ("encode_s", "decode_s"))
  return f"{mean('size_bytes'):.0f}", f"{rate_bpsp:.4f}", *times
