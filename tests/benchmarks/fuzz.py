"""Feeds damaged files to the decoder: every one must be refused as such, or decode as it stands.

  python -m tests.benchmarks.fuzz --count=100000 [--seed=0] [--weights=WEIGHTS]

Files are flipped, cut, lengthened, spliced and given lying sizes. Nine of ten then get a right
checksum, so that the damage reaches the code behind it. Counts what the decoder said, and fails at
anything but a BitstreamError naming its section, at a slow file, and where memory grows.
"""

import argparse
import collections
import resource
import sys
import time
import zlib

import numpy as np
from tqdm import tqdm

from cae_jax import codec as codecs
from cae_jax.codec import Codec
from cae_jax.coding.bitstream import MAX_PIXELS
from cae_jax.coding.errors import BitstreamError
from cae_jax.coding.varint import write_varint

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
  files = [codec.compress(picture, metadata={"icc": b"profile" * 20}) for picture in pictures[:2]]
  return files + [codec.compress(picture, quality=80) for picture in pictures]


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


_FAULTS = (_flip_bit, _set_byte, _cut, _remove, _insert, _splice, _lie)


def run(codec: Codec, count: int, seed: int, progress: bool = False) -> collections.Counter[str]:
  """Decodes `count` damaged files.

  Returns:
    How often the decoder refused, by section, and how often it decoded ("decoded").
  Raises:
    AssertionError: another exception than BitstreamError, a slow file, or growing memory.
  """
  rng = np.random.default_rng(seed)
  files = originals(codec)
  for data in files:
    codec.decompress(data)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  outcomes: collections.Counter[str] = collections.Counter()
  for number in tqdm(range(count), unit="file", disable=not progress):
    data = mutated(files, rng)
    start = time.perf_counter()
    try:
      codec.decompress(data, max_pixels=MAX_PIXELS)
      outcomes["decoded"] += 1
    except BitstreamError as error:
      outcomes[error.section or "unnamed"] += 1
    except Exception as error:
      raise AssertionError(f"file {number} of seed {seed}: {data.hex()}") from error
    assert time.perf_counter() - start < SLOWEST_S, f"file {number} of seed {seed}: {data.hex()}"
  grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
  assert grown < GROWTH_MIB, f"memory grew by {grown:.0f} MiB"
  return outcomes


def main() -> int:
  """Runs the fuzzer from the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--count", type=int, default=100_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--weights", help="a weights file; a small random model if not given")
  args = parser.parse_args()
  if args.weights:
    codec = codecs.load(args.weights)
  else:
    from tests.models import context_codec

    codec = context_codec()
  outcomes = run(codec, args.count, args.seed, progress=True)
  for name, times in outcomes.most_common():
    print(f"{name:12} {times:8} {times / args.count:7.2%}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
