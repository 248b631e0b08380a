"""Metrics that aim at what people see: measured where they are asked for, since they take time.

Networks are loaded only then: reports know the names without JAX.
"""

import dataclasses
import functools
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.evaluation import programs, set_metrics
from cae_jax.evaluation.codecs.base import CodecError, Folder, Missing
from cae_jax.images import files, metrics

_BUTTERAUGLI = "butteraugli_main"
_HOW_TO_GET = (
  "install libjxl's tools, version 0.11 or later (Debian 13: apt install libjxl-devtools), or put "
  "the program on the PATH"
)
_MIN_SIDE = metrics.SSIMULACRA2_MIN_SIDE


@dataclasses.dataclass(frozen=True)
class PerceptualMetric:
  """A metric of 8-bit RGB pictures.

  Attributes:
    name: as in `--metrics`.
    fields: of `Record`, which it fills.
    measure: (original, decoded), both uint8 [H, W, 3] -> a value for each field: a figure, or what
      names features that were kept for a metric of the whole set.
  """

  name: str
  fields: tuple[str, ...]
  measure: Callable[[np.ndarray, np.ndarray], tuple[float | str, ...]]


def ssimulacra2() -> PerceptualMetric:
  """Sets up our own SSIMULACRA2 (`images.metrics`)."""
  return PerceptualMetric(
    "ssimulacra2", ("ssimulacra2",), lambda x, x_hat: (float(metrics.ssimulacra2(x, x_hat)),)
  )


def butteraugli(folder: Folder = None) -> PerceptualMetric | Missing:
  """Sets up libjxl's `butteraugli_main`: the 3-norm and the maximum of its map of differences.

  For a screen of 80 nits, as the program has it. 1 is about what people just see side by side.

  Args:
    folder: where the program is; None looks on the PATH.
  """
  program = shutil.which(_BUTTERAUGLI, path=None if folder is None else str(folder))
  if program is None:
    where = f"in {folder}" if folder else "on the PATH"
    return Missing("butteraugli", f"no program {_BUTTERAUGLI} {where}", _HOW_TO_GET)
  fields = ("butteraugli_3norm", "butteraugli_max")
  return PerceptualMetric("butteraugli", fields, functools.partial(_butteraugli, program))


def texture() -> PerceptualMetric | Missing:
  """Sets up DISTS with uniform weights and Wasserstein distortion, of one network's features."""
  try:
    from cae_jax.images.metrics import vgg

    vgg.load()
  except MissingExtraError as error:
    return _missing("texture", error)
  return PerceptualMetric("texture", ("dists", "wasserstein"), _texture)


def kid(folder: Folder = None) -> PerceptualMetric | Missing:
  """Sets up the kernel distance, which `set_metrics.with_kid` computes once all features are there.

  Args:
    folder: to keep the features in.
  """
  if folder is None:
    return Missing("kid", "no folder to keep features in", "name one")
  try:
    from cae_jax.images.metrics import resnet

    resnet.find()
  except MissingExtraError as error:
    return _missing("kid", error)
  return PerceptualMetric("kid", ("decoded_digest",), functools.partial(_keep, Path(folder)))


_FACTORIES: Mapping[str, Callable[[Folder], PerceptualMetric | Missing]] = {
  "ssimulacra2": lambda _: ssimulacra2(),
  "butteraugli": lambda _: butteraugli(),
  "texture": lambda _: texture(),
  "kid": kid,
}
NAMES = tuple(_FACTORIES)


def by_names(names: str, features: Folder = None) -> list[PerceptualMetric | Missing]:
  """Returns metrics by their names.

  Args:
    names: "all", "none", or names with commas between them.
    features: folder for what metrics of the whole set keep of each file.
  Returns:
    A metric for each name, or a `Missing` that says what is not there and how to get it.
  Raises:
    UsageError: a name is unknown.
  """
  wanted = {"all": list(NAMES), "none": []}.get(names)
  if wanted is None:
    wanted = [name.strip() for name in names.split(",")]
  unknown = [name for name in wanted if name not in NAMES]
  if unknown:
    raise UsageError(
      f"unknown metric {unknown[0]!r}; expected 'all', 'none' or some of {','.join(NAMES)}"
    )
  return [_FACTORIES[name](features) for name in wanted]


def measure(
  wanted: Sequence[PerceptualMetric], x: np.ndarray, x_hat: np.ndarray
) -> dict[str, float | str]:
  """Measures a decoded picture by all metrics that take pictures of its kind.

  Args:
    wanted: the metrics.
    x, x_hat: the original and the decoded picture, of any kind.
  Returns:
    By field of `Record`; nothing of pictures that are not 8-bit RGB, or have a side below 8.
  Raises:
    CodecError: a program failed.
  """
  if x.dtype != np.uint8 or x.shape[2:] != (3,) or min(x.shape[:2]) < _MIN_SIDE:
    return {}
  return {
    field: value
    for metric in wanted
    for field, value in zip(metric.fields, metric.measure(x, x_hat), strict=True)
  }


def _missing(name: str, error: MissingExtraError) -> Missing:
  reason, _, how_to_get = str(error).partition(": ")
  return Missing(name, reason, how_to_get)


def _texture(x: np.ndarray, x_hat: np.ndarray) -> tuple[float, ...]:
  from cae_jax.images.metrics import texture, vgg

  pair = [picture[None].astype(np.float32) for picture in (x, x_hat)]
  features = _original_features(x.tobytes(), x.shape), vgg.features(vgg.load(), pair[1])
  return tuple(float(value[0]) for value in texture.both(*pair, *features))


@functools.lru_cache(maxsize=1)  # many files of one original are measured in a row
def _original_features(samples: bytes, shape: tuple[int, ...]):
  from cae_jax.images.metrics import vgg

  return vgg.features(vgg.load(), np.frombuffer(samples, np.uint8).reshape(1, *shape))


def _keep(folder: Path, x: np.ndarray, x_hat: np.ndarray) -> tuple[str]:
  set_metrics.keep_features(folder, x)
  return (set_metrics.keep_features(folder, x_hat),)


def _butteraugli(program: str, x: np.ndarray, x_hat: np.ndarray) -> tuple[float, float]:
  printed = _compare(program, x, x_hat)
  found = re.fullmatch(r"([\d.]+)\n3-norm: ([\d.]+)\n", printed)
  if not found:
    raise CodecError(f"{program} does not answer as butteraugli_main does: {printed[:80]!r}")
  return float(found[2]), float(found[1])


def _compare(program: str, x: np.ndarray, x_hat: np.ndarray) -> str:
  """What a program prints of two files."""
  with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, name) for name in ("original.png", "decoded.png")]
    for path, picture in zip(paths, (x, x_hat), strict=True):
      files.write_image(path, picture)
    return programs.run([program, *map(str, paths)])
