"""What all figures share: canvas, writing, legend, and a colour and shape for each codec."""

import io
import pathlib
from collections.abc import Mapping, Sequence
from os import PathLike

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cae_jax.atomic import replace_atomically
from cae_jax.paths import make_folder

_DPI = 150
# Okabe and Ito's palette, safe for the colour-blind; shapes tell the codecs apart in grey too.
_STYLES: Mapping[str, tuple[str, str]] = {
  "jpeg": ("#E69F00", "s"),
  "jpeg_444": ("#B8860B", "D"),
  "jpeg2000": ("#56B4E9", "^"),
  "jpegli": ("#F0C05A", "p"),
  "webp": ("#009E73", "v"),
  "webp_sharp": ("#5FBF9F", "1"),
  "jxl": ("#CC79A7", "P"),
  "heic": ("#8C6D46", "X"),
  "avif": ("#0072B2", "<"),
  "avif_iq": ("#004C78", "h"),
  "avif_ssimulacra2": ("#6FA8D6", "d"),
  "bpg": ("#D55E00", ">"),
  "bpg_10bit": ("#8F3F00", "4"),
  "png": ("#E69F00", "s"),
  "png_oxipng": ("#B8860B", "D"),
  "jpegls": ("#D55E00", ">"),
  "jpeg2000_lossless": ("#56B4E9", "^"),
  "heic_lossless": ("#8C6D46", "X"),
  "avif_lossless": ("#0072B2", "<"),
  "webp_lossless": ("#009E73", "v"),
  "jxl_e7": ("#7F3C6B", "X"),
  "jxl_e9": ("#CC79A7", "P"),
}
_DASHES = (
  (0, (6, 2)),
  (0, (2, 1.5)),
  (0, (6, 2, 2, 2)),
  (0, (9, 4)),
  (0, (4, 1.5, 1, 1.5, 1, 1.5)),
)
# As many as there are efforts: three colours of one marker, then of the next.
_OWN_STYLES = [
  (colour, marker) for marker in "o*Ds" for colour in ("#000000", "#777777", "#5D3A9B")
]


class _Picture(Figure):
  """A figure that notebooks show wherever it is the value of a cell, without pyplot."""

  def _repr_png_(self) -> bytes:
    png = io.BytesIO()
    self.savefig(png, format="png", dpi=_DPI / 2)
    return png.getvalue()


def figure(width: float, height: float) -> Figure:
  """Makes an empty figure of a size in inches, drawn by Agg."""
  picture = _Picture(figsize=(width, height), dpi=_DPI, layout="constrained")
  FigureCanvasAgg(picture)
  return picture


def save(figure: Figure, path: str | PathLike) -> None:
  """Writes the picture, whole or not at all; the folder is made if need be."""
  path = pathlib.Path(path)
  make_folder(path.parent)
  with replace_atomically(path) as temporary:
    figure.savefig(temporary)


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
  """Draws one legend of all panels below the figure; what several of them show is named once."""
  handles: dict[str, Artist] = {}
  for axes in panels:
    for handle, name in zip(*axes.get_legend_handles_labels()):
      handles.setdefault(name, handle)
  width = max(1.6, 0.7 + 0.09 * max(map(len, handles), default=0))
  columns = max(1, int(figure.get_figwidth() // width))
  figure.legend(
    list(handles.values()), list(handles), loc="outside lower center", ncols=columns, frameon=False
  )


def plain_ticks(axis: Axis) -> None:
  """Labels a logarithmic axis 0.2, 0.5, 1, 2 instead of by powers of ten."""
  axis.set_major_formatter("{x:g}")
  axis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "25" else "")


def dashed_styles(count: int) -> list[tuple[str, tuple]]:
  """Returns greys and dashes for curves in the background, told apart by both."""
  greys = [str(round(0.15 + 0.4 * i / max(1, count - 1), 2)) for i in range(count)]
  return [(grey, _DASHES[i % len(_DASHES)]) for i, grey in enumerate(greys)]


def style(codec: str, codecs: Sequence[str]) -> tuple[str, str]:
  """Returns colour and marker of a codec; `codecs` are all that share the figure."""
  if codec in _STYLES:
    return _STYLES[codec]
  own = [name for name in codecs if name not in _STYLES]
  return _OWN_STYLES[own.index(codec) % len(_OWN_STYLES)]
