"""Lossless files that no encoder makes, all of whose checksums are right."""

import dataclasses
import zlib

import numpy as np
import pytest

from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.codec.lossless.layout import Layout
from cae_jax.codec.lossless.plain import encode_plain
from cae_jax.coding.bitstream import Header, Kind, pack
from cae_jax.coding.errors import BitstreamError
from tests.lossless import tiny_weights

MODEL, PLAIN = b"\0", b"\1"


@pytest.fixture(scope="module")
def codec():
  return LosslessCodec(tiny_weights())


def _section(x, method=PLAIN, code=None):
  """Of samples [H, W, C]."""
  crc = zlib.crc32(np.moveaxis(x, 2, 0).astype(x.dtype.newbyteorder("<")).tobytes())
  return crc.to_bytes(4, "little") + method + (encode_plain(x) if code is None else code)


def _file(codec, layout, *tiles, kind=Kind.GREY, more_before=(), shape=(4, 5)):
  checksum = zlib.crc32(b"".join(tile[:4] for tile in tiles))
  weights = codec.weights
  header = Header(weights.name, weights.hash(), kind, *shape, layout.pack(), checksum)
  return pack(header, [*more_before, *tiles])


def _plane(values, dtype=np.uint8):
  return np.resize(np.array(values, dtype), (4, 5, 1))


def _occurring(values, size=256):
  found = np.zeros((1, size, 1), np.uint8)
  found[:, values] = 1
  return _section(found)


def test_what_is_forged_here_is_right_but_for_one_thing(codec):
  data = _file(codec, Layout(offset=7, gap=3, largest=4), _section(_plane([0, 4, 2])))
  np.testing.assert_array_equal(codec.decompress(data), 7 + 3 * _plane([0, 4, 2])[..., 0])
  layout = Layout(offset=7, gap=2, largest=2, counted=True)
  data = _file(codec, layout, _section(_plane([0, 2])), more_before=[_occurring([0, 50, 124])])
  np.testing.assert_array_equal(codec.decompress(data), _plane([7, 255])[..., 0])


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("value", [3, 200])
def test_samples_above_the_largest(codec, value, counted):
  layout = Layout(offset=250, gap=1, largest=2, counted=counted)
  before = [_occurring([0, 1, 5])] if counted else []
  data = _file(codec, layout, _section(_plane([0, value])), more_before=before)
  with pytest.raises(BitstreamError, match=f"a sample is {value}, the largest is 2"):
    codec.decompress(data)


@pytest.mark.parametrize(
  ("layout", "values"),
  [
    (Layout(gap=300, largest=2, counted=True), [0, 1, 2]),
    (Layout(offset=300, largest=2, counted=True), [0, 1, 2]),
    (Layout(offset=56, largest=2, counted=True), [0, 1, 200]),
    (Layout(gap=2, largest=2, counted=True), [0, 1, 128]),
    (Layout(gap=300, largest=1, counted=True), [0, 255]),
  ],
)
def test_values_beyond_8_bits(codec, layout, values):
  data = _file(codec, layout, _section(_plane([0, 1])), more_before=[_occurring(values)])
  with pytest.raises(BitstreamError):
    codec.decompress(data)


@pytest.mark.parametrize("values", [[], [0], [0, 1], [0, 1, 2, 3]])
def test_other_numbers_of_values_that_occur(codec, values):
  layout = Layout(largest=2, counted=True)
  data = _file(codec, layout, _section(_plane([0, 1])), more_before=[_occurring(values)])
  with pytest.raises(BitstreamError, match=f"{len(values)} values occur, not 3"):
    codec.decompress(data)


@pytest.mark.parametrize("name", ["counted", "whole", "grey"])
def test_flags_that_the_sections_do_not_match(codec, name):
  layout = dataclasses.replace(Layout(largest=2), **{name: True})
  data = _file(codec, layout, _section(_plane([0, 1])))
  if name == "whole":  # of one tile that is the same
    assert codec.decompress(data).shape == (4, 5)
    return
  with pytest.raises(BitstreamError):
    codec.decompress(data)


@pytest.mark.parametrize(
  "code", [b"", b"\0", b"\0\0", bytes(50), b"\xff" * 50, b"\0" + b"\x01" * 9]
)
@pytest.mark.parametrize("method", [MODEL, PLAIN, b"\2", b"\xff"])
@pytest.mark.parametrize("kind", [Kind.GREY, Kind.RGB, Kind.RGB_16])
def test_code_of_nothing(codec, kind, method, code):
  x = np.ones((4, 5, kind.colours), kind.dtype)
  with pytest.raises(BitstreamError):
    codec.decompress(_file(codec, Layout(), _section(x, method, code), kind=kind))


def test_samples_of_another_checksum(codec):
  section = _section(_plane([1, 2]))
  wrong = bytes(4) + section[4:]
  with pytest.raises(BitstreamError, match="decoded samples do not match their checksum"):
    codec.decompress(_file(codec, Layout(), wrong))


def test_a_checksum_of_other_tiles(codec):
  data = _file(codec, Layout(), _section(_plane([1, 2])))
  other = _file(codec, Layout(), _section(_plane([1, 3])))
  assert codec.decompress(data).shape == codec.decompress(other).shape
  place = 5 + 1 + 1 + len(codec.weights.name) + 8 + 2 + 1 + len(Layout().pack())
  mixed = bytearray(other[:-4])
  mixed[place : place + 4] = data[place : place + 4]
  forged = bytes(mixed) + zlib.crc32(mixed).to_bytes(4, "little")
  with pytest.raises(BitstreamError, match="they do not match their checksum"):
    codec.decompress(forged)


def test_networks_code_no_image_whole(codec):
  """They would take hundreds of bytes of memory for each of its pixels."""
  x = _plane([0, 1])
  tile = _section(x, MODEL, b"\0" * 40)
  for whole, message in (
    (False, "the stream ends in a zero byte"),
    (True, "networks code no image whole"),
  ):
    layout = Layout(largest=255, whole=whole)
    with pytest.raises(BitstreamError, match=message):
      codec.decompress(_file(codec, layout, tile))
