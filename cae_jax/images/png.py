"""The chunks of a PNG file: pixels for Pillow, everything else for us; and 16 bits to write.

Pillow refuses a whole file for a damaged or large chunk of text or profile, and takes text by the
name of "gamma" for a gamma. So it is given the chunks that the pixels need, and no others.
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from cae_jax.paths import shown

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_INFLATED_BYTES = 1 << 24  # as much metadata as a .cae file holds
_MAX_EXPANSION = 1032  # of deflate
_XMP = b"XML:com.adobe.xmp"
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_GREY, _RGB, _GREY_ALPHA, _RGBA = 0, 2, 4, 6
_COLOUR_TYPES = {1: _GREY, 2: _GREY_ALPHA, 3: _RGB, 4: _RGBA}  # by channels
_PIXELS = (b"IHDR", b"IDAT")
_ROWS_AT_ONCE = 64
_METRE = 1  # unit of pHYs
_INCH = 0.0254  # metres


@dataclasses.dataclass
class Png:
  """What a PNG file holds.

  Attributes:
    pixels: a PNG file of the critical chunks, and of the transparency of a palette. 16-bit grey
      with alpha, for which Pillow has no mode, is declared as 8-bit RGBA, whose channels are then
      the high and low bytes of grey and of alpha; `has_byte_pairs` says so.
    bits: of a sample.
    transparent: the transparent colour, as one or three samples of `bits` bits.
    icc_profile, exif, xmp: the blocks as they are.
    gamma: of gAMA, where 1 is linear.
    chromaticities: of cHRM, x and y of white, red, green and blue.
    cicp: primaries, transfer, matrix and range of cICP.
    is_srgb: there is an sRGB chunk.
    dpi: pixels an inch across and down, of pHYs.
    frames: of the animation; 1 if there is none.
    lost: what else there is, in words, each as often as it is there.
    room_bytes: how much more of what is packed may be unpacked.
  """

  pixels: bytes
  bits: int = 8
  has_byte_pairs: bool = False
  transparent: tuple[int, ...] | None = None
  icc_profile: bytes | None = None
  exif: bytes | None = None
  xmp: bytes | None = None
  gamma: float | None = None
  chromaticities: tuple[float, ...] | None = None
  cicp: tuple[int, ...] | None = None
  is_srgb: bool = False
  dpi: tuple[float, float] | None = None
  frames: int = 1
  lost: list[str] = dataclasses.field(default_factory=list)
  room_bytes: int = _MAX_INFLATED_BYTES


def split(data: bytes) -> Png:
  """Takes a PNG file apart.

  Args:
    data: the file; damaged chunks that the pixels need are left for Pillow to find.
  """
  png = Png(b"")
  kept = [SIGNATURE]
  colour_type = None
  for kind, content, chunk in _chunks(data):
    if kind == b"IHDR" and len(content) == 13:
      png.bits, colour_type = content[8], content[9]
      if (png.bits, colour_type) == (16, _GREY_ALPHA):
        png.has_byte_pairs = True
        chunk = _chunk(kind, content[:8] + bytes([8, _RGBA]) + content[10:])
    if kind == b"tRNS" and colour_type in (_GREY, _RGB):
      png.transparent = _transparent(content, colour_type, png.bits)
    elif kind == b"tRNS" or not kind[0] & 0x20:
      kept.append(chunk)
    else:
      _read_ancillary(png, kind, content, _is_whole(chunk))
  png.pixels = b"".join(kept)
  return png


def with_samples(data: bytes, samples: np.ndarray) -> bytes:
  """Gives a PNG file other samples, and keeps everything else.

  Pillow writes no colours of 16 bits.

  Args:
    data: a file of the same kind of pixels, of any size and depth, without palette.
    samples: uint16 [H, W, 1 to 4].
  """
  height, width, channels = samples.shape
  header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
  made = {b"IHDR": _chunk(b"IHDR", header), b"IDAT": _chunk(b"IDAT", _deflate(samples))}
  # The first IDAT stands for all of them.
  chunks = [made.pop(kind, b"") if kind in _PIXELS else chunk for kind, _, chunk in _chunks(data)]
  return b"".join([SIGNATURE, *chunks])


def _deflate(samples: np.ndarray) -> bytes:
  """Filters rows, each as makes it smallest in sum, and packs them."""
  height, width, channels = samples.shape
  step = 2 * channels  # bytes of a pixel
  above = np.zeros(step * (width + 1), np.uint8)
  deflater = zlib.compressobj()
  packed = []
  for start in range(0, height, _ROWS_AT_ONCE):
    rows = samples[start : start + _ROWS_AT_ONCE]
    rows = np.ascontiguousarray(rows.astype(">u2")).view(np.uint8).reshape(len(rows), -1)
    padded = np.pad(rows, ((0, 0), (step, 0)))
    upper = np.vstack([above, padded[:-1]])
    above = padded[-1]
    packed.append(deflater.compress(_filter(padded, upper, step).tobytes()))
  return b"".join([*packed, deflater.flush()])


def _filter(rows: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
  """Takes predictions off and puts the number of the filter before each row.

  Args:
    rows, above: uint8 [N, step + B], with zeros before each row; the rows above them.
    step: bytes of a pixel.
  Returns:
    uint8 [N, 1 + B].
  """
  x, a, b, c = rows[:, step:], rows[:, :-step], above[:, step:], above[:, :-step]
  wide = [part.astype(np.int16) for part in (a, b, c)]
  predictions = [
    0,
    a,
    b,
    ((wide[0] + wide[1]) >> 1).astype(np.uint8),
    paeth(*wide).astype(np.uint8),
  ]
  residuals = np.stack([x - prediction for prediction in predictions])
  costs = np.minimum(residuals, -residuals).sum(axis=-1, dtype=np.int64)  # [5, N]
  best = costs.argmin(axis=0)
  chosen = residuals[best, np.arange(len(x))]
  return np.concatenate([best[:, None].astype(np.uint8), chosen], axis=1)


def paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
  """Returns of the three the nearest to left + up - corner; of equally near ones the first.

  Args:
    left, up, corner: neighbours of samples, of one signed type with room for their differences.
  """
  from_left, from_up = up - corner, left - corner
  from_corner = np.abs(from_left + from_up)
  from_left, from_up = np.abs(from_left), np.abs(from_up)
  other = np.where(from_up <= from_corner, up, corner)
  return np.where((from_left <= from_up) & (from_left <= from_corner), left, other)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
  """Kind, content and whole bytes of every chunk; the last one may be short."""
  start = len(SIGNATURE)
  while len(data) - start >= 8:
    size = int.from_bytes(data[start : start + 4], "big")
    end = start + 12 + size
    yield data[start + 4 : start + 8], data[start + 8 : min(end - 4, len(data))], data[start:end]
    start = end


def _chunk(kind: bytes, content: bytes) -> bytes:
  checksum = zlib.crc32(kind + content)
  return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _is_whole(chunk: bytes) -> bool:
  return chunk == _chunk(chunk[4:8], chunk[8:-4])


def _transparent(content: bytes, colour_type: int, bits: int) -> tuple[int, ...] | None:
  count = 1 if colour_type == _GREY else 3
  if len(content) < 2 * count:
    return None
  return tuple(value & (1 << bits) - 1 for value in struct.unpack_from(f">{count}H", content))


def _read_ancillary(png: Png, kind: bytes, content: bytes, whole: bool) -> None:
  if not whole:
    png.lost.append(f"damaged chunk {_name(kind)}")
  elif kind == b"sRGB":
    png.is_srgb = True
  elif kind == b"iCCP":
    png.icc_profile = _block(
      png, "ICC profile", _inflate(png, content.partition(b"\0")[2][1:]), png.icc_profile
    )
  elif kind == b"eXIf":
    png.exif = _block(png, "EXIF", content, png.exif)
  elif kind == b"gAMA" and len(content) == 4:
    png.gamma = int.from_bytes(content, "big") / 100_000
  elif kind == b"cHRM" and len(content) == 32:
    png.chromaticities = tuple(value / 100_000 for value in struct.unpack(">8I", content))
  elif kind == b"cICP" and len(content) == 4:
    png.cicp = tuple(content)
  elif kind == b"acTL" and len(content) == 8:
    png.frames = max(1, int.from_bytes(content[:4], "big"))
  elif kind in _TEXT:
    _read_text(png, kind, content)
  elif kind == b"pHYs" and len(content) == 9:
    *a_unit, unit = struct.unpack(">IIB", content)
    if unit == _METRE:
      png.dpi = a_unit[0] * _INCH, a_unit[1] * _INCH
    elif a_unit[0] != a_unit[1]:
      png.lost.append("shape of pixels")
  elif kind not in (b"fcTL", b"fdAT"):  # frames
    png.lost.append(f"chunk {_name(kind)}")


def _read_text(png: Png, kind: bytes, content: bytes) -> None:
  """Takes XMP, and EXIF as ImageMagick hides it; other text is lost."""
  keyword, _, rest = content.partition(b"\0")
  if kind == b"iTXt" and keyword == _XMP:
    png.xmp = _block(png, "XMP", _international(png, rest), png.xmp)
  elif keyword in (b"Raw profile type exif", b"Raw profile type APP1") and png.exif is None:
    text = _inflate(png, rest[1:]) if kind == b"zTXt" else rest
    png.exif = _block(png, "EXIF", _raw_profile(text))
  else:
    png.lost.append("text")


def _block(png: Png, name: str, block: bytes | None, before: bytes | None = None) -> bytes | None:
  """The block of a chunk; if that cannot be read, which is said, or is empty, the one before."""
  if block is None:
    png.lost.append(f"unreadable {name}")
  return block or before


def _international(png: Png, text: bytes) -> bytes | None:
  """The text of an iTXt chunk, behind its keyword."""
  parts = text[2:].split(b"\0", 2)  # language, keyword in that, text
  if len(parts) < 3:
    return None
  return _inflate(png, parts[2]) if text[0] else parts[2]


def _raw_profile(text: bytes | None) -> bytes | None:
  """The bytes of a name, a length and hexadecimal digits on many lines."""
  parts = (text or b"").split(maxsplit=2)
  try:
    return bytes.fromhex(parts[2].decode("ascii")) if len(parts) == 3 else None
  except ValueError:
    return None


def _inflate(png: Png, data: bytes) -> bytes | None:
  """None if it does not inflate, or all that there is to more than a file of ours could hold."""
  inflater = zlib.decompressobj()
  try:
    inflated = inflater.decompress(data, png.room_bytes + 1)  # 0 would be no limit
  except zlib.error:  # after nobody knows how much
    png.room_bytes -= min(png.room_bytes, _MAX_EXPANSION * len(data))
    return None
  png.room_bytes -= min(png.room_bytes, len(inflated))
  return inflated if inflater.eof else None


def _name(kind: bytes) -> str:
  return shown(kind.decode("latin-1"))
