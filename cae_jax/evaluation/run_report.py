"""The short report at the end of a training run: our codec alone, on the test split."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cae_jax.codec import Codec, LosslessCodec
from cae_jax.data.sources import ImageSource, pairs
from cae_jax.evaluation import evaluate, figures, lossless_report, records, tables
from cae_jax.evaluation.codecs import own_codec
from cae_jax.images.files import replace_atomically


def write(folder: Path, codec: Codec | LosslessCodec, source: ImageSource) -> dict[str, Any]:
  """Measures the codec on real files of its own; baselines are the full evaluation's.

  Writes records.jsonl, table.md and, of a lossy codec, reconstructions.png into the folder.

  Returns:
    Means by codec, as `records.summary` gives them.
  Raises:
    CodecError: a lossless codec has not given back an image.
  """
  if isinstance(codec, LosslessCodec):
    return lossless_report.write(folder, codec, source)
  images = pairs(source)
  rows = evaluate.run(own_codec.file_codecs(codec), images)
  records.write_records(folder / "records.jsonl", rows)
  with replace_atomically(folder / "table.md") as temporary:
    temporary.write_text(tables.table(rows) + "\n")
  figures.save(reconstructions(codec, images, rows), folder / "reconstructions.png")
  return records.summary(rows)


def reconstructions(codec: Codec, images, rows) -> Figure:
  """Draws figure 5 for our codec: the first images beside their decoded files."""
  ours, setting = own_codec.coded(codec), own_codec.shown_setting(codec)
  captions = {
    row.image: f"{row.rate_bpp:.2f} bpp, {row.psnr_db:.2f} dB"
    for row in rows
    if (row.codec, row.setting) == (ours.name, setting)
  }
  shown = list(images[:4])
  decoded = [ours.decode(ours.encode(image, setting)) for _, image in shown]
  return figures.reconstructions(
    [image for _, image in shown], decoded, [captions[name] for name, _ in shown]
  )
