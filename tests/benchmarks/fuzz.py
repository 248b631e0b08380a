"""Feeds damaged files to `cae decompress`: each is refused as such, or written as it stands.

  python -m tests.benchmarks.fuzz --count=100000 [--seed=0] [--weights=WEIGHTS]

Files are flipped, cut, lengthened, spliced, given lying sizes and broken metadata. Nine of ten then
get a right checksum, so that the damage reaches the code behind it. What decodes is written in
several formats and read again. Counts what the decoder said, and fails at anything but a
BitstreamError naming its section, at a slow file, and where memory grows.
"""

import argparse
import collections
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
from cae_jax.codec import Codec
from cae_jax.codec.kinds import has_alpha
from cae_jax.coding.bitstream import MAX_PIXELS, pack, unpack
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import write_varint
from cae_jax.images.files import ImageError
from tests.golden import FOLDER as GOLDEN

SUFFIXES = (".png", ".tif", ".avif", ".webp", ".jpg")
SLOWEST_S = 60.0  # compiling for another size included
GROWTH_MIB = 512


def originals(codec: Codec) -> list[bytes]:
  """Files of all kinds of pictures, small and smaller."""
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


_PLAIN_FAULTS = (_flip_bit, _set_byte, _cut, _remove, _insert, _splice, _lie)
_FAULTS = (*_PLAIN_FAULTS, _break_metadata)


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
      refused, or was not, or cannot be read; a slow file, or growing memory.
  """
  rng = np.random.default_rng(seed)
  files = originals(commands.load_codec(str(weights)))
  for data in files:
    _outcome(data, folder, weights, ".png")
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  outcomes: collections.Counter[str] = collections.Counter()
  for number in tqdm(range(count), unit="file", disable=not progress):
    data = mutated(files, rng)
    suffix = SUFFIXES[number % len(SUFFIXES)]
    start = time.perf_counter()
    try:
      outcomes[_outcome(data, folder, weights, suffix)] += 1
      assert time.perf_counter() - start < SLOWEST_S, "slow"
    except Exception as error:
      raise AssertionError(f"file {number} of seed {seed} to {suffix}: {data.hex()}") from error
  grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
  assert grown < GROWTH_MIB, f"memory grew by {grown:.0f} MiB"
  return outcomes


def _outcome(data: bytes, folder: Path, weights: Path, suffix: str) -> str:
  """The section that was refused, or the suffix of the image that was written."""
  source, target = folder / "in.cae", folder / f"out{suffix}"
  source.write_bytes(data)
  try:
    commands.decompress_file(source, target, weights=str(weights), max_pixels=MAX_PIXELS)
  except BitstreamError as error:
    assert [*folder.iterdir()] == [source]
    return error.section or "unnamed"
  except ImageError:
    assert suffix == ".jpg"
    assert has_alpha(unpack(data).header.kind)
    return "opacity in .jpg"
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of EXIF that Pillow can read in part only
    with Image.open(target) as image:
      image.load()
  header = unpack(data).header
  assert image.size == (header.width, header.height)
  target.unlink()
  return suffix


def main() -> int:
  """Runs the fuzzer from the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--count", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--weights", type=Path, help="a file; a small random model if not given")
  args = parser.parse_args()
  weights = args.weights or GOLDEN / "context.safetensors"
  with tempfile.TemporaryDirectory() as folder:
    outcomes = run(weights, Path(folder), args.count, args.seed, progress=True)
  for name, times in outcomes.most_common():
    print(f"{name:12} {times:8} {times / args.count:7.2%}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
