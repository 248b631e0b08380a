"""Curves of the literature on the 24 Kodak images, shipped with their sources."""

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.resources.abc import Traversable

from cae_jax.errors import UsageError
from cae_jax.evaluation.rd.curves import Convention, Curve, Points

KODAK_IMAGES = tuple(f"kodim{number:02d}" for number in range(1, 25))
# A few to draw, from a classical codec and the first learned ones to the best.
DRAWN = ("vtm", "bmshj2018-hyperprior", "mbt2018-mean", "elic2022", "hpcm-large")
_METRICS = {"psnr_db (RGB, 8 bit)": "psnr_db"}
_AVERAGING = "mean of per-image PSNR"  # as ours


def names() -> tuple[str, ...]:
  """Lists all curves there are."""
  return tuple(sorted(file.name[: -len(".json")] for file in _folder() if _is_curve(file)))


def load(wanted: Sequence[str] = DRAWN) -> tuple[Curve, ...]:
  """Reads published curves by name, in the order given.

  Raises:
    UsageError: there is no such curve.
    ValueError: the file of one does not state its source and convention.
  """
  files = {file.name: file for file in _folder()}
  unknown = [name for name in wanted if f"{name}.json" not in files]
  if unknown:
    raise UsageError(f"no published curve {unknown[0]!r}; there are {', '.join(names())}")
  return tuple(_parse(name, files[f"{name}.json"].read_text(encoding="utf-8")) for name in wanted)


def load_for(dataset: str, images: Iterable[str], wanted: Sequence[str] = DRAWN) -> list[Curve]:
  """Reads the curves that may stand beside measurements of these images.

  Args:
    dataset: its name, as in `--dataset`.
    images: names of the images measured.
    wanted: names of curves.
  Returns:
    The curves; empty unless the images are all 24 of Kodak, since means over others differ.
  """
  is_kodak = dataset.partition("/")[0] == "kodak" and set(images) == set(KODAK_IMAGES)
  return list(load(wanted)) if is_kodak else []


def _folder() -> Iterable[Traversable]:
  return resources.files("cae_jax.evaluation.rd").joinpath("literature").iterdir()


def _is_curve(file: Traversable) -> bool:
  return file.name.endswith(".json")


def _parse(name: str, text: str) -> Curve:
  fields = json.loads(text)
  metric = _METRICS.get(fields["metric"])
  known = fields["averaging"] == _AVERAGING and fields["source"]
  if fields["dataset"] != "kodak" or metric is None or not known:
    raise ValueError(
      f"{name}.json: expected dataset kodak, a metric of {list(_METRICS)}, the averaging "
      f"{_AVERAGING!r} and a source; state them or leave the curve out"
    )
  return Curve(
    name=fields["label"],
    convention=Convention(metric, KODAK_IMAGES),
    mean=Points(tuple(fields["bpp"]), tuple(fields["psnr_db"])),
    source=fields["source"],
  )
