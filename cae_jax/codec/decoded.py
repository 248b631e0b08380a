"""What every codec does with a file, and what comes of it."""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, SupportsFloat

import numpy as np

from cae_jax.codec.info import DEFAULT_MAX_PIXELS, Info, info
from cae_jax.codec.regions import Region, shape_of
from cae_jax.codec.targets import TooManyPixels, checked_look, checked_max_pixels
from cae_jax.codec.tiles import Tile
from cae_jax.coding.bitstream import Container, Header, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import BytesLike
from cae_jax.weights import Weights

# Rounding up makes no more of an image that is as high and as wide as what it is rounded up to.
_MOST_PADDING = 4
_FEW_PIXELS = 1 << 18  # that many, and their padding, are always decoded


class Damage(NamedTuple):
  """A part of a salvaged image that is not what it was.

  Attributes:
    top, left, height, width: of the part in the image, in pixels.
    what: "blurred", if coarse latents were left; "lost", filled with a colour of the rest;
      "opaque", if its opacity was lost; "undrawn", if its drawn layer was.
  """

  top: int
  left: int
  height: int
  width: int
  what: str

  @classmethod
  def of(cls, area: Tile, what: str) -> "Damage":
    """Names the damage of an area."""
    return cls(area[0].start, area[1].start, *shape_of(area), what)

  def __str__(self) -> str:
    return f"{self.width} x {self.height} pixels at ({self.top}, {self.left}) {self.what}"


def read_plane(
  read: Callable[[], np.ndarray], area: Tile, salvage: bool, damage: list[Damage], what: str
) -> np.ndarray | None:
  """Reads an area of what has a section of its own beside the colours.

  Args:
    read: all of it, [H, W, ...].
    area: of the image.
    salvage: None is returned for what is damaged, and that is noted, instead of raising an error.
    damage: takes the note.
    what: it says.
  """
  try:
    return read()[area]
  except BitstreamError:
    if not salvage:
      raise
  damage.append(Damage.of(area, what))
  return None


@dataclasses.dataclass(frozen=True)
class Decoded:
  """All that a file holds.

  Attributes:
    image: uint8 or uint16, [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], as it was compressed; or the
      region of it that was asked for.
    metadata: by name, such as "icc" or "exif".
    info: as `info` reads it without decoding.
    damage: of a file that was to be salvaged; in order of the tiles.
  """

  image: np.ndarray
  metadata: Mapping[str, bytes]
  info: Info
  damage: tuple[Damage, ...] = ()


class FileDecoder(abc.ABC):
  """Files of some weights to images: what lossy and lossless codecs have in common.

  Attributes:
    weights: that the files were made with.
  """

  info = staticmethod(info)

  def __init__(self, weights: Weights):
    self.weights = weights
    self._hash = weights.hash()

  def decompress(
    self,
    data: BytesLike,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    region: Region | None = None,
    look: SupportsFloat = 0,
  ) -> np.ndarray:
    """Decompresses a file into its image, as far as compressing has kept it.

    Args:
      data: the bytes of a .cae file.
      max_pixels: larger images are refused: a few hundred bytes can stand for a large, empty one,
        and decoding takes some 8 bytes of memory a pixel, of RGBA of 16 bits 16. So are narrow ones
        that, with sides rounded up to whole blocks of the lossy model (64 pixels), have more than
        four times as many, unless that is no more than 2^20.
      region: (top, left, height, width) in pixels, to decode only that, and what it needs; all if
        not given.
      look: from 0, the picture closest to the original, to 1, one that looks most real: texture
        in place of blur, some of it invented. Lossless and near-lossless files have one look only,
        and high qualities little more (docs/how-to/look.md).
    Returns:
      uint8 or uint16 [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], as it was compressed, or the region
      of it, the same as if cut out of the whole image.
    Raises:
      BitstreamError: the file is damaged, or was made with other weights.
      UsageError: the image is larger than `max_pixels`, the region is not within it, the argument
        does not hold bytes, or there is no such look.
    """
    return self.decode(data, max_pixels=max_pixels, region=region, look=look).image

  def decode(
    self,
    data: BytesLike | Container,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    region: Region | None = None,
    salvage: bool = False,
    look: SupportsFloat = 0,
  ) -> Decoded:
    """Decompresses a file into its image, `metadata` and `info`; raises as `decompress`.

    Args:
      data: the bytes of a .cae file, or what `coding.unpack` makes of them.
      max_pixels: as of `decompress`.
      region: as of `decompress`.
      salvage: fills tiles that are damaged from what is left, and names them as `damage`, instead
        of raising an error, as long as the header is whole and anything is left.
      look: as of `decompress`.
    """
    amount = checked_look(look)
    return self._decode(self._checked(data, max_pixels, salvage), region, salvage, amount)

  def preview(
    self, data: BytesLike | Container, *, max_pixels: int = DEFAULT_MAX_PIXELS
  ) -> np.ndarray:
    """Makes a small picture of an eighth of the size, without decoding all of the file.

    Args:
      data: as of `decode`.
      max_pixels: as of `decompress`.
    Returns:
      uint8 or uint16 [ceil(H / 8), ceil(W / 8)] or [..., channels].
    Raises:
      BitstreamError, UsageError: as `decompress`.
    """
    return self._preview(self._checked(data, max_pixels))

  @property
  def _multiple(self) -> int:
    """What an image's sides are rounded up to, in pixels, where it is decoded."""
    return 1

  @abc.abstractmethod
  def _decode(
    self, container: Container, region: Region | None, salvage: bool, look: float
  ) -> Decoded: ...

  @abc.abstractmethod
  def _preview(self, container: Container) -> np.ndarray: ...

  def _checked(
    self, data: BytesLike | Container, max_pixels: int, salvage: bool = False
  ) -> Container:
    container = data if isinstance(data, Container) else unpack(data, salvage=salvage)
    header = container.header
    if (header.model_id, header.model_hash) != (self.weights.name, self._hash):
      raise BitstreamError(
        "header",
        0,
        f"the file was made with the weights {header.model_id!r} ({header.model_hash.hex()}); "
        f"these are {self.weights.name!r} ({self._hash.hex()})",
      )
    self._check_size(header, checked_max_pixels(max_pixels))
    return container

  def _check_size(self, header: Header, most: float) -> None:
    """Raises TooManyPixels if an image has more than that, or is padded to many more."""
    size = header.height, header.width
    if math.prod(size) > most:
      what = "pixels, more than"
    else:
      height, width = (-(-side // self._multiple) * self._multiple for side in size)
      if height * width <= _MOST_PADDING * max(most, _FEW_PIXELS):
        return
      what = f"pixels and is decoded as {width} x {height}, more than {_MOST_PADDING} times"
    raise TooManyPixels(
      f"the image has {header.width} x {header.height} {what} max_pixels = {most:.15g}; if you "
      "trust the file, raise that"
    )
