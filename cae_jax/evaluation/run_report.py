"""The short report at the end of a training run: our codec alone, on the test split."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cae_jax.atomic import write_text
from cae_jax.codec import Codec, LosslessCodec
from cae_jax.data.sources import ImageSource, pairs
from cae_jax.evaluation import evaluate, figures, pictures, records, tables
from cae_jax.evaluation.codecs import own_codec
from cae_jax.evaluation.codecs.base import CodecError
from cae_jax.evaluation.records import Record


def write(folder: Path, codec: Codec | LosslessCodec, source: ImageSource) -> dict[str, Any]:
  """Measures the codec on real files of its own; baselines are the full evaluation's.

  Writes records.jsonl, table.md and, of a lossy codec, reconstructions.png into the folder.

  Returns:
    Means by codec, as `records.summary` gives them.
  Raises:
    CodecError: a lossless codec has not given back an image.
  """
  if isinstance(codec, LosslessCodec):
    return _write_lossless(folder, codec, source)
  images = pairs(source)
  rows = evaluate.run(own_codec.file_codecs(codec), images)
  _write_rows(folder, rows, tables.table(rows))
  figures.save(reconstructions(codec, images), folder / "reconstructions.png")
  return records.summary(rows)


def _write_lossless(folder: Path, codec: LosslessCodec, source: ImageSource) -> dict[str, Any]:
  rows = evaluate.run([own_codec.lossless(codec)], pairs(source))
  failures = [row.status for row in rows if not row.ok]
  if failures:
    raise CodecError(f"{failures[0]}; please report this")
  _write_rows(folder, rows, _image_table(rows))
  return records.summary(rows)


def _write_rows(folder: Path, rows: Sequence[Record], table: str) -> None:
  records.write_records(folder / "records.jsonl", rows)
  write_text(folder / "table.md", table + "\n")


def _image_table(rows: Sequence[Record]) -> str:
  """Writes what files of lossless codecs need, image by image."""
  head = ("image", "bytes", "bits per sub-pixel", "encode s", "decode s")
  cells = [(str(row.image), *_means([row])) for row in rows]
  table = tables.markdown(head, [*cells, ("mean", *_means(rows))])
  words = "Whole files, each decoded and compared: every sample has come back."
  return f"{table}\n\n{words}\n\n{tables.notes(rows)}"


def _means(rows: Sequence[Record]) -> list[str]:
  digits = {"size_bytes": 0, "bpsp": 4, "encode_s": 2, "decode_s": 2}
  means = {name: statistics.fmean(getattr(row, name) for row in rows) for name in digits}
  return [tables.number(means[name], digits[name]) for name in digits]


def reconstructions(codec: Codec, images: Sequence[tuple[str, np.ndarray]]) -> Figure:
  """Draws figure 5 for our codec: the first images beside their decoded files.

  Args:
    codec: of ours, at the setting that pictures are drawn at.
    images: names and uint8 [H, W, 3].
  """
  ours, setting = own_codec.coded(codec), own_codec.shown_setting(codec)
  shown = list(images[:4])
  own = [pictures.at_own_size(ours, setting, (), name, x)[0] for name, x in shown]
  x_hats = [picture.x_hat for picture in own if picture.x_hat is not None]  # all: or it raises
  return figures.reconstructions([x for _, x in shown], x_hats, [picture.words for picture in own])
