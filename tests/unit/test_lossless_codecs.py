"""Lossless codecs of other libraries, and ours: every kind of image comes back within the bound."""

import sys

import numpy as np
import pytest

from cae_jax.errors import UsageError
from cae_jax.evaluation import measuring, names, samples
from cae_jax.evaluation.codecs import lossless_codecs, own_codec
from cae_jax.evaluation.codecs.base import FileCodec, Missing
from cae_jax.evaluation.codecs.lossless_codecs import bounded

_OPTIONAL = {"png_oxipng", "heic_lossless"}
_RAMP = (np.arange(20 * 30 * 4).reshape(20, 30, 4) * 37 % 251).astype(np.uint8)
_DEEP = _RAMP.astype(np.uint16) * 261
_KINDS = {
  "grey": _RAMP[..., 0],
  "grey with alpha": _RAMP[..., :2],
  "RGB": _RAMP[..., :3],
  "hidden colours": np.dstack([_RAMP[..., :3], _RAMP[..., 3] // 200 * 255]),
  "opaque": np.dstack([_RAMP[..., :3], np.full((20, 30), 255, np.uint8)]),
  "RGB without colours": np.repeat(_RAMP[..., :1], 3, -1),
  "a pixel": _RAMP[:1, :1, :3],
  "a column": _RAMP[:, :1, 0],
  "10 bits": _DEEP[..., 0] >> 6,
  "12 bits RGB": _DEEP[..., :3] >> 4,
  "16 bits": _DEEP[..., 0],
  "16 bits RGB": _DEEP[..., :3],
  "8 bits as 16": _RAMP[..., :3].astype(np.uint16) * 257,
  "16 bits RGBA": _DEEP,
}


def _present(bounds=()):
  found = lossless_codecs.lossless_codecs("all", bounds)
  missing = {codec.name for codec in found if isinstance(codec, Missing)}
  assert missing <= _OPTIONAL
  return [codec for codec in found if not isinstance(codec, Missing)]


@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_comes_back_or_is_not_taken(kind):
  x = _KINDS[kind]
  taken = set()
  for codec in _present([1, 5]):
    for bound in codec.settings:
      record = measuring.evaluate_image(codec, bound, kind, x)
      if record.status.startswith("not taken: "):
        continue
      assert record.status == "ok", codec.name
      assert record.error_bound == bound
      assert record.max_error <= bound
      assert record.bpsp == 8 * record.size_bytes / x.size
      taken.add((codec.name, bound))
  assert {(name, b) for name in ("jxl_e7", "jxl_e9") for b in (0, 1, 5)} <= taken
  assert {("png", 0), ("jpeg2000_lossless", 0)} <= taken


def test_near_lossless_files_are_smaller():
  rng = np.random.default_rng(0)
  x = rng.integers(0, 256, (64, 64), np.uint8)
  for codec in _present([2]):
    if len(codec.settings) > 1:
      exact, near = (len(codec.encode(x, setting)) for setting in (0, 2))
      assert near < 0.8 * exact


def test_jpegls_takes_the_colour_transform_that_is_smallest():
  (codec,) = lossless_codecs.lossless_codecs("jpegls")
  ramp = np.arange(64 * 64, dtype=np.int64).reshape(64, 64)
  grey = (ramp**2 // 7 % 256).astype(np.uint8)
  correlated = np.dstack([grey, grey, grey + 3])
  data = codec.encode(correlated, 0)
  assert data[2:10].startswith(b"\xff\xe8\x00\x07mrfx")
  assert len(data) < len(codec.encode(correlated, 1))
  np.testing.assert_array_equal(codec.decode(data), correlated)


def test_a_codec_without_its_library_says_so(monkeypatch):
  monkeypatch.setitem(sys.modules, "imagecodecs", None)
  monkeypatch.setitem(sys.modules, "oxipng", None)
  monkeypatch.setitem(sys.modules, "pillow_heif", None)
  found = lossless_codecs.lossless_codecs("all")
  assert [codec.name for codec in found] == list(names.LOSSLESS_LABELS)
  missing = {codec.name: codec.status for codec in found if isinstance(codec, Missing)}
  assert set(missing) == set(names.LOSSLESS_LABELS) - {"webp_lossless"}
  assert "pip install pyoxipng" in missing["png_oxipng"]
  assert 'pip install "cae_jax[codecs]"' in missing["jxl_e9"]


def test_unknown_codec_is_named():
  with pytest.raises(
    UsageError, match=r"unknown codec 'flif'; expected 'all', 'none' or some of p"
  ):
    lossless_codecs.lossless_codecs("jxl_e9,flif")
  assert lossless_codecs.lossless_codecs("none") == []


class _Weights:
  name = "lossless"

  def hash(self):
    return b"\1\2"


class _Ours:
  """Stands in for a lossless codec of ours."""

  weights = _Weights()

  def compress(self, image, near_lossless, keep_hidden_colour):
    assert keep_hidden_colour
    step = 2 * near_lossless + 1
    return bytes([step, *((image + near_lossless) // step).tobytes()])

  def decompress(self, data):
    return (np.frombuffer(data, np.uint8, offset=1) * data[0]).reshape(4, 5)


def test_ours_is_asked_for_the_bound_and_for_hidden_colours():
  codec = own_codec.lossless(_Ours(), [2])
  assert (codec.name, codec.settings) == ("lossless", (0, 2))
  assert "weights 0102; threads of the machine" in codec.version
  x = np.arange(20, dtype=np.uint8).reshape(4, 5)
  assert [measuring.evaluate_image(codec, b, "x", x).max_error for b in codec.settings] == [0, 2]


def test_a_file_beyond_its_bound_is_an_error_without_figures():
  wrong = bounded("wrong", "1", [], lambda x, _: b"", lambda _: np.full((4, 4), 9, np.uint8))
  record = measuring.evaluate_image(wrong, 0, "x", np.full((4, 4), 7, np.uint8))
  assert record.status == "failed: wrong decoded x with an error of 2, allowed 0"
  assert (record.size_bytes, record.mse, record.bpsp, record.error_bound) == (None, None, None, 0)


def test_a_file_of_another_size_is_an_error():
  wrong = bounded("wrong", "1", [], lambda x, _: b"", lambda _: np.zeros((4, 5), np.uint8))
  record = measuring.evaluate_image(wrong, 0, "x", np.zeros((4, 4), np.uint8))
  assert record.status.startswith("failed: wrong decoded x to uint8 (4, 5), expected uint8 (4, 4)")


def test_lossy_codecs_have_no_bound_but_a_largest_error():
  raw = FileCodec(
    "raw", "1", (1,), (1,), lambda x, _: b"12", lambda _: np.full((2, 2, 3), 9, np.uint8)
  )
  record = measuring.evaluate_image(raw, 1, "x", np.full((2, 2, 3), 12, np.uint8))
  assert (record.max_error, record.error_bound, record.bpsp) == (3, None, 16 / 12)


def test_psnr_is_of_the_depth_of_the_samples():
  x = np.full((8, 8), 1000, np.uint16)
  near = bounded("near", "1", [1], lambda x, _: b"1", lambda _: x + np.uint16(1))
  record = measuring.evaluate_image(near, 1, "x", x)
  assert record.bits == 10
  assert record.psnr_db == pytest.approx(20 * np.log10(1023))
  assert record.psnr_y_db is None


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_kinds_are_changed_only_without_loss(channels):
  x = _RAMP[..., :channels]
  unlike = {2: _RAMP[..., 0], 3: _RAMP, 4: _RAMP[..., :3]}[channels]
  changed = samples.of_kind(unlike, x)
  if channels == 3:
    assert changed.shape == unlike.shape  # an alpha that says something stays
  else:
    assert changed.shape == x.shape
    assert (changed[..., -1] == 255).all()


def test_colours_do_not_become_grey():
  grey = np.zeros((2, 3), np.uint8)
  coloured = np.zeros((2, 3, 3), np.uint8)
  assert samples.of_kind(coloured, grey).shape == (2, 3)
  coloured[0, 0, 1] = 1
  assert samples.of_kind(coloured, grey).shape == (2, 3, 3)


def test_digests_tell_images_apart():
  x = _RAMP[..., 0]
  others = [x[:, ::-1], x.reshape(30, 20), x[..., None], x.astype(np.uint16)]
  assert samples.digest(x) == samples.digest(x.copy())
  assert len({samples.digest(image) for image in [x, *others]}) == 5
