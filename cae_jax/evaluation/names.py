"""Names and order of the codecs in tables and figures."""

import pathlib
from collections.abc import Iterable, Mapping

from cae_jax.evaluation.records import Record

# The classical codecs by their name in `--codecs`, in the order of the tables.
LABELS: Mapping[str, str] = {
  "jpeg": "JPEG",
  "jpeg_444": "JPEG 4:4:4",
  "jpeg2000": "JPEG 2000",
  "webp": "WebP",
  "jxl": "JPEG XL",
  "heic": "HEVC intra",
  "avif": "AVIF",
  "bpg": "BPG",
}


def label(codec: str) -> str:
  """The name people know a codec by; our own codecs keep theirs."""
  return LABELS.get(codec, codec)


def is_baseline(codec: str) -> bool:
  """Whether the codec is one of the classical ones, not ours."""
  return codec in LABELS


def in_order(codecs: Iterable[str]) -> list[str]:
  """Each codec once: ours first, then the baselines in the order of `LABELS`."""
  order = list(LABELS)
  once = dict.fromkeys(codecs)
  return sorted(once, key=lambda codec: order.index(codec) if codec in LABELS else -1)


def image_stem(record: Record) -> str:
  """The image's name without folder and suffix; empty for a row that stands for no image."""
  return pathlib.PurePath(record.image or "").stem
