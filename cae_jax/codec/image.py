"""Any image to the bytes of a file and back, with trained weights."""

from collections.abc import Callable, Mapping

import numpy as np

from cae_jax.codec import encoding
from cae_jax.codec.coders.base import LatentCoder
from cae_jax.codec.decoding import decode_container
from cae_jax.codec.encoding import DEFAULT_QUALITY, Analysed, Encoded
from cae_jax.codec.info import DEFAULT_MAX_PIXELS, info
from cae_jax.coding.bitstream import Header, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.weights import Weights

_TARGETS: Mapping[str, Callable[[Analysed, float, int], Encoded]] = {
  "quality": encoding.encode_quality,
  "bpp": encoding.encode_bpp,
  "psnr": encoding.encode_psnr,
  "size_bytes": encoding.encode_bytes,
}


class Codec:
  """Images to bytes and back.

      image -> RGB -> analysis, in windows -> y -> coder, in tiles -> sections of a file
            -> opacity: lossless -----------------------------------> section

  Attributes:
    weights: what it was made from.
    coder: the model.
  """

  info = staticmethod(info)

  def __init__(self, weights: Weights, coder: LatentCoder):
    self.weights = weights
    self.coder = coder
    self._hash = weights.hash()

  def compress(
    self,
    image: np.ndarray,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    size_bytes: float | None = None,
    effort: int = 0,
    metadata: Mapping[str, bytes] | None = None,
  ) -> bytes:
    """The file of an image, at a quality or, by a few trials, of a given size or PSNR.

    Args:
      image: uint8 [H, W] grey, [H, W, 3] RGB, or with alpha [H, W, 2] or [H, W, 4]. Alpha is kept
        exactly, colours under full transparency are not kept.
      quality: 0 to 100; 50 if nothing is asked for.
      bpp: bits of the whole file per pixel, at most; it ends within 1 % below.
      psnr: dB of the decoded image, at least; the smallest such file, within 0.02 dB.
      size_bytes: of the whole file, at most; it ends within 1 % below.
      effort: 0 to 9; above 0 the latents are refined for this image by gradient steps, which takes
        seconds to minutes and makes the file smaller. The decoder has no more work.
      metadata: kept in the file by name, such as "icc" or "exif".
    Returns:
      The bytes of a .cae file; if a size allows more than the highest quality takes, that one.
    Raises:
      ValueError: another type or shape, more than one target, or one that cannot be met.
    """
    return self.encode(
      image,
      quality=quality,
      bpp=bpp,
      psnr=psnr,
      size_bytes=size_bytes,
      effort=effort,
      metadata=metadata,
    ).data

  def encode(
    self,
    image: np.ndarray,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    size_bytes: float | None = None,
    effort: int = 0,
    metadata: Mapping[str, bytes] | None = None,
  ) -> Encoded:
    """As `compress`; the result has the file as `data`, and its `rate_bpp` and `psnr_db`."""
    asked = {"quality": quality, "bpp": bpp, "psnr": psnr, "size_bytes": size_bytes}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) > 1:
      raise ValueError(f"expected one target, got {' and '.join(given)}; leave out all but one")
    if given and not self.coder.rate_levels:
      name = next(iter(given))
      raise ValueError(f"the model {self.weights.name!r} has one rate only; leave {name} out")
    if effort and not self.coder.rate_levels:
      raise ValueError(f"the model {self.weights.name!r} cannot refine latents; leave effort out")
    encoding.check_effort(effort)
    [(name, value)] = given.items() or {"quality": DEFAULT_QUALITY}.items()
    encoding.check_target(name, value)
    source = Analysed(self.coder, self.weights.name, self._hash, image, metadata)
    return _TARGETS[name](source, value, effort)

  def decompress(self, data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """The image of a file.

    Args:
      data: the bytes of a .cae file.
      max_pixels: larger images are refused: a few hundred bytes can stand for a large, empty one,
        and decoding takes some 8 bytes of memory a pixel.
    Returns:
      uint8 [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], as it was compressed.
    Raises:
      BitstreamError: the file is damaged, or was made with other weights.
      ValueError: the image is larger than `max_pixels`.
    """
    container = unpack(data)
    header = container.header
    self._check_model(header)
    if header.height * header.width > max_pixels:
      raise ValueError(
        f"the image has {header.width} x {header.height} pixels, more than max_pixels = "
        f"{max_pixels}; if you trust the file, raise that"
      )
    return decode_container(self.coder, container)

  def _check_model(self, header: Header) -> None:
    ours = self.weights.name, self._hash
    if (header.model_id, header.model_hash) != ours:
      raise BitstreamError(
        "header",
        0,
        f"the file was made with the weights {header.model_id!r} ({header.model_hash.hex()}); "
        f"these are {ours[0]!r} ({ours[1].hex()})",
      )
