"""Images to bytes and back in one call, with the weights of the package."""

import functools
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

from cae_jax.codec.info import DEFAULT_MAX_PIXELS
from cae_jax.coding.bitstream import Container, unpack
from cae_jax.coding.varint import BytesLike

if TYPE_CHECKING:
  import numpy as np

  from cae_jax.codec.decoded import Decoded
  from cae_jax.codec.encoding import Encoded
  from cae_jax.codec.lossless.image import LosslessEncoded
  from cae_jax.codec.regions import Region

_lock = threading.Lock()


def _renew_lock() -> None:
  """For a forked process: the thread that held the lock is not in it."""
  global _lock
  _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def compress(
  image: Any,
  *,
  lossless: bool = False,
  near_lossless: SupportsIndex | None = None,
  quality: SupportsFloat | None = None,
  bpp: SupportsFloat | None = None,
  psnr: SupportsFloat | None = None,
  ssimulacra2: SupportsFloat | None = None,
  size_bytes: SupportsFloat | None = None,
  tune: str | None = None,
  effort: SupportsIndex = 0,
  keep_hidden_colour: bool = False,
  metadata: Mapping[str, BytesLike] | None = None,
) -> bytes:
  """Compresses an image: lossy at a quality, of a given size or PSNR, near-lossless, or lossless.

      data = cae_jax.compress(image, bpp=0.5)
      data = cae_jax.compress(image, lossless=True)

  A PSNR, a score or a size that asks for more than the lossy codecs can give is met by the
  near-lossless or the lossless one; `psnr=math.inf` is lossless. Drawings and screenshots, too, are
  lossless where that takes no more bytes, or near-lossless, with fewer colours, where that is
  smaller than a lossy file and closer; what is drawn on a page with photographs becomes a layer
  over a lossy picture. Arrays of uint16 are never lossy, and so coarse where few bytes are asked
  for: there reduce them to 8 bits first.

  Args:
    image: uint8 [H, W] grey, [H, W, 3] RGB, or with alpha [H, W, 2] or [H, W, 4], of NumPy or JAX,
      or the pixels of an image of Pillow, whose `save` keeps its profile, too; uint16 unless a
      quality is asked for.
    lossless: every sample comes back, but for colours under full transparency.
    near_lossless: no sample differs by more than this, in grey levels, but for these.
    quality: 0 to 100, up to 175 for copies closer still; 50 if nothing is asked for.
    bpp: bits of the whole file per pixel, at most.
    psnr: dB of the decoded image, at least; of uint16 against 65535.
    ssimulacra2: score of the decoded image, at least; 90 is hardly any visible difference, 70 high
      quality, 50 medium.
    size_bytes: of the whole file, at most.
    tune: of lossy files, "eye" for how pictures look, which is meant if nothing is said but with a
      `psnr`, or "psnr" for small errors.
    effort: 0 or 1, of lossy files for small errors: 1 saves 1 % at equal PSNR by longer work.
    keep_hidden_colour: lossless and near-lossless files keep colours under full transparency, too.
    metadata: kept in the file by name, such as "icc" or "exif".
  Returns:
    The bytes of a .cae file.
  Raises:
    UsageError: another type or shape, more than one target, or one that cannot be met.
  """
  return encode(
    image,
    lossless=lossless,
    near_lossless=near_lossless,
    quality=quality,
    bpp=bpp,
    psnr=psnr,
    ssimulacra2=ssimulacra2,
    size_bytes=size_bytes,
    tune=tune,
    effort=effort,
    keep_hidden_colour=keep_hidden_colour,
    metadata=metadata,
  ).data


def encode(
  image: Any, *, lossless: bool = False, tune: str | None = None, **asked: Any
) -> "Encoded | LosslessEncoded":
  """Compresses as `compress`; the result has the file as `data`, its `rate_bpp` and `psnr_db`."""
  from cae_jax.codec import automatic
  from cae_jax.weights import shipped

  lossy = shipped.lossy(tune, asked, codec)
  exact = functools.partial(codec, shipped.LOSSLESS)
  return automatic.encode(_array_of(image), lossy, exact, exact=lossless, tune=tune, **asked)


def decompress(
  data: BytesLike,
  *,
  max_pixels: int = DEFAULT_MAX_PIXELS,
  region: "Region | None" = None,
  look: SupportsFloat = 0,
) -> "np.ndarray":
  """Decompresses a file into its image, whichever of the shipped weights it was made with.

      image = cae_jax.decompress(data)
      part = cae_jax.decompress(data, region=(top, left, height, width))

  Args:
    data: the bytes of a .cae file.
    max_pixels: larger images are refused, as are narrow ones of far more pixels with their padding
      (`FileDecoder.decompress` says when).
    region: top, left, height and width in pixels, to decode only that; it is what would be cut out
      of the whole image, to the last bit.
    look: from 0, the picture closest to the original, to 1, one that looks most real, for weights
      that have a look; of lossy files only.
  Returns:
    uint8 or uint16, [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], as it was compressed.
  Raises:
    BitstreamError: the file is damaged.
    UsageError: the image is larger than `max_pixels`, the region is not within it, the argument
      does not hold bytes, or there is no such look.
    WeightsError: the file was made with weights that this version does not have.
  """
  return decode(data, max_pixels=max_pixels, region=region, look=look).image


def decode(
  data: BytesLike | Container,
  *,
  max_pixels: int = DEFAULT_MAX_PIXELS,
  region: "Region | None" = None,
  salvage: bool = False,
  look: SupportsFloat = 0,
) -> "Decoded":
  """Decompresses a file into its image, `metadata` and `info`; raises as `decompress`.

  With `salvage` a damaged file is no error if its header is whole and anything is left: what is not
  is filled, and listed as `damage`.
  """
  container = data if isinstance(data, Container) else unpack(data, salvage=salvage)
  return _codec_of(container).decode(
    container, max_pixels=max_pixels, region=region, salvage=salvage, look=look
  )


def preview(data: BytesLike | Container, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> "np.ndarray":
  """Makes a small picture of an eighth of the size, in a sixth of the time or less.

      small = cae_jax.preview(data)

  Args:
    data: the bytes of a .cae file, or what `coding.unpack` makes of them.
    max_pixels: larger images are refused, as are narrow ones of far more pixels with their padding
      (`FileDecoder.decompress` says when).
  Returns:
    uint8 or uint16 [ceil(H / 8), ceil(W / 8)] or [..., channels].
  Raises:
    BitstreamError, UsageError, WeightsError: as `decompress`.
  """
  container = data if isinstance(data, Container) else unpack(data)
  return _codec_of(container).preview(container, max_pixels=max_pixels)


def _codec_of(container: Container) -> Any:
  """The codec of the shipped weights that a file was made with."""
  from cae_jax.weights.shipped import find_for_file

  header = container.header
  return codec(str(find_for_file(header.model_id, header.model_hash.hex())))


def codec(weights: str | None) -> Any:
  """Returns the codec of weights, a `Codec` or a `LosslessCodec`.

  It is made once for all threads, and whether weights are named, given by their file, or left out.
  """
  from cae_jax.weights import shipped

  path = os.path.abspath(shipped.find(weights))
  with _lock:
    return _codec(path)


@functools.cache
def _codec(path: str) -> Any:
  from cae_jax import codec as codecs

  return codecs.load(path)


def _array_of(image: Any) -> Any:
  """Makes an array of an image of Pillow, and of nothing else."""
  # Also of formats that other packages teach Pillow.
  if not any(kind.__module__.startswith("PIL.") for kind in type(image).__mro__):
    return image
  from cae_jax.images.pixels import from_pillow

  return from_pillow(image)
