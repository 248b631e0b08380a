"""Colours that a file says by numbers (gAMA and cHRM, cICP, nclx) as sRGB."""

import dataclasses

import numpy as np

from cae_jax.images.pixels import ImageError

# x and y of red, green, blue and white
Chromaticities = tuple[float, ...]
_D65 = (0.3127, 0.3290)
_SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
_SMPTE_170M = (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65)
# ITU-T H.273, tables 2 and 3. Primaries and curves that are not known are taken for sRGB's, as
# everybody does, and so is the curve of BT.709, which says how cameras see, not how screens show.
_UNKNOWN = 2
_PRIMARIES: dict[int, Chromaticities] = {
  1: _SRGB_PRIMARIES,
  _UNKNOWN: _SRGB_PRIMARIES,
  5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
  6: _SMPTE_170M,
  7: _SMPTE_170M,
  9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
  11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
  12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
_PRIMARIES_NAMES = {
  5: "BT.601",
  6: "BT.601",
  7: "SMPTE 240M",
  9: "BT.2020",
  11: "DCI-P3",
  12: "Display P3",
}
_SRGB_TRANSFERS = (1, _UNKNOWN, 6, 13, 14, 15)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ, _HLG = 16, 18
_HDR_TRANSFERS = {_PQ: "PQ", _HLG: "HLG"}
_ROWS_AT_ONCE = 64
_TOLERANCE = 0.005  # sRGB's own values come rounded in many ways
_BRADFORD = np.array(
  [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


@dataclasses.dataclass(frozen=True)
class Colours:
  """Which colours samples mean.

  Attributes:
    name: in words.
    gamma: light is sample ** gamma, both in [0, 1]; None for sRGB's curve.
    primaries: chromaticities of red, green, blue and white.
    code_points: primaries and transfer (ITU-T H.273) of HDR, which has another curve; None for
      ordinary screens.
  """

  name: str
  gamma: float | None = None
  primaries: Chromaticities = _SRGB_PRIMARIES
  code_points: tuple[int, int] | None = None


def from_cicp(primaries: int, transfer: int) -> Colours | None:
  """Returns the meaning of coding-independent code points (ITU-T H.273); None for sRGB.

  Raises:
    ImageError: code points that are not known.
  """
  if primaries in _PRIMARIES and transfer in _HDR_TRANSFERS:
    name = f"HDR ({_HDR_TRANSFERS[transfer]}, code points {primaries}/{transfer})"
    return Colours(name, None, _PRIMARIES[primaries], (primaries, transfer))
  if primaries not in _PRIMARIES or transfer not in (*_SRGB_TRANSFERS, *_GAMMAS):
    raise ImageError(
      f"colours of code points {primaries}/{transfer}, which are not known here; convert the file "
      "to sRGB first"
    )
  return _colours(_PRIMARIES_NAMES.get(primaries), _PRIMARIES[primaries], _GAMMAS.get(transfer))


def from_png(gamma: float | None, chromaticities: tuple[float, ...] | None) -> Colours | None:
  """Returns the meaning of PNG's gAMA and cHRM; None for sRGB, or if they make no sense.

  Args:
    gamma: of gAMA: samples are light ** gamma.
    chromaticities: of cHRM: x and y of white, red, green and blue.
  """
  exponent = None if not gamma or abs(gamma - 1 / 2.2) < _TOLERANCE else 1 / gamma
  if chromaticities is None or not _are_usable(chromaticities):
    return _colours(None, _SRGB_PRIMARIES, exponent)
  primaries = (*chromaticities[2:], *chromaticities[:2])
  if np.allclose(primaries, _SRGB_PRIMARIES, atol=_TOLERANCE):
    return _colours(None, _SRGB_PRIMARIES, exponent)
  return _colours("primaries of cHRM", primaries, exponent)


def to_srgb(samples: np.ndarray, colours: Colours) -> np.ndarray:
  """Converts samples to sRGB; colours outside of it are clipped.

  Args:
    samples: uint8 or uint16, [H, W] or [H, W, 1 to 4]; an alpha channel stays as it is. Of grey
      only the curve is changed.
    colours: what the samples mean.
  Returns:
    The same type and shape.
  Raises:
    ImageError: HDR, which would need a choice of tones.
  """
  if colours.code_points is not None:
    raise ImageError(
      f"{colours.name}: expected an image for ordinary screens; map its tones to sRGB first"
    )
  top = np.iinfo(samples.dtype).max
  light = _to_light(np.arange(top + 1, dtype=np.float32) / top, colours.gamma)
  channels = 1 if samples.ndim == 2 else samples.shape[2]
  converted = samples.copy()
  if channels < 3 or colours.primaries == _SRGB_PRIMARIES:
    table = _quantise(light, samples.dtype)
    visible = converted if samples.ndim == 2 else converted[..., : 3 if channels >= 3 else 1]
    visible[...] = table[visible]
    return converted
  matrix = (np.linalg.inv(to_xyz(_SRGB_PRIMARIES)) @ to_xyz(colours.primaries)).astype(np.float32)
  for start in range(0, len(samples), _ROWS_AT_ONCE):
    rows = samples[start : start + _ROWS_AT_ONCE, :, :3]
    converted[start : start + _ROWS_AT_ONCE, :, :3] = _quantise(light[rows] @ matrix.T, rows.dtype)
  return converted


def light_of(values):
  """Computes light from samples of sRGB, both in [0, 1] (IEC 61966-2-1).

  Args:
    values: float NumPy or JAX array.
  """
  xp = values.__array_namespace__()
  return xp.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def hdr_light(values: np.ndarray, transfer: int) -> np.ndarray:
  """Computes light from samples, both in [0, 1] (Rec. ITU-R BT.2100-2, tables 4 and 5).

  Args:
    values: float.
    transfer: code point, 16 (PQ: light of the screen, 1 is 10,000 cd/m2) or 18 (HLG: light of the
      scene).
  """
  if transfer == _PQ:
    root = values ** (32 / 2523)
    return (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
  a = 0.17883277
  b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
  return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)


def to_xyz(primaries: Chromaticities, white: Chromaticities = _D65) -> np.ndarray:
  """Computes the matrix [3, 3] from light of red, green and blue to X, Y and Z seen under `white`.

  Args:
    primaries: x and y of red, green, blue and their own white.
    white: x and y.
  """
  points = np.array(primaries).reshape(4, 2)
  colours = _xyz_of(points[:3])
  columns = colours * np.linalg.solve(colours, _xyz_of(points[3:])).T
  return adaptation(tuple(points[3]), white) @ columns


def adaptation(white: Chromaticities, wanted: Chromaticities) -> np.ndarray:
  """Computes Bradford's matrix [3, 3] from X, Y and Z under one white (x and y) to another."""
  cones, others = (_BRADFORD @ _xyz_of(np.array([point])) for point in (white, wanted))
  return np.linalg.inv(_BRADFORD) @ (others / cones * _BRADFORD)


def _colours(name: str | None, primaries: Chromaticities, gamma: float | None) -> Colours | None:
  """None if both the primaries (that have no name) and the curve are sRGB's."""
  curve = None
  if gamma is not None:
    curve = "linear" if abs(gamma - 1) < _TOLERANCE else f"gamma {gamma:.3g}"
  names = [word for word in (name, curve) if word]
  return Colours(", ".join(names), gamma, primaries) if names else None


def _are_usable(chromaticities: tuple[float, ...]) -> bool:
  """Whether white is a mixture of three colours that differ."""
  points = np.array(chromaticities).reshape(4, 2)
  if (points[:, 1] <= 0).any() or (points > 1).any():
    return False
  xyz = _xyz_of(points[1:])
  if abs(np.linalg.det(xyz)) < 1e-4:
    return False
  return bool((np.linalg.solve(xyz, _xyz_of(points[:1])) > 0).all())


def _xyz_of(points: np.ndarray) -> np.ndarray:
  """x and y [N, 2] as columns of X, Y and Z [3, N] with Y = 1."""
  x, y = points.T
  return np.stack([x / y, np.ones_like(x), (1 - x - y) / y])


def _to_light(values: np.ndarray, gamma: float | None) -> np.ndarray:
  return light_of(values) if gamma is None else values**gamma


def _quantise(light: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Light in [0, 1] as samples of sRGB."""
  light = light.clip(0, 1)
  values = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
  return np.rint(values * np.iinfo(dtype).max).astype(dtype)
