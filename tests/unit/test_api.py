import dataclasses
import math
import threading

import numpy as np
import pytest
from PIL import Image

import cae_jax
from cae_jax import api
from cae_jax.codec.lossless.image import LosslessCodec
from cae_jax.images.pixels import from_pillow
from cae_jax.weights import save_weights, shipped
from tests.lossless import tiny_weights


@pytest.fixture(autouse=True)
def _tiny(tmp_path, monkeypatch):
  """The package's weights are tiny ones here."""
  path = tmp_path / "lossless.safetensors"
  save_weights(path, tiny_weights())
  monkeypatch.setattr("cae_jax.weights.shipped.FOLDER", tmp_path)
  monkeypatch.setattr(shipped, "LOSSLESS", tiny_weights().name)
  api._codec.cache_clear()
  yield
  api._codec.cache_clear()


def _image(shape=(20, 30, 3), dtype=np.uint8):
  return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("asked", [{"lossless": True}, {"psnr": math.inf}, {"near_lossless": 0}])
def test_every_bit_comes_back(asked):
  data = cae_jax.compress(_image(), metadata={"icc": b"1"}, **asked)
  np.testing.assert_array_equal(cae_jax.decompress(data), _image())
  assert cae_jax.decode(data).metadata == {"icc": b"1"}
  assert cae_jax.info(data).largest_error == 0
  assert math.isinf(cae_jax.encode(_image(), **asked).psnr_db)


def test_images_of_pillow_are_taken():
  data = cae_jax.compress(Image.fromarray(_image()), lossless=True)
  np.testing.assert_array_equal(cae_jax.decompress(data), _image())


@pytest.mark.parametrize(
  ("image", "expected"),
  [
    (Image.new("L", (3, 2), 7), np.full((2, 3), 7, np.uint8)),
    (Image.new("1", (3, 2), 1), np.full((2, 3), 255, np.uint8)),
    (Image.new("RGBA", (1, 1), (1, 2, 3, 4)), np.uint8([[[1, 2, 3, 4]]])),
    (Image.new("RGB", (1, 1), (9, 8, 7)).quantize(2), np.uint8([[[9, 8, 7]]])),
    (Image.fromarray(np.uint16([[300, 65535]])), np.uint16([[300, 65535]])),
  ],
  ids=["L", "1", "RGBA", "P", "I;16"],
)
def test_modes_of_pillow(image, expected):
  found = from_pillow(image)
  assert found.dtype == expected.dtype
  np.testing.assert_array_equal(found, expected)


def test_other_modes_of_pillow_are_refused():
  with pytest.raises(cae_jax.ImageError, match=r'mode CMYK; give image.convert\("RGB"\)'):
    cae_jax.compress(Image.new("CMYK", (2, 2)), lossless=True)


def test_only_one_target():
  with pytest.raises(cae_jax.UsageError, match="one target, got bpp and lossless"):
    cae_jax.compress(_image(), lossless=True, bpp=3)


def test_a_codec_is_made_once_for_all_threads(monkeypatch):
  made = []
  init = LosslessCodec.__init__
  monkeypatch.setattr(LosslessCodec, "__init__", lambda self, w: (made.append(1), init(self, w))[1])
  threads = [
    threading.Thread(target=cae_jax.compress, args=(_image(),), kwargs={"lossless": True})
    for _ in range(4)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(made) == 1


def test_files_of_other_weights_are_told():
  data = LosslessCodec(tiny_weights()).compress(_image())
  other = data.replace(b"tiny-lossless", b"tiny-lossles5")
  with pytest.raises(cae_jax.BitstreamError):
    cae_jax.decompress(other)  # its checksum is wrong
  renamed = LosslessCodec(dataclasses.replace(tiny_weights(), name="gone"))
  with pytest.raises(cae_jax.WeightsError, match="'gone'"):
    cae_jax.decompress(renamed.compress(_image()))
