"""The interactive report: one HTML file that needs no network.

The page is made of `assets/` (its text, style and program), the plotting library plotly.js as
the package plotly brings it, and the figures of the records as JSON. Nothing here needs JAX;
pictures come ready made (`gallery`).
"""

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from os import PathLike
from string import Template
from typing import Any

from cae_jax.atomic import replace_atomically
from cae_jax.errors import MissingExtraError, UsageError
from cae_jax.evaluation.names import in_order, is_baseline
from cae_jax.evaluation.rd import published
from cae_jax.evaluation.rd.tables import Table
from cae_jax.evaluation.records import Record
from cae_jax.evaluation.report import plots, tables

Gallery = Sequence[Mapping[str, Any]]


def write(
  path: str | PathLike,
  records: Sequence[Record],
  dataset: str = "",
  gallery: Gallery = (),
  timing: Table | None = None,
  *,
  overwrite: bool = True,
) -> None:
  """Writes the report, whole or not at all; arguments and errors as in `page`.

  With `overwrite` False a file that is there stays, and is a FileExistsError.
  """
  text = page(records, dataset, gallery, timing)
  with replace_atomically(path, overwrite=overwrite) as temporary:
    temporary.write_text(text, encoding="utf-8")


def page(
  records: Sequence[Record],
  dataset: str = "",
  gallery: Gallery = (),
  timing: Table | None = None,
) -> str:
  """Writes the report as one HTML document.

  Args:
    records: of `experiments.evaluate`.
    dataset: name of the data set; published curves appear where it and the images fit.
    gallery: images of `gallery.image`; without any the page says how to get them.
    timing: of `timing.read`, shown instead of the records' times.
  Returns:
    HTML with everything inlined.
  Raises:
    UsageError: no record has figures.
    MissingExtraError: plotly is not installed.
  """
  measured = [record for record in records if record.image is not None and record.mse is not None]
  if not measured:
    raise UsageError(
      "expected records with figures, got none; write them with python -m experiments.evaluate"
    )
  lossy = [record for record in measured if record.error_bound is None]
  bounded = [record for record in measured if record.error_bound is not None]
  literature = published.load_for(dataset, {record.image or "" for record in lossy})
  has_curves = _has_curves(lossy)
  has_times = timing is not None or any(record.decode_s is not None for record in measured)
  data = {**plots.plots(lossy, literature), "gallery": list(gallery)}
  return Template(_file("page.html")).substitute(
    title=html.escape(_title(measured)),
    lead=html.escape(_lead(measured, dataset)),
    style=_file("style.css"),
    plotly=plotly_js(),
    program=_program(),
    data=json_in_html(data),
    image_options=_options(data["images"]),
    bd_rates=tables.rate_distortion_html(lossy, literature),
    lossy_hidden=_hidden_unless(lossy),
    curves_hidden=_hidden_unless(has_curves),
    files=tables.files_html([] if has_curves else lossy),
    files_hidden=_hidden_unless(lossy and not has_curves),
    lossless=tables.lossless_html(bounded),
    lossless_hidden=_hidden_unless(bounded),
    gallery_hidden=_hidden_unless(gallery),
    test_hidden=_hidden_unless(any(len(image["shown"]) > 2 for image in gallery)),
    gallery_missing="hidden" if gallery else "",
    times_hidden=_hidden_unless(has_times),
    times=tables.times_html(measured, timing),
    codecs=tables.codecs_html(records),
  )


def json_in_html(data: Any) -> str:
  """Writes JSON that cannot end the script element it stands in."""
  text = json.dumps(data, allow_nan=False, separators=(",", ":"))
  return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def plotly_js() -> str:
  """Returns the plotting library as JavaScript.

  Raises:
    MissingExtraError: plotly is not installed.
  """
  try:
    from plotly.offline import get_plotlyjs
  except ModuleNotFoundError as error:
    raise MissingExtraError(
      'the report needs plotly, which is not installed: pip install "cae_jax[report]"'
    ) from error
  return get_plotlyjs()


def _has_curves(records: Sequence[Record]) -> bool:
  """Says whether some codec was measured at several settings of its own on one image."""
  points = [(record.codec, record.image) for record in records if record.matched_to is None]
  return len(set(points)) < len(points)


def _hidden_unless(shown: Any) -> str:
  """The attribute of an element that is there only if there is something to show."""
  return "" if shown else "hidden"


def _title(records: Sequence[Record]) -> str:
  own = [codec for codec in in_order(r.codec for r in records) if not is_baseline(codec)]
  # Not the network alone, which is named after its codec.
  whole = [c for c in own if not any(c != other and c.startswith(f"{other}-") for other in own)]
  return f"{', '.join(whole)} against classical codecs" if own else "Classical codecs"


def _lead(records: Sequence[Record], dataset: str) -> str:
  images, codecs = {(r.dataset, r.image) for r in records}, {r.codec for r in records}
  of = f" of {dataset}" if dataset else ""
  return (
    f"{_count(len(codecs), 'codec')} on {_count(len(images), 'image')}{of}, measured on "
    f"{_count(len(records), 'real file')}: rates are of whole files, headers included, and "
    "qualities of decoded pictures. Files that are to be lossless, or to keep a bound of their "
    "errors, were compared sample by sample."
  )


def _count(number: int, noun: str) -> str:
  return f"{number} {noun}" + "s" * (number != 1)


def _options(names: Sequence[str]) -> str:
  escaped = [html.escape(name) for name in names]
  return "".join(f'<option value="{name}">{name}</option>' for name in escaped)


def _program() -> str:
  return _file("page.js") + "\n" + _file("preference.js")


def _file(name: str) -> str:
  folder = resources.files("cae_jax.evaluation.report").joinpath("assets")
  return folder.joinpath(name).read_text(encoding="utf-8")
