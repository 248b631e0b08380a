"""Jobs as Apache Beam pipelines, which run on one machine, on Flink, Spark or Dataflow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from cae_jax.bulk import jobs, parts, results
from cae_jax.bulk.parts import Images
from cae_jax.bulk.places import Place
from cae_jax.bulk.results import Result

Job = Callable[[Any], Result]

_NAMESPACE = "cae_jax"


def compress(
  find: Callable[[], Sequence[Images]],
  images_per_shard: int,
  job: jobs.Compression,
  options: PipelineOptions,
) -> Result:
  """Makes shards of images.

  Args:
    find: finds the images of the data set; it is sent to a worker, and not what it finds, which
      may be more than a runner takes as part of a pipeline.
    images_per_shard: at most.
    job: what to do with each part.
    options: of Beam; without a runner it works on this machine.
  Returns:
    The sums, which are also in the output folder.
  """

  def split(numbered: tuple[int, Images]) -> Iterator[parts.Part]:
    return parts.split(*numbered, images_per_shard)

  def work(pipeline: beam.Pipeline) -> beam.PCollection:
    start = pipeline | "Start" >> beam.Create([None])
    files = start | "Find files" >> beam.FlatMap(lambda _: enumerate(find()))
    return files | "Spread files" >> beam.Reshuffle() | "Split" >> beam.FlatMap(split)

  return _run(work, job, job.output_dir, options)


def decompress(
  find: Callable[[], Sequence[Place]], job: jobs.Decompression, options: PipelineOptions
) -> Result:
  """Makes image files of shards.

  Args:
    find: finds the shards.
    job: what to do with each.
    options: of Beam; without a runner it works on this machine.
  Returns:
    The sums, which are also in the output folder.
  """

  def work(pipeline: beam.Pipeline) -> beam.PCollection:
    start = pipeline | "Start" >> beam.Create([None])
    return start | "Find files" >> beam.FlatMap(lambda _: find())

  return _run(work, job, job.output_dir, options)


def _run(
  work: Callable[[beam.Pipeline], beam.PCollection],
  job: Job,
  output_dir: Place,
  options: PipelineOptions,
) -> Result:
  """Spreads work over all workers, and adds up what comes of it."""
  runner = None if options.view_as(StandardOptions).runner else _local_runner(options)
  with beam.Pipeline(runner, options) as pipeline:
    _ = (
      work(pipeline)
      | "Spread" >> beam.Reshuffle()
      | "Work" >> beam.ParDo(_Work(job))
      | "Sum" >> beam.CombineGlobally(results.total)
      | "Write the sums" >> beam.Map(lambda result: results.write_summary(output_dir, result))
    )
  return results.read_summary(output_dir)


def _local_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
  """The runner of this machine that has processes, with options that reach them.

  Beam's DirectRunner would fetch a program, and start threads.
  """
  encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
  information = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
  return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(information))


class _Work(beam.DoFn):
  """Does a job; there is one codec in a process, whatever Beam makes of this."""

  def __init__(self, job: Job):
    self._job = job

  def setup(self) -> None:
    jobs.prepare_process()

  def process(self, element: Any) -> Iterable[Result]:
    result = self._job(element)
    for name, count in (("images", result.images), ("failures", len(result.failures))):
      beam.metrics.Metrics.counter(_NAMESPACE, name).inc(count)
    yield result
