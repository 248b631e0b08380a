"""PGM and PPM files of 9 to 16 bits a sample, which Pillow would scale."""

import re

import numpy as np

from cae_jax.images.contents import Contents, first_frame
from cae_jax.images.pixels import ImageError, check_size

_GAP = rb"(?:\s|#[^\n]*\n)++"  # never given back: each step would be remembered
# Kind (2 and 5 grey, 3 and 6 RGB; 2 and 3 as text), width, height and largest value.
_HEADER = re.compile(
  rb"P([2356])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)(?:#[^\n]*\n|\s)"
)


def is_ours(data: bytes) -> bool:
  """Says whether this is a PGM or PPM file of more than 8 bits a sample."""
  header = _HEADER.match(data)
  return header is not None and int(header[4]) > 255


def read(data: bytes) -> tuple[np.ndarray, Contents]:
  """Reads the first picture of a file.

  Args:
    data: the file.
  Returns:
    Samples, uint16 [H, W] or [H, W, 3], with their values in the file; and what else it holds.
  Raises:
    ImageError: samples are missing, or larger than the file says.
  """
  header = _HEADER.match(data)
  assert header is not None
  kind, width, height, largest = map(int, header.groups())
  if not 0 < largest < 1 << 16:
    raise ImageError(f"values up to {largest}; convert the file to 16 bits first")
  check_size(width, height)
  channels = 3 if kind in (3, 6) else 1
  count, rest = width * height * channels, data[header.end() :]
  if kind in (5, 6):
    whole = rest[: min(2 * count, len(rest) & ~1)]
    samples, rest = np.frombuffer(whole, ">u2"), rest[2 * count :]
  else:
    words = re.sub(rb"#[^\n]*", b"", rest).split(maxsplit=count)
    samples, rest = np.array(words[:count], np.int64), b"".join(words[count:])
  if samples.size < count or not count:
    raise ImageError(f"{samples.size} samples of {count}")
  if samples.max() > largest or samples.min() < 0:
    raise ImageError(f"a value of {samples.max()}, where the file says up to {largest}")
  holds = Contents(bits=largest.bit_length())
  if rest.lstrip()[:1] == b"P":
    holds.cuts.append(first_frame(None))
  shape = (height, width, channels)[: 3 if channels > 1 else 2]
  return samples.astype(np.uint16).reshape(shape), holds


def encode(samples: np.ndarray) -> bytes:
  """Writes a file of samples, uint16 [H, W, 1 or 3]."""
  height, width, channels = samples.shape
  header = f"P{6 if channels == 3 else 5}\n{width} {height}\n65535\n"
  return header.encode() + samples.astype(">u2").tobytes()
