"""What a file says of itself, without decoding it."""

import dataclasses

from cae_jax.coding.bitstream import Kind, unpack

DEFAULT_MAX_PIXELS = 1 << 27  # of an image to be decoded
_RATE_BYTES = 2


@dataclasses.dataclass(frozen=True)
class Info:
  """The content of a file.

  Attributes:
    kind: of the image.
    height, width: pixels.
    size_bytes: of the whole file.
    model_id, model_hash: of the weights it was made with; the hash in hexadecimal digits.
    rate_level: None where the model has one rate only.
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
  section_bytes: tuple[int, ...]
  metadata_bytes: dict[str, int]

  @property
  def rate_bpp(self) -> float:
    """Bits of the whole file per pixel."""
    return 8 * self.size_bytes / (self.height * self.width)


def info(data: bytes) -> Info:
  """Reads a file's header.

  Raises:
    BitstreamError: the file is damaged.
  """
  container = unpack(data)
  header = container.header
  return Info(
    kind=header.kind,
    height=header.height,
    width=header.width,
    size_bytes=len(data),
    model_id=header.model_id,
    model_hash=header.model_hash.hex(),
    rate_level=unpack_rate(header.parameters) if header.parameters else None,
    section_bytes=tuple(map(len, container.sections)),
    metadata_bytes={name: len(value) for name, value in container.metadata.items()},
  )


def pack_rate(rate_level: int) -> bytes:
  """A rate level as the header's parameters."""
  return rate_level.to_bytes(_RATE_BYTES, "little")


def unpack_rate(parameters: bytes) -> int | None:
  """The inverse of `pack_rate`; None if these are no rate level."""
  return int.from_bytes(parameters, "little") if len(parameters) == _RATE_BYTES else None
