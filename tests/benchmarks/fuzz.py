"""Feeds damaged files to `cae decompress`: each is refused as such, or written as it stands.

  python -m tests.benchmarks.fuzz --count=100000 [--seed=0] [--weights=WEIGHTS | --lossless]

Files are flipped, cut, lengthened, spliced, given lying sizes, broken metadata, other parameters,
kinds and sections. Nine of ten then get right checksums, so that the damage reaches the code behind
them. What decodes is written in several formats and read again. Counts what the decoder said, and
fails at anything but a BitstreamError naming its section, at another picture than the header's, at
a slow file, and where memory grows. Of each file a region, a preview and what is left of it are
decoded, too.
"""

import argparse
import collections
import contextlib
import dataclasses
import resource
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms
from tqdm import tqdm

from cae_jax import commands
from cae_jax.codec.decoded import Decoded
from cae_jax.codec.kinds import has_alpha
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.sections import joint_checksum
from cae_jax.coding.bitstream import MAX_PIXELS, Header, Kind, pack, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import write_varint
from cae_jax.errors import UsageError
from cae_jax.images.files import ImageError, ImageFile, read_image
from cae_jax.images.pixels import turn
from cae_jax.weights import save_weights
from tests.golden import FOLDER as GOLDEN
from tests.lossless import tiny_weights

SUFFIXES = (".png", ".tif", ".avif", ".webp", ".jpg")
EXACT_SUFFIXES = (".png", ".tif")
SLOWEST_S = 60.0  # of CPU time, compiling for another size included
GROWTH_MIB = 512
_LARGEST_WITH_PARTS = 1 << 20  # pixels; of larger ones no parts are decoded
_EXACT_MAX_PIXELS = 1 << 14  # a lying size takes as long as a true one


def originals(codec) -> list[bytes]:
  """Files of all kinds of pictures, small and smaller."""
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
    and header.height * header.width < _EXACT_MAX_PIXELS
  ]


