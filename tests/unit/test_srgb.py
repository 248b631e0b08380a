"""Colours that are said by numbers become sRGB."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from cae_jax.images import boxes, srgb
from cae_jax.images.pixels import ImageError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
SRGB_CHRM = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def test_srgb_by_its_own_matrix_is_itself():
  primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.0600001, 0.3127, 0.3290)  # not the same object
  np.testing.assert_array_equal(srgb.to_srgb(RGB, srgb.Colours("", None, primaries)), RGB)


@pytest.mark.parametrize("primaries", [6, 9, 11, 12])
@pytest.mark.parametrize("transfer", [13, 8, 4])
def test_grey_stays_grey(primaries, transfer):
  grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1)
  converted = srgb.to_srgb(grey, srgb.from_cicp(primaries, transfer))
  assert np.ptp(converted.astype(int), axis=-1).max() <= 1
  assert (np.diff(converted[0, :, 1].astype(int)) >= 0).all()
  if transfer == 13:
    assert np.abs(converted.astype(int) - grey).max() <= 1


def test_as_little_cms_does_it():
  """Display P3 to sRGB; Little CMS builds the profile from the same chromaticities."""
  inside = (RGB // 3 + 90).astype(np.uint8)  # nothing to be clipped
  converted = srgb.to_srgb(inside, srgb.from_cicp(12, 13))
  image = Image.fromarray(inside)
  p3 = _matrix_profile(srgb.to_xyz(srgb._PRIMARIES[12]))
  expected = ImageCms.profileToProfile(image, p3, ImageCms.createProfile("sRGB"))
  assert np.abs(converted.astype(int) - np.asarray(expected)).max() <= 1


def _matrix_profile(to_xyz_d65):
  """sRGB's profile with other colourants, as seen under D50."""
  made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
  own = np.array([_colourant(made, name) for name in "rgb"]).T
  own_d65 = srgb.to_xyz(srgb._SRGB_PRIMARIES)
  matrix = own @ np.linalg.inv(own_d65) @ to_xyz_d65
  for name, column in zip("rgb", matrix.T, strict=True):
    at = _place(made, name)
    made[at : at + 12] = b"".join(round(v * 65536).to_bytes(4, "big", signed=True) for v in column)
  return ImageCms.ImageCmsProfile(io.BytesIO(bytes(made)))


def _place(profile, name):
  entry = profile.index(name.encode() + b"XYZ", 128)
  return int.from_bytes(profile[entry + 4 : entry + 8], "big") + 8


def _colourant(profile, name):
  at = _place(profile, name)
  return np.frombuffer(bytes(profile[at : at + 12]), ">i4") / 65536


def test_16_bits_stay_16_and_alpha_stays():
  values = RNG.integers(0, 65536, (9, 7, 4)).astype(np.uint16)
  converted = srgb.to_srgb(values, srgb.from_png(1.0, None))
  np.testing.assert_array_equal(converted[..., 3], values[..., 3])
  light = values[..., :3] / 65535
  curve = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
  assert np.abs(converted[..., :3] - 65535 * curve).max() <= 1
  np.testing.assert_array_equal(
    srgb.to_srgb(values[..., 0], srgb.from_png(1.0, None)), converted[..., 0]
  )
  np.testing.assert_array_equal(
    srgb.to_srgb(values[..., 2:], srgb.from_png(1.0, None)), converted[..., 2:]
  )


@pytest.mark.parametrize(
  "chromaticities",
  [SRGB_CHRM, None, (0.0,) * 8, (0.3127, 0.3290, *(0.64, 0.33) * 3), (0.9, 0.05, *SRGB_CHRM[2:])],
  ids=["sRGB", "none", "zeros", "one colour", "white outside"],
)
@pytest.mark.parametrize("gamma", [None, 0.0, 0.45455, 0.45])
def test_what_is_srgb_or_no_colours_at_all(gamma, chromaticities):
  assert srgb.from_png(gamma, chromaticities) is None


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 1), (1, 6), (2, 13)])
def test_code_points_of_srgb(primaries, transfer):
  assert srgb.from_cicp(primaries, transfer) is None


@pytest.mark.parametrize(
  ("code_points", "words"),
  [
    ((1, 10), "code points 1/10, which are not known here; convert the file to sRGB first"),
    ((77, 13), "code points 77/13, which are not known here"),
  ],
)
def test_what_cannot_be_srgb(code_points, words):
  with pytest.raises(ImageError, match=words):
    srgb.from_cicp(*code_points)


@pytest.mark.parametrize(("code_points", "name"), [((9, 16), "PQ"), ((1, 18), "HLG")])
def test_tones_are_not_mapped(code_points, name):
  words = rf"HDR \({name}, code points \d/{code_points[1]}\): .* map its tones to sRGB first"
  with pytest.raises(ImageError, match=words):
    srgb.to_srgb(RGB, srgb.from_cicp(*code_points))


def test_curves_of_hdr():
  """Values of BT.2100: PQ 0.5081 is 100 cd/m2, 0.7518 is 1,000; HLG 0.5 is a twelfth."""
  np.testing.assert_allclose(
    srgb.hdr_light(np.array([0, 0.5081, 0.7518, 1]), 16), [0, 0.01, 0.1, 1], rtol=1e-3
  )
  np.testing.assert_allclose(
    srgb.hdr_light(np.array([0, 0.5, 1]), 18), [0, 1 / 12, 1], rtol=1e-6, atol=1e-9
  )


def test_gain_maps_are_lost():
  data = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaftmap"
  assert boxes.heif_facts(data).lost == ["HDR gain map"]
  apple = (
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x1emeta\0\0\0\0" + b"aux:hdrgainmap\0\0\0\0"
  )
  assert boxes.heif_facts(apple).lost == ["HDR gain map"]
