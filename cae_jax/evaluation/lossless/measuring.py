"""Measures codecs that keep an error bound on several data sets."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cae_jax.evaluation import evaluate
from cae_jax.evaluation.codecs.base import FileCodec, Missing
from cae_jax.evaluation.records import Record

ImageSets = Mapping[str, Sequence[tuple[str, np.ndarray]]]


def run(
  codecs: Sequence[FileCodec | Missing],
  image_sets: ImageSets,
  *,
  done: Sequence[Record] = (),
  on_record: Callable[[Record], None] = lambda record: None,
) -> list[Record]:
  """Measures every codec on every image of every set.

  Args:
    codecs: `lossless_codecs.lossless_codecs` and `own_codec.lossless`.
    image_sets: by name, the (name, image) pairs of the sets.
    done: records of earlier runs, perhaps of other sets too; what they hold is not measured again.
    on_record: called with each new record.
  Returns:
    `done` and the new records.
  Raises:
    UsageError: a record is of an image of the same name with other samples.
  """
  present = {codec.version for codec in codecs if not isinstance(codec, Missing)}
  # Of each codec the version measured last counts.
  done = sorted(done, key=lambda record: record.version in present)
  rows = [record for record in done if record.dataset not in image_sets]
  for name, images in image_sets.items():
    of_set = [record for record in done if record.dataset == name]
    rows += evaluate.run(codecs, images, done=of_set, on_record=on_record, dataset=name)
  return rows
