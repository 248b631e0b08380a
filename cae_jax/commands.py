"""Image files to .cae files and back: what the command line does with each file."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cae_jax.codec import DEFAULT_MAX_PIXELS, info
from cae_jax.coding.bitstream import Kind, unpack
from cae_jax.images.files import read_image, replace_atomically, write_image

if TYPE_CHECKING:
  from cae_jax.codec import Codec

SUFFIX = ".cae"
_KINDS = {
  Kind.GREY: "grey",
  Kind.GREY_ALPHA: "grey with alpha",
  Kind.RGB: "RGB",
  Kind.RGBA: "RGBA",
}

# (source, target) -> a line that says what was done
Command = Callable[[Path, Path], str]


def compress_file(
  source: Path,
  target: Path,
  *,
  weights: str | None = None,
  strip: bool = False,
  effort: int = 0,
  **goal: float | None,
) -> str:
  """Compresses an image file.

  Args:
    source: any image file that Pillow reads.
    target: the .cae file to write.
    weights: a shipped name or a file; the default ones if None.
    strip: leaves out colour profile, EXIF and XMP.
    effort: of `Codec.encode`.
    **goal: of `Codec.encode`, at most one that is not None.
  Returns:
    What was done, with the true rate and PSNR.
  """
  image = read_image(source)
  kept = {} if strip else image.metadata
  encoded = load_codec(weights).encode(image.pixels, metadata=kept, effort=effort, **goal)
  with replace_atomically(target) as temporary:
    temporary.write_bytes(encoded.data)
  quality = "" if encoded.quality is None else f", quality {encoded.quality:.1f}"
  line = (
    f"{source} -> {target}: {len(encoded.data)} bytes, {encoded.rate_bpp:.4f} bpp, "
    f"{encoded.psnr_db:.2f} dB{quality}"
  )
  return "; ".join([line, *image.notes])


def decompress_file(
  source: Path,
  target: Path,
  *,
  weights: str | None = None,
  max_pixels: int = DEFAULT_MAX_PIXELS,
) -> str:
  """Decompresses a .cae file into an image file, whose suffix decides the format.

  Args:
    source: the .cae file.
    target: the image file to write.
    weights: a shipped name or a file; if None, the shipped ones that the file was made with.
    max_pixels: larger images are refused.
  Returns:
    What was done.
  """
  data = source.read_bytes()
  image = _codec_for(data, weights).decompress(data, max_pixels=max_pixels)
  metadata = unpack(data).metadata
  notes = write_image(
    target,
    image,
    icc_profile=metadata.get("icc"),
    exif=metadata.get("exif"),
    xmp=metadata.get("xmp"),
  )
  height, width = image.shape[:2]
  line = f"{source} -> {target}: {width} x {height} {_KINDS[info(data).kind]}"
  return "; ".join([line, *notes])


def describe_file(source: Path) -> str:
  """What `info` says of a .cae file, in several lines."""
  content = info(source.read_bytes())
  level = "" if content.rate_level is None else f", rate level {content.rate_level}"
  metadata = [f"{name} ({size} bytes)" for name, size in content.metadata_bytes.items()]
  return "\n".join(
    [
      f"{source}: {content.width} x {content.height} {_KINDS[content.kind]}",
      f"  {content.size_bytes} bytes, {content.rate_bpp:.4f} bpp",
      f"  model {content.model_id}, weights {content.model_hash}{level}",
      f"  sections of {', '.join(map(str, content.section_bytes))} bytes",
      f"  metadata: {', '.join(metadata) or 'none'}",
    ]
  )


@functools.cache
def load_codec(weights: str | None) -> "Codec":
  """The codec of weights, with compiled programs kept on disk."""
  from cae_jax import codec, compile_cache

  compile_cache.enable()
  return codec.load(weights)


def _codec_for(data: bytes, weights: str | None) -> "Codec":
  content = info(data)
  if weights is not None:
    return load_codec(weights)
  from cae_jax.weights.shipped import find_for_file

  return load_codec(str(find_for_file(content.model_id, content.model_hash)))
