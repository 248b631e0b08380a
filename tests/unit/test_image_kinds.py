from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cae_jax.codec.kinds import as_array, kind_of, put_together, take_apart, visible_psnr_db
from cae_jax.codec.rate_search import largest_within
from cae_jax.coding.bitstream import Kind
from cae_jax.errors import UsageError
from cae_jax.images.metrics import psnr_db

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 37, 4), dtype=np.uint8)


@pytest.mark.parametrize(
  ("image", "kind"),
  [
    (PIXELS[..., 0], Kind.GREY),
    (PIXELS[..., 1:3], Kind.GREY_ALPHA),
    (PIXELS[..., :3], Kind.RGB),
    (PIXELS, Kind.RGBA),
  ],
)
def test_planes_are_put_together_again(image, kind):
  planes = take_apart(image)
  assert planes.kind == kind
  assert planes.rgb.shape == (20, 37, 3)
  again = put_together(planes)
  assert again.shape == image.shape
  assert again.dtype == np.uint8
  visible = np.full(image.shape[:2], True) if planes.alpha is None else planes.alpha > 0
  np.testing.assert_array_equal(again[visible], image[visible])


def test_grey_is_the_rounded_mean():
  rgb = np.array([[[0, 0, 1], [0, 1, 1], [255, 255, 254], [10, 20, 40]]], np.uint8)
  grey = put_together(take_apart(np.zeros((1, 4), np.uint8))._replace(rgb=rgb))
  np.testing.assert_array_equal(grey, [[0, 1, 255, 23]])


def test_hidden_colours_become_smooth():
  image = PIXELS.copy()
  image[..., 3] = 255
  image[:16, :16, 3] = 0
  image[0, 0] = (10, 20, 30, 1)
  image[16:, 32:, 3] = 0
  rgb = take_apart(image).rgb
  np.testing.assert_array_equal(rgb[:2, :2], np.broadcast_to([10, 20, 30], (2, 2, 3)))
  assert np.abs(np.diff(rgb[:16, :16].astype(int), axis=0)).max() < 30
  assert np.ptp(rgb[18:, 34:].astype(int), axis=(0, 1)).max() < 30
  np.testing.assert_array_equal(rgb[:16, 16:], image[:16, 16:, :3])


def test_psnr_is_of_what_can_be_seen():
  image = PIXELS.copy()
  image[..., 3] = 255
  image[5:, :, 3] = 0
  planes = take_apart(image)
  rgb_hat = np.clip(planes.rgb.astype(int) + 3, 0, 255).astype(np.uint8)
  spoilt = np.where((image[..., 3:] == 0), 255 - rgb_hat, rgb_hat)
  expected = psnr_db(image[:5, :, :3], rgb_hat[:5])
  assert visible_psnr_db(planes, spoilt) == pytest.approx(expected)
  assert visible_psnr_db(planes._replace(alpha=np.zeros((20, 37), np.uint8)), spoilt) == np.inf


def test_psnr_of_many_rows_is_that_of_all():
  image = np.zeros((600, 2, 3), np.uint8)  # more rows than are measured at a time
  spoilt = image.copy()
  spoilt[:300] = 1
  assert visible_psnr_db(take_apart(image), spoilt) == pytest.approx(psnr_db(image, spoilt))


@pytest.mark.parametrize(
  ("image", "way_out"),
  [
    (np.zeros((4, 4), np.uint16), r"uint16 \[4, 4\]; reduce it to 8 bits, np.round\(image / 257\)"),
    (np.zeros((4, 4, 3)), r"float64 \[4, 4, 3\]; scale it to 0-255"),
    (np.zeros((4, 4, 1), np.uint8), r"drop the last axis: image\[..., 0\]"),
    (np.zeros((5, 0, 3), np.uint8), r"uint8 \[5, 0, 3\]$"),
    (np.zeros((3, 4, 5), np.uint8), r"put the channels last: np.moveaxis\(image, 0, -1\)"),
    (np.zeros((2, 4, 4, 3), np.uint8), r"\[2, 4, 4, 3\]; compress one image after the other"),
    (np.zeros((4, 4), bool), r"bool \[4, 4\]; scale it to 0-255: np.where\(image, 255, 0\)"),
    (np.zeros((4, 4), np.int64), r"int64 \[4, 4\]; .* give image.astype\(np.uint8\)"),
  ],
)
def test_other_arrays_are_refused_with_a_way_out(image, way_out):
  with pytest.raises(UsageError, match=r"^expected uint8 \[H, W\] grey.*" + way_out):
    take_apart(image)


