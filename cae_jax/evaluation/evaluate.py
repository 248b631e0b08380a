"""Codecs over images: fixed settings, and baselines at the size of our own files."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from cae_jax.errors import UsageError
from cae_jax.evaluation import measuring, samples
from cae_jax.evaluation.codecs.base import ImageCodec, Missing
from cae_jax.evaluation.perceptual import PerceptualMetric
from cae_jax.evaluation.records import Record, Setting, measurement_of, with_earlier

Settings = Mapping[str, Sequence[Setting]]


def run(
  codecs: Sequence[ImageCodec | Missing],
  images: Iterable[tuple[str, np.ndarray]],
  settings: Settings | None = None,
  match_codec: ImageCodec | None = None,
  on_record: Callable[[Record], None] = lambda record: None,
  done: Sequence[Record] = (),
  progress: bool = True,
  dataset: str = "",
  more: Sequence[PerceptualMetric] = (),
) -> list[Record]:
  """Measures every codec on every image.

  For each image: `match_codec` at its settings, then every codec at its fixed settings and, where
  there is a `match_codec`, at the size of each of its files.

  Args:
    codecs: the baselines; a `Missing` gives one row that says so.
    images: (name, image) pairs; images are uint8 [H, W, 3], or what the codecs take.
    settings: fixed settings by codec name; a codec not named runs its own `settings`, an empty
      sequence none.
    match_codec: our own codec; None measures fixed settings alone.
    on_record: called with each new record as soon as it is there, to store it.
    done: records of an earlier run (`records.resume_records`), not measured again: same codec,
      setting, image and version, and for a matched row the same size to meet.
    progress: shows a progress bar over the images.
    dataset: of the new records, and of `done`.
    more: further metrics to measure. What lacks one in `done` is measured again, and the new record
      stands for the old one.
  Returns:
    `done` and the new records, each measurement once.
  Raises:
    UsageError: a record of `done` is of an image of the same name with other samples.
  """
  settings = dict(settings or {})
  result = {measurement_of(record): record for record in done}
  digests = {record.image: record.digest for record in done if record.digest}
  seen = {key for key, record in result.items() if _has(record, more)}

  def keep(record: Record) -> None:
    key = measurement_of(record)
    earlier = result.pop(key, None)  # what was measured last stands last
    result[key] = with_earlier(dataclasses.replace(record, dataset=dataset), earlier)
    seen.add(key)
    on_record(result[key])

  for codec in codecs:
    if isinstance(codec, Missing):
      keep(Record(codec.name, None, None, status=codec.status))
  present = [codec for codec in codecs if not isinstance(codec, Missing)]
  if match_codec is not None:
    present = [match_codec, *present]
  for name, x_uint8 in tqdm.tqdm(images, desc="evaluate", unit="image", disable=not progress):
    _check_same(dataset, name, x_uint8, digests.get(name))
    targets: list[Record] = []
    for codec in present:
      fixed = settings.get(codec.name, codec.settings)
      for key, measure in _measurements(codec, fixed, targets, name, x_uint8, more):
        if key not in seen:
          keep(measure())
      if codec is match_codec:
        targets = _targets(result.values(), codec, name)
  return list(result.values())


def _has(record: Record, more: Sequence[PerceptualMetric]) -> bool:
  """Says whether a record has all of some further metrics."""
  return all(getattr(record, field) is not None for metric in more for field in metric.fields)


def _check_same(dataset: str, name: str, x_uint8: np.ndarray, digest: str | None) -> None:
  if digest is not None and digest != samples.digest(x_uint8):
    raise UsageError(
      f"{f'{dataset}, ' if dataset else ''}{name}: the earlier records are of other samples than "
      "this image has now; write to another --output, or leave their records out"
    )


def _measurements(
  codec: ImageCodec,
  settings: Sequence[Setting],
  targets: Sequence[Record],
  name: str,
  x_uint8: np.ndarray,
  more: Sequence[PerceptualMetric],
) -> Iterator[tuple[tuple, Callable[[], Record]]]:
  """What is to be measured of a codec on an image: `measurement_of` the record, what makes it."""
  for setting in settings:
    make = functools.partial(measuring.evaluate_image, codec, setting, name, x_uint8, more)
    yield (codec.name, setting, name, codec.version, None), make
  for target in targets:
    goal = (target.codec, target.setting, target.size_bytes)
    make = functools.partial(measuring.match_image, codec, name, x_uint8, target, more)
    yield (codec.name, None, name, codec.version, goal), make


def _targets(records: Iterable[Record], codec: ImageCodec, name: str) -> list[Record]:
  return [
    record
    for record in records
    if (record.codec, record.version, record.image) == (codec.name, codec.version, name)
    and record.matched_to is None
    and record.ok
  ]
