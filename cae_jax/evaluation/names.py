"""Names and order of the codecs in tables and figures."""

import pathlib
import re
from collections.abc import Iterable, Mapping

from cae_jax.evaluation.records import Record

# The classical codecs by their name in `--codecs`, in the order of the tables.
LABELS: Mapping[str, str] = {
  "jpeg": "JPEG",
  "jpeg_444": "JPEG 4:4:4",
  "jpeg2000": "JPEG 2000",
  "jpegli": "JPEG by jpegli",
  "webp": "WebP",
  "webp_sharp": "WebP, sharp chroma",
  "jxl": "JPEG XL",
  "heic": "HEVC intra",
  "avif": "AVIF",
  "avif_iq": "AVIF tune=iq",
  "avif_ssimulacra2": "AVIF tune=ssimulacra2",
  "bpg": "BPG",
  "bpg_10bit": "BPG, 10 bits within",
}

# The lossless ones, likewise; some can be near-lossless.
LOSSLESS_LABELS: Mapping[str, str] = {
  "png": "PNG",
  "png_oxipng": "PNG by oxipng",
  "jpegls": "JPEG-LS",
  "jpeg2000_lossless": "JPEG 2000 reversible",
  "heic_lossless": "HEVC lossless",
  "avif_lossless": "AVIF lossless",
  "webp_lossless": "WebP lossless",
  "jxl_e7": "JPEG XL effort 7",
  "jxl_e9": "JPEG XL effort 9",
}
_BASELINES = {**LABELS, **LOSSLESS_LABELS}

# Between the name of weights and the effort or the look that they were used with.
EFFORT, LOOK = "-effort", "-look"
_VARIED = re.compile(rf"({EFFORT}\d+|{LOOK}[\d.]+)$")


def label(codec: str) -> str:
  """Returns the name people know a codec by; our own keep theirs, with effort or look in words."""
  return _BASELINES.get(codec, codec.replace(EFFORT, ", effort ").replace(LOOK, ", look "))


def is_baseline(codec: str) -> bool:
  """Says whether the codec is one of the classical ones, not ours."""
  return codec in _BASELINES


def is_plain(codec: str) -> bool:
  """Says whether the name is one of weights alone, without effort or look."""
  return not _VARIED.search(codec)


def in_order(codecs: Iterable[str]) -> list[str]:
  """Lists each codec once: ours first, by name, then the baselines in the order of their labels."""
  order = list(_BASELINES)
  place = lambda codec: order.index(codec) if codec in _BASELINES else -1
  return sorted(set(codecs), key=lambda codec: (place(codec), codec))


def image_stem(record: Record) -> str:
  """Returns the image's name without folder and suffix; empty for a row that is of no image."""
  return pathlib.PurePath(record.image or "").stem
