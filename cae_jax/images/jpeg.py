"""JPEG files: EXIF that Pillow need not see, and files that break off."""

import re
from collections.abc import Iterator

START = b"\xff\xd8"
_END = b"\xff\xd9"
_EXIF = b"Exif\0\0"
HIDDEN_EXIF = b"exif\0\0"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # what ends the bits of a scan
_NOISE = bytes(i * i * 151 % 255 for i in range(4096))
_FILLERS = (b"", b"\x55" + _NOISE, b"\xaa" + _NOISE, b"\xfe" + _NOISE)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_SCAN, _APP1 = 0xDA, 0xE1


def split(data: bytes) -> tuple[bytes, bytes | None]:
  """Hides EXIF from Pillow, which reads it while it opens a file and stumbles over damage.

  Returns:
    The file with another name on its EXIF segments, and the EXIF block; None if there is none.
  """
  changed, parts = bytearray(data), []
  for marker, start, end in _segments(data):
    if marker == _SCAN:
      break
    if marker == _APP1 and data.startswith(_EXIF, start):
      parts.append(data[start + len(_EXIF) : end])
      changed[start : start + len(_EXIF)] = HIDDEN_EXIF
  block = b"".join(parts)
  return (bytes(changed), block) if block else (data, None)


def ended(data: bytes) -> list[bytes]:
  """Ends a JPEG file that breaks off, in several ways.

  A decoder that needs bits beyond the end of the file sees other ones in each. So if all files give
  the same pixels, nothing but the end was missing.

  Returns:
    The files; none if this is no JPEG file without an end, or if one of its scans has not begun.
  """
  if not data.startswith(START) or data.endswith(_END):
    return []
  body = data.removesuffix(b"\xff")
  return [body + filler + _END for filler in _FILLERS] if _has_all_scans(body) else []


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
  """Marker, start and end of the content of each segment; ends where there is no whole one."""
  at = len(START)
  while data[at : at + 1] == b"\xff" and len(data) - at >= 4:
    marker, start, end = data[at + 1], at + 4, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if not start <= end <= len(data):
      return
    yield marker, start, end
    at = end
    if marker == _SCAN:
      found = _MARKER.search(data, end)
      at = found.start() if found else len(data)


def _has_all_scans(data: bytes) -> bool:
  """Whether every coefficient of every component has begun to come with its last bit."""
  missing: set[tuple[int, int]] | None = None
  is_progressive = False
  try:
    for marker, start, end in _segments(data):
      segment = data[start:end]
      if marker in _FRAMES:
        identities = segment[6 : 6 + 3 * segment[5] : 3]
        missing = {(identity, k) for identity in identities for k in range(64)}
        is_progressive = marker in _PROGRESSIVE
      elif marker == _SCAN and missing is not None:
        count = segment[0]
        first, last, bits = segment[1 + 2 * count : 4 + 2 * count] if is_progressive else (0, 63, 0)
        if bits & 15 == 0:
          identities = segment[1 : 1 + 2 * count : 2]
          missing -= {(i, k) for i in identities for k in range(first, last + 1)}
  except (IndexError, ValueError):
    return False
  return missing == set()
