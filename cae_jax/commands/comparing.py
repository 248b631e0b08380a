"""A page of an image as it is compressed, beside other codecs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cae_jax.codec import automatic
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.coding.bitstream import unpack
from cae_jax.commands import loading
from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.images.files import read_rgb


def compare_file(
  source: Path,
  target: Path,
  *,
  weights: str | None = None,
  tune: str | None = None,
  codecs: str = "all",
  bpg_dir: Path | None = None,
  overwrite: bool = True,
  **goal: Any,
) -> Iterator[str]:
  """Writes a page of an image as `compress_file` makes it, and under other codecs at that size.

  Args:
    source: any image file that Pillow reads, taken as 8-bit RGB.
    target: the HTML file to write.
    weights, tune: as of `compress_bytes`.
    codecs, bpg_dir: see `evaluation.codecs.baselines.baselines`.
    overwrite: False leaves a file of the target's name alone.
    **goal: of `Codec.encode`, at most one that is not None.
  Yields:
    A line for each codec, as soon as it is known; the page is there at the end.
  Raises:
    MissingExtraError: packages of the evaluation are not installed.
    Error: the source is no image, or the goal cannot be met.
    OSError: a file cannot be read or written; FileExistsError if there is one, and `overwrite` is
      False.
  """
  try:
    from cae_jax.evaluation import photograph, report
    from cae_jax.evaluation.codecs import baselines
  except ModuleNotFoundError as error:
    if (error.name or "").startswith("cae_jax"):
      raise  # a bug
    raise MissingExtraError(
      f'a comparison needs {error.name}, which is not installed: pip install "cae_jax[compare]"'
    ) from error
  report.plotly_js()  # before the pictures, which take a while
  others = baselines.baselines(codecs, bpg_dir)
  image = read_rgb(source)
  lossy, lossless = loading.lossy_and_lossless(weights, tune, goal, False)
  if weights is not None and isinstance(loading.load_codec(weights), LosslessCodec):
    raise UsageError(f"the weights {weights} are lossless; expected lossy ones to compare")
  encoded = automatic.encode(image, lossy, lossless, tune=tune, **goal)
  name = unpack(encoded.data).header.model_id
  codec = next(codec for make in (*lossy, lossless) if (codec := make()).weights.name == name)
  found = []
  for picture in photograph.compare(codec, encoded, others, source.stem, image):
    found.append(picture)
    yield photograph.words(picture)
  photograph.write_report(target, source.stem, image, found, overwrite=overwrite)