def of_library(name):
  """An object of a type of another library, which need not be installed."""
  return type("Tensor", (), {"__module__": name})()


@pytest.mark.parametrize(
  ("image", "way_out"),
  [
    ([[1, 2]], r"got list; give np.array\(image, np.uint8\)"),
    (Image.new("P", (4, 4)), r"got Image; give np.asarray\(image.convert\("),
    (of_library("torch"), r"got Tensor; give image.permute\(1, 2, 0\).cpu\(\).numpy\(\)"),
    (of_library("tensorflow.python.eager"), r"got Tensor; give image.numpy\(\)"),
    ("a.png", r"got str; read the file first: cae_jax.images.files.read_image\(name\)"),
    (Path("a.png"), r"got PosixPath; read the file first"),
    (b"bytes", "got bytes$"),
    (np.uint8(3), "got uint8$"),
    (None, "got NoneType$"),
  ],
)
def test_what_is_no_array_is_refused_with_a_way_out(image, way_out):
  with pytest.raises(UsageError, match=r"^expected an array, uint8 \[H, W\] grey.*" + way_out):
    take_apart(image)


def test_arrays_may_have_either_order_of_bytes():
  image = np.arange(6, dtype=">u2").reshape(2, 3)
  taken = as_array(image)
  np.testing.assert_array_equal(taken, image)
  assert taken.dtype == np.uint16
  assert kind_of(taken, (np.uint16,)) == Kind.GREY_16


def test_arrays_of_jax_are_arrays():
  for image in (jnp.asarray(PIXELS), PIXELS[::-1, ::2]):
    planes = take_apart(image)
    np.testing.assert_array_equal(planes.alpha, np.asarray(image)[..., 3])
    assert isinstance(planes.rgb, np.ndarray)


class Trials:
  """A rising curve over levels, and how often it was asked."""

  def __init__(self, values):
    self.values, self.asked = values, []

  def search(self, limit, tolerance, slope=0.01):
    def trial(level):
      self.asked.append(level)
      return level

    return largest_within(
      trial,
      lambda level: self.values[level],
      limit,
      tolerance=tolerance,
      levels=len(self.values) - 1,
      start=(len(self.values) - 1) // 2,
      slope=slope,
    )


@given(st.integers(0, 2**32), st.floats(-1, 14), st.sampled_from([0.0, 0.01, 0.5]))
def test_search_never_exceeds_and_is_near(seed, limit, tolerance):
  rng = np.random.default_rng(seed)
  values = np.cumsum(rng.exponential(1, 513)) / 40 * rng.uniform(0.1, 2)
  trials = Trials(values.tolist())
  found = trials.search(limit, tolerance)
  assert len(trials.asked) == len(set(trials.asked)) <= 20
  if found is None:
    assert values[0] > limit
  else:
    assert values[found] <= limit
    best = np.flatnonzero(values <= limit)[-1]
    assert values[found] >= limit - tolerance or best - 8 <= found <= best


@pytest.mark.parametrize("limit", [0.999, 0.9999, 1.0])
def test_search_does_not_creep_up_curves_that_flatten(limit):
  trials = Trials([1 - 2.0 ** (-level / 64) for level in range(4097)])
  found = trials.search(limit, 1e-9, slope=1e-2)
  assert limit - 1e-4 <= trials.values[found] <= limit
  assert len(trials.asked) <= 20


@given(st.integers(0, 2**32), st.floats(2.1, 3.9))
def test_search_takes_few_trials_on_uneven_curves(seed, limit):
  """Files of neighbouring levels differ by chance more than by their levels."""
  noise = np.random.default_rng(seed).normal(0, 0.005, 4097)
  values = 2 + 2.1 * np.linspace(0, 1, 4097) ** 0.9 + noise
  trials = Trials(values.tolist())
  found = trials.search(limit, 0.001, slope=2.1 / 4096)
  assert values[found] <= limit
  assert len(trials.asked) <= 12
  assert values[found] >= limit - 0.05


def test_search_takes_few_trials_on_smooth_curves():
  values = [2 + 2.1 * (level / 4096) ** 0.9 for level in range(4097)]
  for limit in (2.3, 3.0, 3.9):
    trials = Trials(values)
    assert limit - 0.01 <= values[trials.search(limit, 0.01, slope=2.1 / 4096)] <= limit
    assert len(trials.asked) <= 4


@pytest.mark.parametrize("value", [0.0, 200.0])
def test_search_of_a_flat_curve(value):
  trials = Trials([value] * 4097)
  assert trials.search(100.0, 0.02) == (4096 if value == 0 else None)
  assert len(trials.asked) < 20
