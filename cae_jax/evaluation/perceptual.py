"""Metrics that aim at what people see: measured where they are asked for, since they take time."""

import dataclasses
import functools
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cae_jax.errors import UsageError
from cae_jax.evaluation import programs
from cae_jax.evaluation.codecs.base import CodecError, Folder, Missing
from cae_jax.images import files, metrics

_BUTTERAUGLI, _SSIMULACRA2 = "butteraugli_main", "ssimulacra2"
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
    measure: (original, decoded), both uint8 [H, W, 3] -> a value for each field.
  """

  name: str
  fields: tuple[str, ...]
  measure: Callable[[np.ndarray, np.ndarray], tuple[float, ...]]


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


def reference_ssimulacra2(x: np.ndarray, x_hat: np.ndarray, folder: Folder = None) -> float:
  """Asks libjxl's own program `ssimulacra2`, to hold ours against it.

  Args:
    x, x_hat: uint8 [H, W, 3], the original and the decoded picture.
    folder: where the program is; None looks on the PATH.
  Raises:
    CodecError: it is not there, or failed.
  """
  program = shutil.which(_SSIMULACRA2, path=None if folder is None else str(folder))
  if program is None:
    raise CodecError(f"no program {_SSIMULACRA2}; {_HOW_TO_GET}")
  return float(_compare(program, x, x_hat))


_FACTORIES: Mapping[str, Callable[[], PerceptualMetric | Missing]] = {
  "ssimulacra2": ssimulacra2,
  "butteraugli": butteraugli,
}
NAMES = tuple(_FACTORIES)


def by_names(names: str) -> list[PerceptualMetric | Missing]:
  """Returns metrics by their names.

  Args:
    names: "all", "none", or names with commas between them.
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
  return [_FACTORIES[name]() for name in wanted]


def measure(
  wanted: Sequence[PerceptualMetric], x: np.ndarray, x_hat: np.ndarray
) -> dict[str, float]:
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


def _butteraugli(program: str, x: np.ndarray, x_hat: np.ndarray) -> tuple[float, float]:
  printed = _compare(program, x, x_hat)
  found = re.fullmatch(r"([\d.]+)\n3-norm: ([\d.]+)\n", printed)
  if not found:
    raise CodecError(f"{program} does not answer as butteraugli_main does: {printed[:80]!r}")
  return float(found[2]), float(found[1])


def _compare(program: str, x: np.ndarray, x_hat: np.ndarray) -> str:
  """What a program prints of two files."""
  with tempfile.TemporaryDirectory() as folder:
    paths = [pathlib.Path(folder, name) for name in ("original.png", "decoded.png")]
    for path, picture in zip(paths, (x, x_hat), strict=True):
      files.write_image(path, picture)
    return programs.run([program, *map(str, paths)])
