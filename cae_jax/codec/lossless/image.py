"""Any image to the bytes of a lossless or near-lossless file and back."""

import dataclasses
import functools
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np

from cae_jax.codec import threads
from cae_jax.codec.decoded import Decoded, checked_container
from cae_jax.codec.info import DEFAULT_MAX_PIXELS, info, info_of
from cae_jax.codec.kinds import has_alpha
from cae_jax.codec.lossless import samples
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.plain import decode_plain, encode_plain, estimate_plain
from cae_jax.codec.lossless.samples import Samples
from cae_jax.codec.lossless.tile import TileCoder
from cae_jax.codec.tiles import Tile, coding_tiles
from cae_jax.coding.bitstream import BytesLike, Container, Header, check_metadata, pack
from cae_jax.coding.errors import BitstreamError
from cae_jax.errors import UsageError
from cae_jax.images import metrics
from cae_jax.models.lossless.passes import Map, Precision
from cae_jax.weights import Weights

_MODEL, _PLAIN = 0, 1
_CRC_BYTES = 4
_PART = 1 << 13  # pixels of a tile that are worth a thread: one part of its largest phases


@dataclasses.dataclass(frozen=True)
class LosslessEncoded:
  """A file, and what its decoder will make of it.

  Attributes:
    data: the bytes of the file.
    largest_error: that was allowed; 0 is lossless.
    psnr_db: of the decoded image; infinite if it is the same.
    pixels: of the image.
  """

  data: bytes
  largest_error: int
  psnr_db: float
  pixels: int

  @property
  def how(self) -> str:
    """What was done, in a few words."""
    if math.isinf(self.psnr_db):
      return "lossless"
    return f"near-lossless, errors of at most {self.largest_error}"

  @property
  def rate_bpp(self) -> float:
    """Bits of the whole file per pixel."""
    return 8 * len(self.data) / self.pixels


