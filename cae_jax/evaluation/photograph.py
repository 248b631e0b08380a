"""One photograph under our codec, and under the others at the size of its file."""

import dataclasses
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from cae_jax.codec import Codec, LosslessCodec
from cae_jax.evaluation import pictures, report
from cae_jax.evaluation.codecs import own_codec
from cae_jax.evaluation.codecs.base import ImageCodec, Missing
from cae_jax.evaluation.names import label
from cae_jax.evaluation.pictures import Picture
from cae_jax.evaluation.records import Setting
from cae_jax.evaluation.report import gallery

# With all codecs a page of some 20 MB.
_CROP_SIDE = 1024


def compare(
  codec: Codec | LosslessCodec,
  encoded: Any,
  others: Sequence[ImageCodec | Missing],
  name: str,
  x_uint8: np.ndarray,
) -> Iterator[Picture]:
  """Yields our picture, then those of other codecs, as soon as each is made.

  Args:
    codec: ours.
    encoded: a file of it (`Codec.encode`, `LosslessCodec.encode`), which the others are to match in
      size.
    others: see `baselines.baselines`; what is missing has a picture that says so.
    name: of the image.
    x_uint8: uint8 [H, W, 3].
  Yields:
    Pictures without times, which are of a program that has just been started.
  """
  setting: Setting
  if isinstance(codec, LosslessCodec):
    ours, setting = own_codec.lossless(codec), encoded.largest_error
  else:
    ours = own_codec.coded(codec)
    setting = encoded.how or ours.settings[0]
  yield _untimed(pictures.of_file(ours, setting, name, x_uint8, encoded.data))
  for other in others:
    yield _untimed(pictures.at_size(other, name, x_uint8, len(encoded.data), search=True))


def _untimed(picture: Picture) -> Picture:
  record = dataclasses.replace(picture.record, encode_s=None, decode_s=None)
  return dataclasses.replace(picture, record=record)


def write_report(
  path: str | PathLike, name: str, x_uint8: np.ndarray, found: list[Picture], *, overwrite: bool
) -> None:
  """Writes the page: figures, and pictures side by side.

  Args:
    path: an HTML file.
    name, x_uint8, found: as of `compare`.
    overwrite: as `replace_atomically` takes it.
  """
  shown = gallery.image(name, x_uint8, found, _CROP_SIDE)
  report.write(path, [picture.record for picture in found], gallery=[shown], overwrite=overwrite)


def words(picture: Picture) -> str:
  """Says in one line what came of a codec."""
  record = picture.record
  size = f"{record.size_bytes} bytes, " if picture.x_hat is not None else ""
  return f"{label(record.codec)}: {size}{picture.words}"
