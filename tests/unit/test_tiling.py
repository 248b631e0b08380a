import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cae_jax.codec import windows
from cae_jax.codec.tiles import coding_tiles
from cae_jax.images.tiling import best_size, pad_to_multiple, split_axis


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 6), st.integers(1, 4))
def test_windows_cover_an_axis_once_with_margins_around(cells, cells_of_window, margin, align):
  length, size = align * cells, align * cells_of_window
  if (size - 2 * margin) // align < 1 and length > size:
    with pytest.raises(ValueError, match=f"window of {size} has nothing left between margins"):
      split_axis(length, size, margin, align)
    return
  parts = split_axis(length, size, margin, align)
  kept = [i for part in parts for i in range(part.inner_start, part.inner_stop)]
  assert kept == list(range(length))
  for part in parts:
    assert part.start % align == 0
    assert part.stop - part.start == min(size, length)
    assert part.start == 0 or part.inner_start - part.start >= margin
    assert part.stop == length or part.stop - part.inner_stop >= margin


def test_an_axis_that_fits_is_one_window():
  assert split_axis(64, 64, 6, 4) == [(0, 64, 0, 64)]
  assert len(split_axis(68, 64, 6, 4)) == 2


def test_best_size_does_the_least_work():
  # 1088 pixels: two windows of 768 or one of 1536, not two of 1024
  assert best_size(68, (48, 64, 96), 6, 4) == 96
  assert best_size(250, (48, 64, 96), 6, 4) == 96
  assert best_size(375, (48, 64, 96), 6, 4) == 64
  assert best_size(40, (48, 64, 96), 6, 4) == 48


def test_padding_repeats_the_edge():
  x = np.arange(6).reshape(2, 3)
  np.testing.assert_array_equal(pad_to_multiple(x, 4)[2:, 2:], np.full((2, 2), 5))
  np.testing.assert_array_equal(pad_to_multiple(x, 1), x)


@dataclasses.dataclass
class Blurring:
  """A coder whose analysis and synthesis see `radius` latents far, on images of any size."""

  radius: int = 2
  margin: int = 2
  stride: int = 16
  multiple: int = 64
  rate_levels: int = 0
  works_on_host: bool = False
  largest: int = 0

  def analyse(self, image, in_parallel=map):
    self.largest = max(self.largest, image.size)
    height, width = (-(-side // 16) for side in image.shape[:2])
    x = pad_to_multiple(image, self.multiple).astype(np.float32)
    h, w = (side // 16 for side in x.shape[:2])
    blocks = x.reshape(h, 16, w, 16, 3).swapaxes(1, 2).reshape(h, w, -1)
    return self._blur(blocks)[:height, :width]

  def encode(self, y, rate_level):
    raise NotImplementedError

  def decode(self, section, shape, rate_level):
    raise NotImplementedError

  def synthesise(self, y_hat, rate_level, in_parallel):
    height, width, _ = y_hat.shape
    padded = np.pad(y_hat, ((0, -height % 4), (0, -width % 4), (0, 0)))
    blocks = self._blur(padded)[:height, :width].reshape(height, width, 16, 16, 3).swapaxes(1, 2)
    return np.rint(blocks.reshape(16 * height, 16 * width, 3)).astype(np.uint8)

  def _blur(self, x):
    r = self.radius
    padded = np.pad(x, ((r, r), (r, r), (0, 0)))
    height, width, _ = x.shape
    shifts = [(i, j) for i in range(2 * r + 1) for j in range(2 * r + 1)]
    return sum(padded[i : i + height, j : j + width] for i, j in shifts) / len(shifts)


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("shape", [(300, 700), (65, 257), (640, 128), (16, 16), (1, 300)])
def test_windows_give_what_the_whole_gives(monkeypatch, shape, on_host):
  image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
  whole, tiled = Blurring(works_on_host=on_host), Blurring(works_on_host=on_host)
  y = windows.analyse(whole, image)
  x_hat = windows.synthesise(whole, y, 0, *shape)
  monkeypatch.setattr(windows, "WINDOW_SIDES", (192, 256))
  monkeypatch.setattr(windows, "HOST_SIDE", 256)
  np.testing.assert_allclose(windows.analyse(tiled, image), y, rtol=1e-5)
  np.testing.assert_array_equal(windows.synthesise(tiled, y, 0, *shape), x_hat)
  assert tiled.largest <= 256 * 256 * 3


def test_too_small_a_margin_shows(monkeypatch):
  """The test above can fail."""
  image = np.random.default_rng(0).integers(0, 256, (300, 700, 3), dtype=np.uint8)
  y = windows.analyse(Blurring(), image)
  monkeypatch.setattr(windows, "WINDOW_SIDES", (192, 256))
  assert np.abs(windows.analyse(Blurring(margin=0), image) - y).max() > 1


def test_windows_fit_the_image_where_nothing_is_compiled(monkeypatch):
  monkeypatch.setattr(windows, "WINDOW_SIDES", (128, 512))
  monkeypatch.setattr(windows, "HOST_SIDE", 512)
  image = np.zeros((16, 640, 3), np.uint8)
  coders = Blurring(works_on_host=True), Blurring()
  for coder in coders:
    windows.analyse(coder, image)
  assert [coder.largest // (3 * 16) for coder in coders] == [384, 512]


def test_refining_takes_the_windows_of_programs_on_the_host_too(monkeypatch):
  monkeypatch.setattr(windows, "WINDOW_SIDES", (128, 256))
  seen = []

  class Refining(Blurring):
    def refine(self, image, y, rate_level):
      seen.append(image.shape[1])
      return y, y

  coder = Refining(works_on_host=True)
  image = np.zeros((16, 640, 3), np.uint8)
  y = windows.analyse(coder, image)
  refined, aim = windows.refine(coder, image, y, 0)
  assert set(seen) == {256}
  assert refined.shape == aim.shape == y.shape


@pytest.mark.parametrize("stride", [4, 16])
def test_coding_tiles_are_of_1024_pixels(stride):
  side = 1024 // stride
  assert coding_tiles(side, side, stride) == [(slice(0, side), slice(0, side))]
  tiles = coding_tiles(side + 1, 2 * side, stride)
  assert [(t[0].stop, t[1].stop) for t in tiles] == [
    (side, side), (side, 2 * side), (side + 1, side), (side + 1, 2 * side)
  ]  # fmt: skip


def test_very_long_images_have_larger_tiles():
  tiles = coding_tiles(1, 1 << 20, 16)
  assert len(tiles) == 2048
  assert tiles[0] == (slice(0, 1), slice(0, 512))
