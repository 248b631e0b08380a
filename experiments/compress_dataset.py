"""Compresses a data set of images into shards of .cae files, or makes image files of shards again.

  python -m experiments.compress_dataset --source_dir=PHOTOS --output_dir=SHARDS --bpp=0.5 --jobs=4
  python -m experiments.compress_dataset --dataset=div2k --output_dir=SHARDS --lossless
  python -m experiments.compress_dataset --decompress --source_dir=SHARDS --output_dir=PHOTOS

The same command again goes on where it was. The output folder also holds summary.json and, in
failures.jsonl, the images that failed. Options after -- are those of Apache Beam, such as
`-- --runner=FlinkRunner --flink_master=HOST:8081`; docs/how-to/datasets.md has examples.
"""

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import cae_jax
from cae_jax.bulk import jobs, parts, places, results
from cae_jax.bulk.places import Place
from cae_jax.bulk.results import Result
from cae_jax.codec import targets
from cae_jax.data.shards import list_shards
from cae_jax.errors import Error, MissingExtraError, UsageError
from cae_jax.paths import shown, user_path
from cae_jax.weights import read_metadata, shipped
from experiments import cli
from experiments.program_flags import Args, Flags

_GOALS = {
  "quality": "quality", "bpp": "bpp", "psnr": "psnr", "ssimulacra2": "ssimulacra2",
  "bytes": "size_bytes",
}  # fmt: skip
_OF_COMPRESSION = (
  "dataset", "lossless", "near_lossless", "tune", "effort", "keep_hidden_colour", "strip",
  "images_per_shard",
)  # fmt: skip


def define_flags(flags: Flags) -> None:
  """Defines the flags."""
  flags.string("source_dir", None, "Folder, tar file or bucket (gs://…) to read.")
  flags.string("dataset", None, "TFDS data set to compress instead, by its name.")
  flags.string("split", "all", "Its split, or a slice such as train[:10%].")
  flags.path("data_dir", None, "Where prepared data sets are kept; all workers must see it.")
  flags.string("output_dir", None, "Folder or bucket to write.", required=True)
  flags.boolean("decompress", False, "Make PNG files of the shards in --source_dir.")
  flags.integer("images_per_shard", 1000, "At most; a killed worker loses what it has of one.", 1)
  flags.integer("jobs", 1, "Processes on this machine.", 1)
  flags.number("quality", None, "0 to 100, 175 for the closest copies; 50 if nothing is asked for.")
  flags.number("bpp", None, "At most so many bits per pixel in each file.")
  flags.number("psnr", None, "At least so many dB; inf is lossless.")
  flags.number("ssimulacra2", None, "A score of at least so much; 90 hardly differs.")
  flags.integer("bytes", None, "At most so many bytes in each file.")
  flags.boolean("lossless", False, "Keep every sample.")
  flags.integer("near_lossless", None, "Let samples change by at most so much.", 0, 32767)
  flags.string("tune", None, "Of lossy files: psnr, for small errors, or eye.")
  flags.integer("effort", 0, "0 or 1, for small errors: files smaller by about 1 % by longer work.")
  flags.boolean("keep_hidden_colour", False, "Keep colours under full transparency, too.")
  flags.boolean("strip", False, "Leave out colour profile, EXIF and XMP.")
  flags.string("weights", None, "Others than the shipped ones, by their file.")


def main(args: Args, beam_options: Sequence[str] = ()) -> None:
  """Runs the program.

  Args:
    args: the flags.
    beam_options: those of Apache Beam.
  """
  output_dir = places.place(args.output_dir)
  settings, start = (_decompression if args.decompress else _compression)(args, output_dir)
  options = _beam_options(args, beam_options)
  with places.locked(output_dir):
    results.begin(output_dir, settings)
    result = start(options)
  print(result.line)
  if result.failures:
    raise Error(
      f"{len(result.failures)} failed, see {shown(output_dir / results.FAILURES)}; all others are "
      "done"
    )


# What the output depends on, and what makes it with options of Beam.
_Work = tuple[dict[str, Any], Callable[[Any], Result]]


