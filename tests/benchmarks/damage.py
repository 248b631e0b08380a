"""Small files of all kinds, and damage to them that reaches the code behind their checksums."""

import dataclasses
import functools
import zlib

import numpy as np
from PIL import ExifTags, Image, ImageCms

from cae_jax.codec.kinds import has_alpha
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.sections import joint_checksum
from cae_jax.coding.bitstream import Header, Kind, pack, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import write_varint
from tests.golden import FOLDER as GOLDEN

MAX_PIXELS = 1 << 14  # of what is worth damaging


@functools.cache
def originals(codec) -> list[bytes]:
  """Makes small files of all kinds of pictures; a few are golden ones, of version 1."""
  made = _lossless_originals(codec) if isinstance(codec, LosslessCodec) else _originals(codec)
  return made + _first_versions(codec)


def _first_versions(codec) -> list[bytes]:
  """Small files of version 1 that these weights have made, while there was no other."""
  files = [path.read_bytes() for path in sorted(GOLDEN.glob("*.cae"))]
  headers = [unpack(data).header for data in files]
  return [
    data
    for data, header in zip(files, headers)
    if header.version == 1
    and header.model_hash == codec.weights.hash()
    and header.height * header.width < MAX_PIXELS
  ]


def _originals(codec) -> list[bytes]:
  """Of all kinds, of one tile and of two, with metadata and without; good and bad ones."""
  rng = np.random.default_rng(0)
  ramp = np.add.outer(np.arange(24), np.arange(40)).astype(np.uint8)
  noise = rng.integers(0, 256, (33, 17, 4), np.uint8)
  strip = np.tile(np.arange(1040) // 5, (9, 1)).astype(np.uint8)
  pictures = [
    np.dstack([ramp, ramp // 2, 255 - ramp]),
    ramp,
    noise,
    noise[..., :2],
    noise[:1, :1, :3],
    strip,
  ]
  files = [codec.compress(picture, metadata=_metadata()) for picture in pictures[:3]]
  many = bool(codec.coder.rate_levels)
  good, finer = ({"quality": quality} if many else {} for quality in (80, 140))
  files += [codec.compress(picture, **finer) for picture in pictures[:3] * many]
  files += [
    codec.encode(picture, layer=layer, metadata=_metadata()).data
    for picture, layer in ((pictures[0], _layer(24, 40, 4)), (noise[..., :2], _layer(33, 17, 2)))
  ]
  return files + [codec.compress(picture, **good) for picture in pictures]


def _layer(height: int, width: int, channels: int) -> np.ndarray:
  layer = np.zeros((height, width, channels), np.uint8)
  layer[5:20, 3:12] = np.arange(15)[:, None, None] % 4 * 80
  layer[5:20, 3:12, -1] = 255
  return layer


def _lossless_originals(codec: LosslessCodec) -> list[bytes]:
  """Coded by networks, as drawings, as one section and as tiles; grey, deep, opaque and not."""
  rng = np.random.default_rng(0)
  ramp = np.add.outer(np.arange(20), np.arange(28))
  noise = rng.normal(0, 2, (*ramp.shape, 3))
  photograph = np.clip(5 * ramp[..., None] + 30 + noise, 0, 255).astype(np.uint8)
  gaps = np.cumsum(rng.integers(1, 12, 40)).astype(np.uint8)
  deep = (photograph.astype(np.uint16) << 4) + rng.integers(0, 16, photograph.shape, np.uint16)
  alpha = np.where(ramp[..., None] > 9, 255, 9 * ramp[..., None] // 10).astype(np.uint8)
  few = rng.integers(0, 3, (9, 14, 1), np.uint8) * np.uint8([70, 80, 85])
  tiles = np.clip(np.arange(1030)[None] // 5 + rng.normal(0, 3, (3, 1030)), 0, 255)
  pictures = [
    photograph,
    photograph[..., 0],
    np.repeat(photograph[..., :1], 3, axis=2),
    np.dstack([photograph, alpha]),
    np.dstack([photograph[..., :1], alpha]),
    deep,
    deep[..., 1],
    np.dstack([deep, alpha.astype(np.uint16) * 257]),
    few,
    np.full((5, 6, 3), 65535, np.uint16),
    photograph[:1, :1],
    tiles.astype(np.uint8),
    gaps[photograph // 8],
    np.tile(few[:1], (2, 100, 1)),
  ]
  files = [codec.compress(x, keep_hidden_colour=True) for x in pictures]
  files += [codec.compress(x, near_lossless=3) for x in (photograph, deep[..., 0])]
  return [*files, codec.compress(photograph, metadata=_metadata())]


def _metadata() -> dict[str, bytes]:
  exif = Image.Exif()
  exif[ExifTags.Base.Make] = "Maker"
  exif[ExifTags.Base.Orientation] = 1
  exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = 5.25
  icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  return {"icc": icc, "exif": exif.tobytes()}


def mutated(original: bytes, files: list[bytes], rng: np.random.Generator) -> bytes:
  """Returns a file with one to three faults, mostly with its checksum put right.

  Args:
    original: the file.
    files: others, parts of which may come into it.
    rng: decides.
  """
  data = bytearray(original)
  for _ in range(rng.integers(1, 4)):
    data = bytearray(_FAULTS[rng.integers(len(_FAULTS))](data, files, rng))
  if rng.random() < 0.9 and len(data) > 4:
    data[-4:] = zlib.crc32(bytes(data[:-4])).to_bytes(4, "little")
  return bytes(data)


def _flip_bit(data, files, rng):
  if data:
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
  return data


def _set_byte(data, files, rng):
  if data:
    data[rng.integers(len(data))] = rng.choice([0, 1, 127, 128, 255])
  return data


def _cut(data, files, rng):
  return data[: rng.integers(len(data) + 1)]


def _remove(data, files, rng):
  start = rng.integers(len(data) + 1)
  return data[:start] + data[start + rng.integers(1, 9) :]


def _insert(data, files, rng):
  start = rng.integers(len(data) + 1)
  return data[:start] + rng.bytes(rng.integers(1, 9)) + data[start:]


def _splice(data, files, rng):
  other = files[rng.integers(len(files))]
  return data[: rng.integers(len(data) + 1)] + other[rng.integers(len(other) + 1) :]


def _lie(data, files, rng):
  """A varint of any size written over the header or elsewhere."""
  start = rng.integers(min(len(data), 64) + 1)
  number = write_varint(int(rng.integers(1 << rng.integers(1, 31))))
  return data[:start] + number + data[start + rng.integers(0, 4) :]


def _break_metadata(data, files, rng):
  """Faults within the inflated metadata, in a file that is otherwise right."""
  try:
    container = unpack(data)
  except BitstreamError:
    return data
  metadata = dict(container.metadata)
  for name, value in metadata.items():
    fault = _PLAIN_FAULTS[rng.integers(len(_PLAIN_FAULTS))]
    metadata[name] = bytes(fault(bytearray(value), [metadata["icc"]], rng))
  return bytearray(pack(container.header, container.sections, metadata))


def _reassemble(data, files, rng):
  """Other parameters, another kind, sections of its own that are damaged, or of other files."""
  try:
    container = unpack(data)
    other = unpack(files[rng.integers(len(files))])
  except BitstreamError:
    return data
  header, sections = container.header, list(container.sections)
  choice = rng.integers(8)
  if choice == 0:
    header = dataclasses.replace(header, parameters=_parameters(header, other.header, rng))
    if header.version > 1 and rng.random() < 0.3:
      others = {"is_finer": not header.is_finer, "has_layer": False}
      if rng.random() < 0.5:
        others = {"is_finer": False, "has_layer": not header.has_layer}
      header = dataclasses.replace(header, **others)
  elif choice == 1:
    header = dataclasses.replace(header, kind=rng.choice(list(Kind)))
  elif choice == 2 and sections and other.sections:
    place = rng.integers(len(sections))
    sections[place] = other.sections[rng.integers(len(other.sections))]
  elif choice == 3 and len(sections) > 1:
    sections = [sections[i] for i in rng.permutation(len(sections))[: rng.integers(1, 9)]]
  elif sections:  # behind its checksum and method
    place = rng.integers(len(sections))
    fault = _PLAIN_FAULTS[rng.integers(len(_PLAIN_FAULTS))]
    section = sections[place]
    sections[place] = section[:5] + bytes(fault(bytearray(section[5:]), other.sections, rng))
  if header.version == 1 and rng.random() < 0.7:  # as lossless files have it
    colours = sections[: len(sections) - has_alpha(header.kind)]
    header = dataclasses.replace(header, symbol_checksum=joint_checksum(colours))
  return bytearray(pack(header, sections, container.metadata))


def _break_header(data, files, rng):
  """Faults within the header and the sizes of sections, with a checksum that is right."""
  try:
    container = unpack(data)
  except BitstreamError:
    return data
  if container.header.version == 1:
    return data
  start = len(data) - 4 - sum(map(len, container.sections))
  fault = _PLAIN_FAULTS[rng.integers(len(_PLAIN_FAULTS))]
  head = bytes(fault(bytearray(data[: start - 4]), files, rng))
  return bytearray(head + zlib.crc32(head).to_bytes(4, "little") + data[start:])


def _parameters(header: Header, other: Header, rng: np.random.Generator) -> bytes:
  numbers = [int(rng.integers(1 << rng.integers(1, 17))) for _ in range(4)]
  flags = {name: bool(rng.integers(2)) for name in ("grey", "whole", "counted")}
  layouts = Layout(*numbers, **flags), Layout(numbers[0], 0, 1, 255, **flags)
  own = bytes(_set_byte(bytearray(header.parameters), [], rng))
  choices = [layout.pack() for layout in layouts] + [other.parameters, own]
  return choices[rng.integers(len(choices))]


_PLAIN_FAULTS = (_flip_bit, _set_byte, _cut, _remove, _insert, _splice, _lie)
# Half of them leave the checksums right, and reach what is behind these.
_FAULTS = (*_PLAIN_FAULTS, _break_header, _break_metadata, *(_reassemble,) * 5)
