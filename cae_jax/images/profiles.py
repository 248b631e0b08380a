"""ICC profiles of colours that a file says by numbers (ICC.1:2022, version 4)."""

import struct
from collections.abc import Sequence

import numpy as np

from cae_jax.images.srgb import Colours, adaptation, hdr_light, to_xyz

_D50 = (0.9642, 1.0, 0.8249)  # of every profile: X, Y and Z
_D50_POINT = (_D50[0] / sum(_D50), _D50[1] / sum(_D50))
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVE_POINTS = 4096
_DATE = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)  # the same for ever
_HEADER_BYTES, _ENTRY_BYTES = 128, 12


def describe(colours: Colours, *, is_grey: bool) -> bytes:
  """Makes a profile by which other programs see what samples mean.

  Args:
    colours: what they mean.
    is_grey: they are grey, of which only the curve counts.
  """
  curve = _curve(colours)
  tags = {
    b"desc": _text(colours.name),
    b"cprt": _text("no copyright"),
    b"wtpt": _xyz(_D50),
    b"chad": b"sf32" + bytes(4) + _fixed(adaptation(colours.primaries[6:], _D50_POINT).ravel()),
  }
  if is_grey:
    tags[b"kTRC"] = curve
  else:
    columns = to_xyz(colours.primaries, _D50_POINT).T
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
  if colours.code_points is not None:
    tags[b"cicp"] = b"cicp" + struct.pack(">4x4B", *colours.code_points, 0, 1)  # RGB, full range
  return _profile(b"GRAY" if is_grey else b"RGB ", tags)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
  at = _HEADER_BYTES + 4 + _ENTRY_BYTES * len(tags)
  directory, content = struct.pack(">I", len(tags)), b""
  for name, data in tags.items():
    directory += name + struct.pack(">II", at + len(content), len(data))
    content += data + bytes(-len(data) % 4)
  size = at + len(content)
  header = struct.pack(">I4xI", size, 0x04400000) + b"mntr" + space + b"XYZ " + _DATE + b"acsp"
  header = header.ljust(68, b"\0") + _fixed(_D50)
  return header.ljust(_HEADER_BYTES, b"\0") + directory + content


def _curve(colours: Colours) -> bytes:
  """From samples to light."""
  if colours.code_points is not None:  # readers that know HDR go by these
    light = hdr_light(np.linspace(0, 1, _CURVE_POINTS), colours.code_points[1])
    table = np.rint(65535 * light).astype(">u2").tobytes()
    return b"curv" + struct.pack(">4xI", _CURVE_POINTS) + table
  kind, numbers = (3, _SRGB_CURVE) if colours.gamma is None else (0, (colours.gamma,))
  return b"para" + struct.pack(">4xHxx", kind) + _fixed(numbers)


def _text(words: str) -> bytes:
  data = words.encode("utf-16-be")
  return b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(data), 28) + data


def _xyz(numbers: Sequence[float] | np.ndarray) -> bytes:
  return b"XYZ " + bytes(4) + _fixed(numbers)


def _fixed(numbers: Sequence[float] | np.ndarray) -> bytes:
  return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)
