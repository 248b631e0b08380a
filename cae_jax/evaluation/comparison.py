"""Our codec against others over images, in this process or in several."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tqdm

from cae_jax import processes
from cae_jax.codec import Codec
from cae_jax.evaluation import evaluate, perceptual
from cae_jax.evaluation.codecs import baselines, own_codec
from cae_jax.evaluation.codecs.base import Folder, ImageCodec, Missing
from cae_jax.evaluation.records import Record, last_measured

# May be gone through more than once, and is not held in memory.
Images = Sequence[tuple[str, np.ndarray]]
OnRecord = Callable[[Record], None]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What is compared, by names: other processes can be told.

  Attributes:
    weights: of our codec, a name or a file.
    codecs: names of the baselines, see `baselines.baselines`; "none" for none.
    bpg_dir: folder of BPG's programs.
    avif_speed: of AVIF's encoder.
    match: measure the baselines also at the size of each of our files.
    efforts: of our encoder, to be measured besides 0.
    looks: of our decoder, to be measured besides 0.
    qualities: of our codec, in place of nine from 0 to 100.
    metrics: names of `perceptual.by_names`; those that are missing are left out.
    features: folder for what metrics of the whole set keep of each file.
  """

  weights: str | Path
  codecs: str = "all"
  bpg_dir: Folder = None
  avif_speed: int = baselines.AVIF_SPEED
  match: bool = True
  efforts: tuple[int, ...] = ()
  looks: tuple[float, ...] = ()
  qualities: tuple[float, ...] = ()
  metrics: str = "none"
  features: Folder = None


def run(
  comparison: Comparison,
  images: Images,
  *,
  done: Sequence[Record] = (),
  on_record: OnRecord = lambda record: None,
  jobs: int = 1,
) -> list[Record]:
  """Measures our codec and the baselines on every image.

  Args:
    comparison: what to measure.
    images: (name, uint8 [H, W, 3]) pairs, such as `data.sources.pairs` of any number.
    done: records that need not be measured again, see `evaluate.run`.
    on_record: called with each new record, to store it: at once, or with several processes when
      its image is done.
    jobs: processes. With more than one, records have no times: the processes disturb each other.
  Returns:
    `done` and the new records, each measurement once.
  Raises:
    UsageError: see `evaluate.run`.
  """
  if jobs == 1:
    return _measure(comparison, images, done, on_record, progress=True)
  rows = list(done)

  def keep(record: Record) -> None:
    rows.append(record)
    on_record(record)

  for codec in others(comparison):
    if isinstance(codec, Missing):
      keep(Record(codec.name, None, None, status=codec.status))
  tasks = ((comparison, name, x, [r for r in done if r.image == name]) for name, x in images)
  results = processes.unordered(_measure_one, tasks, jobs)
  with contextlib.closing(results):
    for records in tqdm.tqdm(results, total=len(images), desc="evaluate", unit="image"):
      for record in records:
        keep(record)
  return last_measured(rows)


def _measure_one(task: tuple[Comparison, str, np.ndarray, list[Record]]) -> list[Record]:
  """The new records of one image, in a process among others."""
  comparison, name, x_uint8, done = task
  new: list[Record] = []
  _measure(comparison, [(name, x_uint8)], done, new.append, progress=False)
  return [
    dataclasses.replace(record, encode_s=None, decode_s=None) for record in new if record.image
  ]


def _measure(comparison: Comparison, images: Images, done, on_record: OnRecord, progress: bool):
  what = comparison.efforts, comparison.looks, comparison.qualities
  ours, *alone = own_codec.file_codecs(own(comparison), *what)
  more = further_metrics(comparison)
  present = others(comparison) if comparison.match else [ours, *others(comparison)]
  if alone:
    done = evaluate.run(alone, images, done=done, on_record=on_record, progress=progress, more=more)
  return evaluate.run(
    present,
    images,
    match_codec=ours if comparison.match else None,
    done=done,
    on_record=on_record,
    progress=progress,
    more=more,
  )


@functools.cache
def own(comparison: Comparison) -> Codec:
  """Returns our codec, loaded once in a process; see `own_codec.load`."""
  return own_codec.load(comparison.weights)


@functools.cache
def others(comparison: Comparison) -> list[ImageCodec | Missing]:
  """Returns the baselines, see `baselines.baselines`."""
  if comparison.codecs == "none":
    return []
  return baselines.baselines(comparison.codecs, comparison.bpg_dir, comparison.avif_speed)


@functools.cache
def further_metrics(comparison: Comparison) -> list[perceptual.PerceptualMetric]:
  """Returns the metrics that are there, see `perceptual.by_names`."""
  found = perceptual.by_names(comparison.metrics, comparison.features)
  return [metric for metric in found if isinstance(metric, perceptual.PerceptualMetric)]
