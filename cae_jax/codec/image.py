"""Any image to the bytes of a file and back, with trained weights."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from cae_jax import backend
from cae_jax.codec import encoding
from cae_jax.codec.coders import make_coder
from cae_jax.codec.coders.base import LatentCoder
from cae_jax.codec.decoded import Decoded, FileDecoder
from cae_jax.codec.decoding import decode_container, preview_container
from cae_jax.codec.drawn import check_layer
from cae_jax.codec.encoding import Analysed, Encoded
from cae_jax.codec.regions import Region
from cae_jax.codec.targets import DEFAULT_QUALITY, checked_effort, checked_target, one_target
from cae_jax.coding.bitstream import Container
from cae_jax.coding.varint import BytesLike
from cae_jax.errors import UsageError
from cae_jax.weights import Weights, shipped
from cae_jax.weights.look import Look, check_look

_TARGETS: Mapping[str, Callable[[Analysed, float, int], Encoded]] = {
  "quality": encoding.encode_quality,
  "bpp": encoding.encode_bpp,
  "psnr": encoding.encode_psnr,
  "ssimulacra2": encoding.encode_ssimulacra2,
  "size_bytes": encoding.encode_bytes,
}


class Codec(FileDecoder):
  """Images to bytes and back.

      image -> RGB -> analysis, in windows -> y -> coder, in tiles -> sections of a file
            -> opacity, and a drawn layer if there is one: lossless -> sections

  It can be used in several threads, and sent to other processes; in those forked from one in which
  JAX was in use only without effort (`backend.has_accelerator`).

  Attributes:
    weights: what it was made from.
    look: of these weights, or None if they have none.
  """

  def __init__(self, weights: Weights, coder: LatentCoder, look: Look | None = None):
    super().__init__(weights)
    if look is not None:
      check_look(look, weights, self._hash.hex())
    self.look = look
    self.coder = coder

  @functools.cached_property
  def coder(self) -> LatentCoder:
    """The model; made anew in the process that a codec was sent to."""
    return make_coder(self.weights)

  def __getstate__(self) -> dict[str, Any]:
    # Without the coder, and without arrays of JAX: unpickling must need no JAX, since a pool of
    # processes waits for ever for a process in which it fails or hangs.
    return {"weights": self.weights.in_numpy(), "look": self.look, "_hash": self._hash}

  def compress(
    self,
    image: np.ndarray,
    *,
    quality: SupportsFloat | None = None,
    bpp: SupportsFloat | None = None,
    psnr: SupportsFloat | None = None,
    ssimulacra2: SupportsFloat | None = None,
    size_bytes: SupportsFloat | None = None,
    effort: SupportsIndex = 0,
    metadata: Mapping[str, BytesLike] | None = None,
  ) -> bytes:
    """Compresses an image at a quality or, by a few trials, of a given size, PSNR or score.

    Args:
      image: uint8 [H, W] grey, [H, W, 3] RGB, or with alpha [H, W, 2] or [H, W, 4], of NumPy or
        JAX. Alpha is kept exactly, colours under full transparency are not kept.
      quality: 0 to 100, up to 175 for copies closer still; 50 if nothing is asked for.
      bpp: bits of the whole file per pixel, at most; mostly within 1 % below, of small files 3.
      psnr: dB of the decoded image, at least; the file is within 0.02 dB or 1 % of the smallest.
      ssimulacra2: score of the decoded image, at least; within 0.2 or 1 % of the smallest file.
      size_bytes: of the whole file, at most; mostly within 1 % below, of small files 3.
      effort: 0, or 1 to refine the latents for this image by a step down its squared error and
        bits: smaller files of weights for small errors (larger ones, at equal looks, of those for
        the eye), three times the time, and a compilation of some 20 s the first time.
      metadata: kept in the file by name, such as "icc" or "exif".
    Returns:
      The bytes of a .cae file; if a size allows more than the highest quality takes, that one.
    Raises:
      UsageError: another type or shape, more than one target, or one that cannot be met.
    """
    return self.encode(
      image,
      quality=quality,
      bpp=bpp,
      psnr=psnr,
      ssimulacra2=ssimulacra2,
      size_bytes=size_bytes,
      effort=effort,
      metadata=metadata,
    ).data

  def encode(
    self,
    image: np.ndarray,
    *,
    quality: SupportsFloat | None = None,
    bpp: SupportsFloat | None = None,
    psnr: SupportsFloat | None = None,
    ssimulacra2: SupportsFloat | None = None,
    size_bytes: SupportsFloat | None = None,
    effort: SupportsIndex = 0,
    metadata: Mapping[str, BytesLike] | None = None,
    layer: np.ndarray | None = None,
  ) -> Encoded:
    """Compresses as `compress`; the result has the file as `data`, its `rate_bpp`, `psnr_db`.

    Args:
      image, quality, bpp, psnr, ssimulacra2, size_bytes, effort, metadata: as of `compress`.
      layer: of what is drawn, see `drawn.drawn_layer`; coded by itself.
    """
    self.weights.check_whole()
    asked = {"quality": quality, "bpp": bpp, "psnr": psnr, "ssimulacra2": ssimulacra2}
    given = one_target(asked | {"size_bytes": size_bytes})
    effort = checked_effort(effort)
    if effort or not self.coder.works_on_host:
      backend.require()
    if not self.coder.rate_levels:
      self._check_fixed_rate(given, effort)
    [(asked_for, value)] = given.items() or {"quality": DEFAULT_QUALITY}.items()
    target = checked_target(asked_for, value)
    if layer is not None:
      check_layer(layer, image)
    tune = shipped.tune_of(self.weights.card)
    source = Analysed(self.coder, self.weights.name, self._hash, image, metadata, tune, layer)
    return _TARGETS[asked_for](source, target, effort)

  @property
  def _multiple(self) -> int:
    return self._decoder().multiple

  def _decode(
    self, container: Container, region: Region | None, salvage: bool, look: float
  ) -> Decoded:
    if look and self.look is None:
      raise UsageError(
        f"the weights {self.weights.name!r} have no look; leave look {look:g} out, make files for "
        "the eye (tune=eye), or train one: docs/how-to/look.md"
      )
    return decode_container(self._decoder(), container, region, salvage, self.look, look)

  def _preview(self, container: Container) -> np.ndarray:
    return preview_container(self._decoder(), container)

  def _decoder(self) -> LatentCoder:
    """The model, once JAX works if it is needed."""
    if not self.coder.works_on_host:
      backend.require()
    return self.coder

  def _check_fixed_rate(self, targets: Mapping[str, Any], effort: int) -> None:
    for name in targets:
      raise UsageError(f"the model {self.weights.name!r} has one rate only; leave {name} out")
    if effort:
      raise UsageError(f"the model {self.weights.name!r} cannot refine latents; leave effort out")
