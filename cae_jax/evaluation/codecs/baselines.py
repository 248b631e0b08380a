"""The classical codecs by name, each at its strong settings."""

from collections.abc import Callable, Mapping, Sequence

from cae_jax.errors import UsageError
from cae_jax.evaluation.codecs import bpg, cwebp, library_codecs, pillow_codecs
from cae_jax.evaluation.codecs.base import FileCodec, Folder, ImageCodec, Missing
from cae_jax.evaluation.names import LABELS

AVIF_SPEED = 4

_AVIF = {"avif": "psnr", "avif_iq": "iq", "avif_ssimulacra2": "ssimulacra2"}  # what it is tuned for
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
}


def baselines(
  names: str | Sequence[str] = "all", bpg_dir: Folder = None, avif_speed: int = AVIF_SPEED
) -> list[ImageCodec | Missing]:
  """Returns the classical codecs, each at its strong settings.

  Args:
    names: "all", or names with commas between them, or a sequence of names; see `LABELS`.
    bpg_dir: the folder of `bpgenc` and `bpgdec`; None looks on the PATH.
    avif_speed: of AVIF's encoder, 0 (slowest) to 10. 2 saves 2 to 5 % of the bits at 4, in 3 times
      the time; 0 saves about 1 % more, in 3 times the time again.
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

  def make(name: str) -> FileCodec | Missing:
    if name in _BPG:
      return bpg.bpg(bpg_dir, bits=_BPG[name])
    if name in _AVIF:
      return pillow_codecs.avif(name, _AVIF[name], avif_speed)
    return _FACTORIES[name]()

  return [make(name) for name in names]