class LosslessCodec:
  """Images to bytes and back without a loss, or with errors of at most some grey levels.

      image -> integers -> tiles, each by networks or, if smaller, by LZ -> sections of a file
            -> opacity: LZ -------------------------------------------------> section

  Nothing in it needs JAX. What a file decodes to does not depend on the machine; libraries that
  add up in another order may fit a few coefficients of a photograph otherwise, and so encode it to
  some other bytes. It can be used in several threads, and sent to other processes.

  Attributes:
    weights: what it was made from.
  """

  info = staticmethod(info)

  def __init__(self, weights: Weights):
    self.weights = weights
    self.coder = TileCoder(weights)
    self._hash = weights.hash()

  @functools.cached_property
  def coder(self) -> TileCoder:
    """The networks and tables; made anew in the process that a codec was sent to."""
    return TileCoder(self.weights)

  def __getstate__(self) -> dict[str, Any]:
    return {"weights": self.weights, "_hash": self._hash}

  def compress(
    self,
    image: np.ndarray,
    *,
    near_lossless: SupportsIndex = 0,
    keep_hidden_colour: bool = False,
    metadata: Mapping[str, BytesLike] | None = None,
  ) -> bytes:
    """Compresses an image.

    Args:
      image: uint8 or uint16, [H, W] grey, [H, W, 3] RGB, or with alpha [H, W, 2] or [H, W, 4]; of
        NumPy or JAX.
      near_lossless: how much samples may change, in grey levels; 0 is lossless. Alpha is exact.
      keep_hidden_colour: keeps colours under full transparency, too.
      metadata: kept in the file by name, such as "icc" or "exif".
    Returns:
      The bytes of a .cae file.
    Raises:
      UsageError: another type or shape.
    """
    return self.encode(
      image,
      near_lossless=near_lossless,
      keep_hidden_colour=keep_hidden_colour,
      metadata=metadata,
    ).data

  def encode(
    self,
    image: np.ndarray,
    *,
    near_lossless: SupportsIndex = 0,
    keep_hidden_colour: bool = False,
    metadata: Mapping[str, BytesLike] | None = None,
  ) -> LosslessEncoded:
    """Compresses as `compress`; the result has the file as `data`, its `rate_bpp`, `psnr_db`."""
    largest_error = _checked_error(near_lossless)
    entries = check_metadata(metadata)
    taken = samples.take_apart(image, largest_error, keep_hidden_colour)
    sections, layout, checksum, mse = self._encode_colours(taken)
    counted = None if layout.step > 1 else samples.counted(taken)
    if counted is not None:
      others = self._encode_colours(counted)
      if sum(map(len, others[0])) < sum(map(len, sections)):
        sections, layout, checksum, mse = others
    if taken.alpha is not None:
      sections.append(_plain_section(taken.alpha[None]))
    height, width = taken.colours.shape[1:]
    header = Header(
      self.weights.name, self._hash, taken.kind, height, width, layout.pack(), checksum
    )
    peak = np.iinfo(taken.kind.dtype).max
    psnr_db = metrics.psnr_from_mse(mse, peak)
    return LosslessEncoded(pack(header, sections, entries), largest_error, psnr_db, height * width)

  def decompress(self, data: BytesLike, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Decompresses a file into its image.

    Args:
      data: the bytes of a .cae file.
      max_pixels: larger images are refused.
    Returns:
      uint8 or uint16, of the shape that was compressed.
    Raises:
      BitstreamError: the file is damaged, or was made with other weights.
      UsageError: the image is larger than `max_pixels`, or the argument does not hold bytes.
    """
    return self.decode(data, max_pixels=max_pixels).image

  def decode(self, data: BytesLike | Container, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Decompresses a file into its image, `metadata` and `info`; raises as `decompress`.

    Args:
      data: the bytes of a .cae file, or what `coding.unpack` makes of them.
      max_pixels: as of `decompress`.
    """
    container = checked_container(data, self.weights.name, self._hash, max_pixels)
    header = container.header
    layout = Layout.unpack(header.parameters)
    sections = list(container.sections)
    alpha = None
    if has_alpha(header.kind) and sections:
      shape = 1, header.height, header.width
      alpha = _read_plain_section(sections.pop(), shape, header.kind.dtype)[0]
    colours = self._decode_colours(header, layout, sections)
    image = samples.put_together(header.kind, colours, alpha, layout)
    return Decoded(image, container.metadata, info_of(container.outline))

  def _encode_colours(self, taken: Samples) -> tuple[list[bytes], Layout, int, float]:
    """Sections, layout, checksum of the sections' checksums, and mean squared error."""
    x, layout = taken.colours, taken.layout
    tiles = coding_tiles(x.shape[1], x.shape[2], 1)
    precision = Precision(layout.largest, layout.step)
    across, within = _shared(tiles)

    def encode(tile) -> tuple[bytes, float]:
      part = np.ascontiguousarray(x[(slice(None), *tile)])
      return self._encode_tile(part, precision, within_map)

    with threads.threads(within) as within_map, threads.threads(across) as across_map:
      coded = list(across_map(encode, tiles))
    sections = [section for section, _ in coded]
    error = sum(error for _, error in coded)
    whole = _whole(x, sections)
    if whole is not None:
      sections, layout, error = [whole], dataclasses.replace(layout, whole=True), 0.0
    checksum = _checksum(sections)
    if taken.occurring is not None:
      sections = [_plain_section(taken.occurring[None, None]), *sections]
    return sections, layout, checksum, error * layout.gap**2 / x.size

  def _encode_tile(
    self, x: np.ndarray, precision: Precision, in_parallel: Map
  ) -> tuple[bytes, float]:
    """The section of a tile, and its squared error."""
    data, known = self.coder.encode(x, precision, in_parallel)
    section = _section(known.astype(x.dtype), _MODEL, data)
    if estimate_plain(samples.interleaved(x)) < len(section):
      plain = _plain_section(x)
      if len(plain) < len(section):
        return plain, 0.0
    return section, float(np.square(known - x, dtype=np.float64).sum())

  def _decode_colours(
    self, header: Header, layout: Layout, sections: Sequence[bytes]
  ) -> np.ndarray:
    channels = samples.coded_channels(header, layout)
    dtype = header.kind.dtype
    occurring = None
    if layout.counted:
      shape = 1, 1, np.iinfo(dtype).max + 1
      occurring = _read_plain_section(sections[0] if sections else b"", shape, np.uint8)
      sections = sections[1:]
    height, width = header.height, header.width
    tiles = [(slice(0, height), slice(0, width))]
    if not layout.whole:
      tiles = coding_tiles(height, width, 1)
    if len(sections) != len(tiles):
      raise BitstreamError(
        "sections", 0, f"{len(sections)} of colours; an image of this size has {len(tiles)}"
      )
    if _checksum(sections) != header.symbol_checksum:
      raise BitstreamError("sections", 0, "they do not match their checksum")
    precision = Precision(layout.largest, layout.step)
    across, within = _shared(tiles)

    def decode(number: int) -> np.ndarray:
      rows, columns = tiles[number]
      shape = channels, rows.stop - rows.start, columns.stop - columns.start
      return self._decode_tile(sections[number], shape, dtype, precision, within_map)

    x: np.ndarray = np.empty((0, 0, 0), dtype)
    with threads.threads(within) as within_map, threads.threads(across) as across_map:
      for tile, part in zip(tiles, across_map(decode, range(len(tiles)))):
        if part.max() > layout.largest:
          raise BitstreamError(
            "tile", 0, f"a sample is {part.max()}, the largest is {layout.largest}"
          )
        if not x.size:  # nothing of the image's size before a tile was right
          x = np.empty((channels, height, width), dtype)
        x[(slice(None), *tile)] = part
    return x if occurring is None else samples.uncounted(x, occurring[0, 0], layout)

  def _decode_tile(self, section: bytes, shape, dtype, precision: Precision, in_parallel: Map):
    if section[_CRC_BYTES : _CRC_BYTES + 1] != bytes([_MODEL]):
      return _read_plain_section(section, shape, dtype)
    data = section[_CRC_BYTES + 1 :]
    x = self.coder.decode(data, shape[0], shape[1:], precision, in_parallel).astype(dtype)
    _check(section, x)
    return x


def _checked_error(value: SupportsIndex) -> int:
  try:
    number = operator.index(value)
  except TypeError:
    number = -1
  if isinstance(value, bool) or not 0 <= number < 1 << 15:
    raise UsageError(f"near_lossless {value!r}: expected a whole number of grey levels, 0 to 32767")
  return number


def _shared(tiles: Sequence[Tile]) -> tuple[int, int]:
  """Threads across tiles, and within each: one of them is 1."""
  if len(tiles) >= threads.cores():
    return len(tiles), 1
  return 1, -(-math.prod(part.stop - part.start for part in tiles[0]) // _PART)


def _whole(x: np.ndarray, sections: Sequence[bytes]) -> bytes | None:
  """One plain section for all tiles, if it is smaller than they are."""
  if len(sections) < 2 or estimate_plain(samples.interleaved(x)) >= sum(map(len, sections)):
    return None
  whole = _plain_section(x)
  return whole if len(whole) < sum(map(len, sections)) else None


def _plain_section(x: np.ndarray) -> bytes:
  return _section(x, _PLAIN, encode_plain(samples.interleaved(x)))


def _read_plain_section(section: bytes, shape: tuple[int, int, int], dtype: type) -> np.ndarray:
  """[C, H, W] of a section of opacity, or of a tile coded so; raises BitstreamError."""
  if section[_CRC_BYTES : _CRC_BYTES + 1] != bytes([_PLAIN]):
    raise BitstreamError("sections", 0, "a section is of no known method")
  channels, height, width = shape
  x = decode_plain(section[_CRC_BYTES + 1 :], (height, width, channels), dtype)
  x = samples.planes(x)
  _check(section, x)
  return x


def _section(x: np.ndarray, method: int, data: bytes) -> bytes:
  """The checksum of a section's samples, how they are coded, and the code."""
  return _crc(x).to_bytes(_CRC_BYTES, "little") + bytes([method]) + data


def _check(section: bytes, x: np.ndarray) -> None:
  if _crc(x) != int.from_bytes(section[:_CRC_BYTES], "little"):
    raise BitstreamError("tile", 0, "decoded samples do not match their checksum")


def _crc(x: np.ndarray) -> int:
  little = x.astype(x.dtype.newbyteorder("<"), copy=False)
  return zlib.crc32(np.ascontiguousarray(little).tobytes())


def _checksum(sections: Sequence[bytes]) -> int:
  """Of the checksums of all tiles' samples."""
  return zlib.crc32(b"".join(section[:_CRC_BYTES] for section in sections))