def _compression(args: Args, output_dir: Place) -> _Work:
  options, weights, per_shard = _codec_options(args), _weights(args), args.images_per_shard
  if (args.source_dir is None) == (args.dataset is None):
    raise UsageError("expected one of --source_dir and --dataset")
  if args.dataset is None:
    find = functools.partial(parts.of_folder, places.place(args.source_dir), per_shard)
  else:
    data_dir = None if args.data_dir is None else places.place(args.data_dir)
    find = functools.partial(parts.of_dataset, args.dataset, args.split, data_dir)
  settings = {
    "images": parts.fingerprint(images.key() for images in find()),
    "images_per_shard": per_shard,
    "weights": _hashes(weights),
    "cae_jax": cae_jax.__version__,
    **options,
  }
  job = jobs.Compression(output_dir, {**options, "weights": weights})
  return settings, lambda beam: _pipeline().compress(find, per_shard, job, beam)


def _decompression(args: Args, output_dir: Place) -> _Work:
  given = [f", and no --{name}" for name in (*_OF_COMPRESSION, *_GOALS) if args[name].present]
  if args.source_dir is None or given:
    raise UsageError(f"--decompress: expected --source_dir of shards{''.join(given[:1])}")
  find = functools.partial(list_shards, places.place(args.source_dir))
  weights = _weights(args)
  job = jobs.Decompression(output_dir, weights)
  settings = {
    "shards": parts.fingerprint(f"{path} {places.size_of(path)}" for path in find()),
    "weights": _hashes(weights),
  }
  return settings, lambda beam: _pipeline().decompress(find, job, beam)


def _codec_options(args: Args) -> dict[str, Any]:
  """Those of `compressing.compress_bytes`, by name; all images would fail by a wrong one."""
  goals = {option: args[name].value for name, option in _GOALS.items()}
  exact = {"lossless": args.lossless or None, "near_lossless": args.near_lossless}
  for name, value in targets.one_target({**goals, **exact}).items():
    if name in goals and value != math.inf:
      targets.checked_target(name, value)
  if args.tune is not None:
    shipped.tuned(args.tune)
    if args.weights is not None:
      raise UsageError("--weights and --tune: expected one of them, got both")
  effort = targets.checked_effort(args.effort)
  if args.weights is None and not any(exact.values()):
    shipped.check_effort(shipped.tunes_for(args.tune, goals)[0], effort)
  return {
    **goals,
    "lossless": args.lossless,
    "near_lossless": args.near_lossless,
    "tune": args.tune,
    "effort": effort,
    "keep_hidden_colour": args.keep_hidden_colour,
    "strip": args.strip,
  }


def _weights(args: Args) -> str | None:
  """Names shipped weights, or gives the path of others from anywhere."""
  if args.weights is None or args.weights in shipped.shipped():
    return args.weights
  return str(user_path(args.weights).absolute())


def _hashes(weights: str | None) -> dict[str, str]:
  """Says which weights are used: those given, else all that are shipped."""
  paths = shipped.shipped().values() if weights is None else [shipped.find(weights)]
  cards = map(read_metadata, paths)
  return {card["name"]: card["hash"] for card in cards}


def _beam_options(args: Args, given: Sequence[str]) -> Any:
  """Makes the options of Beam; without a runner, processes of this machine do the work.

  Raises:
    MissingExtraError: Beam is not installed.
    UsageError: there are flags of both.
  """
  here = {
    "direct_num_workers": args.jobs,
    "direct_running_mode": "multi_processing" if args.jobs > 1 else "in_memory",
    "default_sdk_harness_log_level": "WARNING",
  }
  if any(option.startswith("--runner") for option in given):
    if args["jobs"].present:
      raise UsageError("--jobs is of this machine; give the runner's own option in its place")
    here = {}
  _pipeline()  # raises
  from apache_beam.options.pipeline_options import PipelineOptions

  return PipelineOptions([*given], **here)


def _pipeline() -> Any:
  """Imports the part that needs Beam.

  Raises:
    MissingExtraError: Beam is not installed.
  """
  try:
    from cae_jax.bulk import pipeline
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "apache_beam":
      raise
    raise MissingExtraError(
      'Apache Beam is not installed: pip install "cae_jax[beam]", in an environment of its own: it '
      "asks for older versions of some packages than the rest"
    ) from error
  return pipeline


def run(arguments: Sequence[str] | None = None) -> int:
  """Runs the program with a command line, of which Beam's options come after --."""
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  end = [*arguments, "--"].index("--")
  return cli.run(lambda args: main(args, arguments[end + 1 :]), define_flags, arguments[:end])


if __name__ == "__main__":
  sys.exit(run())