def _originals(codec) -> list[bytes]:
  rng = np.random.default_rng(0)
  ramp = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8)
  noise = rng.integers(0, 256, (33, 17, 4), np.uint8)
  pictures = [
    np.dstack([ramp, ramp // 2, 255 - ramp]),
    ramp,
    noise,
    noise[..., :2],
    noise[:1, :1, :3],
  ]
  files = [codec.compress(picture, metadata=_metadata()) for picture in pictures[:3]]
  return files + [codec.compress(picture, quality=80) for picture in pictures]


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


def mutated(files: list[bytes], rng: np.random.Generator) -> bytes:
  """A file with one to three faults, mostly with its checksum put right."""
  data = bytearray(files[rng.integers(len(files))])
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
  choice = rng.integers(5)
  if choice == 0:
    header = dataclasses.replace(header, parameters=_parameters(header, other.header, rng))
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
_FAULTS = (*_PLAIN_FAULTS, _break_header, _break_metadata, _reassemble)


def run(
  weights: Path, folder: Path, count: int, seed: int, progress: bool = False
) -> collections.Counter[str]:
  """Decompresses `count` damaged files.

  Args:
    weights: the weights file to make files with and to read them.
    folder: an empty one for files.
    count: how many.
    seed: of the damage.
    progress: shows a bar.
  Returns:
    How often the decoder refused, by section, and how often it wrote each format, by suffix.
  Raises:
    AssertionError: another exception than BitstreamError, a file that was written although it was
      refused, or was not, or cannot be read, or holds another picture than its header stands for; a
      region that is not that of the image; a slow file, or growing memory.
  """
  rng = np.random.default_rng(seed)
  codec = commands.load_codec(str(weights))
  files = originals(codec)
  trial = _Trial(weights, folder, codec, files)
  for data in files:
    assert trial.outcome(data, ".png") == ".png"
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  outcomes: collections.Counter[str] = collections.Counter()
  for number in tqdm(range(count), unit="file", disable=not progress):
    data = mutated(files, rng)
    suffix = trial.suffixes[number % len(trial.suffixes)]
    start = time.process_time()
    try:
      outcomes[trial.outcome(data, suffix)] += 1
      trial.decode_parts(data, rng)
      assert time.process_time() - start < SLOWEST_S, "slow"
    except Exception as error:
      raise AssertionError(f"file {number} of seed {seed} to {suffix}: {data.hex()}") from error
  grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
  assert grown < GROWTH_MIB, f"memory grew by {grown:.0f} MiB"
  return outcomes


class _Trial:
  """What decompresses files one by one.

  Attributes:
    suffixes: of what is written.
  """

  def __init__(self, weights: Path, folder: Path, codec, files: list[bytes]):
    self._weights, self._folder = weights, folder
    self._exact = isinstance(codec, LosslessCodec)
    self._codec = codec
    self._limit = _EXACT_MAX_PIXELS if self._exact else MAX_PIXELS
    self._colours = {_checks(data): _colours(codec.decompress(data)) for data in files}
    self.suffixes = EXACT_SUFFIXES if self._exact else SUFFIXES

  def outcome(self, data: bytes, suffix: str) -> str:
    """Returns the section that was refused, or the suffix of the image that was written."""
    source, target = self._folder / "in.cae", self._folder / f"out{suffix}"
    source.write_bytes(data)
    try:
      commands.decompress_file(source, target, weights=str(self._weights), max_pixels=self._limit)
    except BitstreamError as error:
      assert [*self._folder.iterdir()] == [source]
      return error.section or "unnamed"
    except UsageError:
      header = unpack(data).header
      assert header.height * header.width > self._limit
      return "too many pixels"
    except ImageError:
      assert suffix == ".jpg"
      assert has_alpha(unpack(data).header.kind)
      return "opacity in .jpg"
    self._check(data, target)
    target.unlink()
    return suffix

  def _check(self, data: bytes, target: Path) -> None:
    """What was written is the picture that the file stands for."""
    header = unpack(data).header
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # of EXIF that Pillow can read in part only
      with Image.open(target) as image:
        image.load()
      found = read_image(target, exact=self._exact)
    assert image.size == (header.width, header.height)
    if self._exact:
      decoded = self._codec.decompress(data)
      np.testing.assert_array_equal(found.pixels, turn(decoded, _orientation(found)))
      if _checks(data) in self._colours:
        np.testing.assert_array_equal(_colours(decoded), self._colours[_checks(data)])

  def decode_parts(self, data: bytes, rng: np.random.Generator) -> None:
    """Decodes a region, a preview, and what is left of a file."""
    try:
      header = unpack(data, salvage=True).header
    except BitstreamError:
      return
    height, width = header.height, header.width
    if height * width > min(self._limit, _LARGEST_WITH_PARTS):
      return
    top, left = int(rng.integers(height)), int(rng.integers(width))
    region = (
      top,
      left,
      int(rng.integers(1, height - top + 1)),
      int(rng.integers(1, width - left + 1)),
    )
    whole = self._decoded(data)
    part = self._decoded(data, region=region)
    left_over = self._decoded(data, salvage=True)
    if whole is not None:
      assert part is not None
      assert left_over is not None
      assert left_over.damage == ()
      np.testing.assert_array_equal(left_over.image, whole.image)
      inside = whole.image[top : top + region[2], left : left + region[3]]
      np.testing.assert_array_equal(part.image, inside)
    if left_over is not None:
      assert left_over.image.shape[:2] == (height, width)
    with contextlib.suppress(BitstreamError):
      preview = self._codec.preview(data)
      assert preview.shape[:2] == (-(-height // 8), -(-width // 8))

  def _decoded(self, data: bytes, **options) -> Decoded | None:
    try:
      return self._codec.decode(data, **options)
    except BitstreamError:
      return None


def _checks(data: bytes) -> tuple:
  """What a file says of its picture: the header, and the checksums of its sections."""
  container = unpack(data)
  return container.header, tuple(section[:4] for section in container.sections)


def _orientation(image: ImageFile) -> int:
  """That broken EXIF made readers apply."""
  said = [note.split()[2] for note in image.notes if note.startswith("EXIF orientation")]
  return int(said[0]) if said else 1


def _colours(image: np.ndarray) -> np.ndarray:
  return image if image.ndim == 2 else image[..., : image.shape[2] - 1 + image.shape[2] % 2]


def main() -> int:
  """Runs the fuzzer from the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--count", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--weights", type=Path, help="a file; a small random model if not given")
  parser.add_argument("--lossless", action="store_true", help="a small random lossless model")
  args = parser.parse_args()
  weights = args.weights or GOLDEN / "context.safetensors"
  with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as files:
    if args.lossless:
      weights = Path(folder) / "lossless.safetensors"
      save_weights(weights, tiny_weights())
    outcomes = run(weights, Path(files), args.count, args.seed, progress=True)
  for name, times in outcomes.most_common():
    print(f"{name:12} {times:8} {times / args.count:7.2%}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
