"""A file before it is decoded, and after."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cae_jax.codec.info import Info
from cae_jax.coding.bitstream import BytesLike, Container, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.errors import UsageError


class Damage(NamedTuple):
  """A part of a salvaged image that is not what it was.

  Attributes:
    top, left, height, width: of the part in the image, in pixels.
    what: "blurred", if coarse latents were left; "lost", filled with a colour of the rest;
      "opaque", if its opacity was lost.
  """

  top: int
  left: int
  height: int
  width: int
  what: str

  def __str__(self) -> str:
    return f"{self.width} x {self.height} pixels at ({self.top}, {self.left}) {self.what}"


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


def checked_container(
  data: BytesLike | Container,
  model_id: str,
  model_hash: bytes,
  max_pixels: int,
  salvage: bool = False,
) -> Container:
  """Opens a file, if it is one of these weights and no larger than that.

  Raises:
    BitstreamError: the file is damaged, or was made with other weights.
    UsageError: the image is larger than `max_pixels`, or the argument does not hold bytes.
  """
  container = data if isinstance(data, Container) else unpack(data, salvage=salvage)
  header = container.header
  if (header.model_id, header.model_hash) != (model_id, model_hash):
    raise BitstreamError(
      "header",
      0,
      f"the file was made with the weights {header.model_id!r} ({header.model_hash.hex()}); "
      f"these are {model_id!r} ({model_hash.hex()})",
    )
  if header.height * header.width > max_pixels:
    raise UsageError(
      f"the image has {header.width} x {header.height} pixels, more than max_pixels = "
      f"{max_pixels}; if you trust the file, raise that"
    )
  return container
