"""Fuzzes the container and the coders, led by what code the bytes reach: `pip install atheris`.

  python -m tests.benchmarks.guided_fuzz [CORPUS_FOLDER] -max_total_time=600 [-seed=1]

What libFuzzer makes goes, by its first byte, through

- the container and the lossless codec of tiny weights: as it is, or with its checksums put right,
- what is left of such a file, its outline, a region, a preview,
- the plain section, the range decoder and the Huffman decoder, of a few tables.

Anything but a BitstreamError, or a UsageError for the size of a picture, is a crash: libFuzzer
stops, and keeps the bytes. Options are libFuzzer's.
"""

import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cae_jax.coding", "cae_jax.codec.lossless"]):
  from cae_jax.codec.lossless import plain
  from cae_jax.codec.lossless.image import LosslessCodec
  from cae_jax.coding import bitstream, huffman, rans, tables
  from cae_jax.coding.errors import BitstreamError

import numpy as np

from cae_jax.errors import UsageError
from tests.benchmarks import damage
from tests.lossless import tiny_weights

_MAX_PIXELS = 1 << 10
_CODEC = LosslessCodec(tiny_weights())
_TABLES = tables.tables_from_pmfs([[0.1, 0.6, 0.2], [0.5, 0.5], [0.999]], [-1, 0, 5])


def _forged(data: bytes) -> bytes:
  """Puts the checksums of a file right, so that what is behind them is reached."""
  try:
    head = bitstream.unpack(data, salvage=True)
  except BitstreamError:
    body = data[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")
  return bitstream.pack(head.header, head.sections, head.metadata)


def _left_over(data: bytes) -> None:
  if _is_small(data, salvage=True):
    _CODEC.decode(data, salvage=True)


def _parts(data: bytes) -> None:
  if _is_small(data):
    _CODEC.decompress(data, region=(0, 0, 1, 1))
    _CODEC.preview(data)


def _is_small(data: bytes, salvage: bool = False) -> bool:
  header = bitstream.unpack(data, salvage=salvage).header
  return header.height * header.width <= _MAX_PIXELS


def _decode(data: bytes) -> None:
  _CODEC.decompress(data, max_pixels=_MAX_PIXELS)


def _plain(data: bytes) -> None:
  shapes = [(5, 7, 3), (4, 4, 1), (1, 30, 2), (16, 3, 4)]
  dtype = (np.uint8, np.uint16)[data[:1] > b"\x7f"]
  plain.decode_plain(data[1:], shapes[len(data) % len(shapes)], dtype)


def _coder(decode: Callable) -> Callable[[bytes], None]:
  """Of at most 255 symbols by three tables in turn."""
  return lambda data: decode(data[1:], np.arange(data[0] if data else 0) % 3, _TABLES)


_TARGETS: tuple[Callable[[bytes], object], ...] = (
  _decode,
  lambda data: _decode(_forged(data)),
  lambda data: _left_over(_forged(data)),
  lambda data: _parts(_forged(data)),
  bitstream.outline,
  _plain,
  _coder(rans.decode),
  _coder(huffman.decode),
)


def one(data: bytes) -> None:
  """Gives bytes to what their first one names."""
  try:
    _TARGETS[data[0] % len(_TARGETS) if data else 0](data[1:])
  except BitstreamError as error:
    if not error.section:
      raise
  except UsageError as error:
    if "max_pixels" not in str(error):
      raise


def seeds() -> list[bytes]:
  """Returns files, and sections, to begin with."""
  files = [data for data in damage.originals(_CODEC) if len(data) < 1 << 12]
  symbols = np.arange(40) % 3 % 2
  coded = [coder.encode(symbols, np.arange(40) % 3, _TABLES) for coder in (rans, huffman)]
  pictures = [np.zeros(shape, np.uint8) for shape in ((5, 7, 3), (4, 4, 1))]
  sections = [plain.encode_plain(picture) for picture in pictures]
  return [
    *(bytes([target]) + data for target in range(5) for data in files),
    *(bytes([5, 0]) + section for section in sections),
    *(bytes([6 + i, 40]) + section for i, section in enumerate(coded)),
  ]


def main() -> None:
  """Runs libFuzzer, from a folder of what was found before or, at first, of `seeds`."""
  arguments = sys.argv
  folders = [Path(name) for name in arguments[1:] if not name.startswith("-")]
  with tempfile.TemporaryDirectory() as temporary:
    if not folders:
      folders, arguments = [Path(temporary)], [*arguments, temporary]
    folders[0].mkdir(exist_ok=True)
    if not any(folders[0].iterdir()):
      for i, data in enumerate(seeds()):
        (folders[0] / f"seed-{i}").write_bytes(data)
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
  main()
