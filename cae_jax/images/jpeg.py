"""JPEG files that break off."""

import re
import struct

_END = b"\xff\xd9"
_START = b"\xff\xd8"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # what ends the bits of a scan
_FILLER = b"\x55" * 4096
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


def ended(data: bytes) -> tuple[bytes, bytes] | None:
  """Ends a JPEG file that breaks off, in two ways.

  A decoder that needs bits beyond the end of the file sees other ones in each; if both files give
  the same pixels, nothing but the end was missing.

  Returns:
    Two files; None if this is no JPEG file without an end, or if one of its scans has not begun.
  """
  if not data.startswith(_START) or data.endswith(_END):
    return None
  body = data.removesuffix(b"\xff")
  return (body + _END, body + _FILLER + _END) if _has_all_scans(body) else None


def _has_all_scans(data: bytes) -> bool:
  """Whether every coefficient of every component has begun to come with its last bit."""
  missing: set[tuple[int, int]] | None = None
  at = 2
  try:
    while at < len(data):
      if data[at] != 0xFF:
        return False
      marker, size = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
      segment = data[at + 4 : at + 2 + size]
      at += 2 + size
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
        found = _MARKER.search(data, at)
        at = found.start() if found else len(data)
  except (struct.error, IndexError, ValueError):
    return False
  return missing == set()
