"""The classical codecs by name, each at its strong settings."""

from collections.abc import Callable, Mapping, Sequence

from cae_jax.errors import UsageError
from cae_jax.evaluation.codecs import bpg, cwebp, library_codecs, pillow_codecs
from cae_jax.evaluation.codecs.base import FileCodec, Folder, ImageCodec, Missing
from cae_jax.evaluation.names import LABELS

_BPG = {"bpg": 8, "bpg_10bit": 10}  # bits of a sample within
_FACTORIES: Mapping[str, Callable[[], FileCodec | Missing]] = {
  "jpeg": pillow_codecs.jpeg,
  "jpeg_444": pillow_codecs.jpeg_444,
  "jpeg2000": pillow_codecs.jpeg2000,
  "jpegli": library_codecs.jpegli,
  "webp": pillow_codecs.webp,
  "webp_sharp": cwebp.webp_sharp,
  "jxl": library_codecs.jxl,
  "heic": library_codecs.heic,
  "avif": pillow_codecs.avif,
  "avif_iq": pillow_codecs.avif_iq,
  "avif_ssimulacra2": pillow_codecs.avif_ssimulacra2,
}


def baselines(
  names: str | Sequence[str] = "all", bpg_dir: Folder = None
) -> list[ImageCodec | Missing]:
  """Returns the classical codecs, each at its strong settings.

  Args:
    names: "all", or names with commas between them, or a sequence of names; see `LABELS`.
    bpg_dir: the folder of `bpgenc` and `bpgdec`; None looks on the PATH.
  Returns:
    A codec for each name, or a `Missing` that says what is not there and how to get it.
  Raises:
    UsageError: a name is unknown.
  """
  if isinstance(names, str):
    names = list(LABELS) if names == "all" else [name.strip() for name in names.split(",")]
  unknown = [name for name in names if name not in LABELS]
  if unknown:
    raise UsageError(f"unknown codec {unknown[0]!r}; expected 'all' or some of {','.join(LABELS)}")
  return [
    bpg.bpg(bpg_dir, bits=_BPG[name]) if name in _BPG else _FACTORIES[name]() for name in names
  ]
