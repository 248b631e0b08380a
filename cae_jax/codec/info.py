"""What a file says of itself, without decoding it."""

import dataclasses

from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.targets import FINEST_QUALITY, MAX_QUALITY
from cae_jax.coding.bitstream import Kind, Outline, outline
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import BytesLike

DEFAULT_MAX_PIXELS = 1 << 27  # of an image to be decoded
TUNES = "psnr", "eye"  # what files can be tuned for, by their number
RATE_LEVELS = 4096  # evenly from one end of the trade-off to the other, of models of many rates
FINEST_LEVEL = int(RATE_LEVELS * FINEST_QUALITY / MAX_QUALITY)
_RATE_BYTES = 2
_RATE_BITS = 13  # of the two bytes; the others are the number of the tune


@dataclasses.dataclass(frozen=True)
class Info:
  """The content of a file.

  Attributes:
    kind: of the image.
    height, width: pixels.
    size_bytes: of the whole file.
    model_id, model_hash: of the weights it was made with; the hash in hexadecimal digits.
    rate_level: 0 to 7168; None where the model has one rate only.
    tune: what the file was tuned for, "psnr" or "eye"; None where the model has one rate only.
    largest_error: of samples, of a near-lossless file; 0 of a lossless, None of a lossy one.
    has_layer: whether what is drawn in it is a layer over a lossy picture.
    section_bytes: size of each section.
    metadata_bytes: size of each entry, inflated, by name.
  """

  kind: Kind
  height: int
  width: int
  size_bytes: int
  model_id: str
  model_hash: str
  rate_level: int | None
  tune: str | None
  largest_error: int | None
  has_layer: bool
  section_bytes: tuple[int, ...]
  metadata_bytes: dict[str, int]

  @property
  def quality(self) -> float | None:
    """What makes a file of this rate of this image again, 0 to 175; None as the rate level."""
    return None if self.rate_level is None else MAX_QUALITY * self.rate_level / RATE_LEVELS

  @property
  def rate_bpp(self) -> float:
    """Bits of the whole file per pixel."""
    return 8 * self.size_bytes / (self.height * self.width)


def info(data: BytesLike) -> Info:
  """Reads what a file says of its content; neither image nor metadata are decoded.

  Args:
    data: the whole file.
  Raises:
    BitstreamError: the file is damaged.
    UsageError: the argument does not hold bytes.
  """
  return info_of(outline(data))


def info_of(outline: Outline) -> Info:
  """Reads the outline of a file as one that knows the models."""
  header = outline.header
  exact = len(header.parameters) > _RATE_BYTES  # of lossless files only
  rate = unpack_rate(header.parameters)
  return Info(
    kind=header.kind,
    height=header.height,
    width=header.width,
    size_bytes=outline.size_bytes,
    model_id=header.model_id,
    model_hash=header.model_hash.hex(),
    rate_level=None if rate is None else rate[0],
    tune=None if rate is None else rate[1],
    largest_error=Layout.unpack(header.parameters).largest_error if exact else None,
    has_layer=header.has_layer,
    section_bytes=outline.section_bytes,
    metadata_bytes=dict(outline.metadata_bytes),
  )


def pack_rate(rate_level: int, tune: str = TUNES[0]) -> bytes:
  """Writes a rate level, and what a file is tuned for, as the header's parameters."""
  number = TUNES.index(tune) << _RATE_BITS | rate_level
  return number.to_bytes(_RATE_BYTES, "little")


def unpack_rate(parameters: bytes) -> tuple[int, str] | None:
  """Reads what `pack_rate` wrote; None if these are no rate level.

  Raises:
    BitstreamError: the tune is none of those that this version knows.
  """
  if len(parameters) != _RATE_BYTES:
    return None
  tune, rate_level = divmod(int.from_bytes(parameters, "little"), 1 << _RATE_BITS)
  if tune >= len(TUNES):
    raise BitstreamError("header", 0, f"unknown tune {tune}; a newer cae_jax may know it")
  return rate_level, TUNES[tune]
