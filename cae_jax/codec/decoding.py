"""From a file's container to the image."""

import numpy as np

from cae_jax.codec import windows
from cae_jax.codec.coders.base import LatentCoder
from cae_jax.codec.decoded import Decoded
from cae_jax.codec.info import info_of, unpack_rate
from cae_jax.codec.kinds import Planes, has_alpha, put_together
from cae_jax.codec.lossless.plain import decode_plain
from cae_jax.codec.threads import in_threads
from cae_jax.codec.tiles import coding_tiles
from cae_jax.coding.bitstream import Container, Header, symbol_checksum
from cae_jax.coding.errors import BitstreamError


def decode_container(coder: LatentCoder, container: Container) -> Decoded:
  """Decodes a file that this coder's weights have made.

  Raises:
    BitstreamError: the sections are damaged, or not those of such an image.
  """
  header, sections = container.header, container.sections
  rate_level = _rate_level(coder, header)
  height, width = header.height, header.width
  tiles = coding_tiles(-(-height // coder.stride), -(-width // coder.stride), coder.stride)
  expected = len(tiles) + has_alpha(header.kind)
  if len(sections) != expected:
    raise BitstreamError(
      "sections", 0, f"{len(sections)} sections; an image of this size and kind has {expected}"
    )
  y_hat = _decode_tiles(coder, tiles, sections, rate_level, header.symbol_checksum)
  alpha = None
  if has_alpha(header.kind):
    alpha = decode_plain(sections[-1], (height, width, 1), np.uint8)[..., 0]
  rgb = windows.synthesise(coder, y_hat, rate_level, height, width)
  image = put_together(Planes(header.kind, rgb, alpha))
  return Decoded(image, container.metadata, info_of(container.outline))


def _decode_tiles(coder, tiles, sections, rate_level: int, expected: int) -> np.ndarray:
  """y_hat [h, w, M]; nothing of the image's size is allocated before a tile has been decoded."""

  def decode(number: int) -> tuple[list[np.ndarray], np.ndarray]:
    rows, columns = tiles[number]
    shape = rows.stop - rows.start, columns.stop - columns.start
    return coder.decode(sections[number], shape, rate_level)

  y_hat, checksum = np.empty((0, 0, 0), np.float32), 0
  for tile, (symbols, part) in zip(tiles, in_threads(decode, range(len(tiles)))):
    checksum = symbol_checksum(symbols, checksum)
    if not y_hat.size:
      y_hat = np.empty((tiles[-1][0].stop, tiles[-1][1].stop, part.shape[-1]), np.float32)
    y_hat[tile] = part
  if checksum != expected:
    raise BitstreamError("symbols", 0, "the decoded symbols do not match their checksum")
  return y_hat


def _rate_level(coder: LatentCoder, header: Header) -> int:
  if not coder.rate_levels and not header.parameters:
    return 0
  level = unpack_rate(header.parameters)
  if level is None or level > coder.rate_levels or not coder.rate_levels:
    raise BitstreamError(
      "header", 0, f"parameters {header.parameters.hex()!r} are no rate level of this model"
    )
  return level
