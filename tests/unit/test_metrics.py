"""MSE, PSNR and MS-SSIM: special cases, the published convention, eager = jit, gradients."""

import io
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from cae_jax.images import metrics

_SHARED = pathlib.Path(__file__).parents[3] / "shared"


def _pair(shape=(176, 200, 3), noise=20.0, seed=0):
  """A smooth picture and a noisy version of it, uint8."""
  rng = np.random.default_rng(seed)
  rough = rng.uniform(0, 255, shape)
  x = scipy.ndimage.gaussian_filter(rough, (4, 4, 0)[-len(shape) :])
  x = np.clip((x - x.mean()) * 6 + 128, 0, 255)
  x_hat = np.clip(x + rng.normal(0, noise, shape), 0, 255)
  return x.astype(np.uint8), x_hat.astype(np.uint8)


def test_mse_of_uint8_does_not_wrap_around():
  assert metrics.mse(np.uint8([[[0, 0, 255]]]), np.uint8([[[255, 0, 0]]])) == 255**2 * 2 / 3


def test_psnr_is_the_papers_formula():
  x, x_hat = _pair()
  mean = np.mean((x.astype(float) - x_hat) ** 2)
  assert metrics.psnr_db(x, x_hat) == pytest.approx(20 * math.log10(255) - 10 * math.log10(mean))


def test_psnr_of_an_error_of_one_level():
  x = np.full((4, 4, 3), 7, np.uint8)
  assert metrics.psnr_db(x, x + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)


def test_psnr_of_equal_pictures_is_infinite():
  x, _ = _pair((8, 8, 3))
  assert metrics.psnr_db(x, x) == math.inf
  assert metrics.psnr_y_db(x, x) == math.inf


def test_psnr_from_mse_keeps_arrays_and_the_scale():
  np.testing.assert_allclose(metrics.psnr_from_mse(np.array([0.0, 1.0]), 1.0), [np.inf, 0.0])
  on_jax = jax.jit(metrics.psnr_from_mse)(jnp.array([0.0, 65.025]))
  assert isinstance(on_jax, jax.Array)
  np.testing.assert_allclose(on_jax, [np.inf, 30.0], rtol=1e-5)


def test_psnr_y_of_a_shift_in_grey_is_that_of_rgb():
  x = np.full((4, 4, 3), 100, np.uint8)
  assert metrics.psnr_y_db(x, x + np.uint8(3)) == pytest.approx(metrics.psnr_db(x, x + np.uint8(3)))


def test_psnr_y_weighs_green_most():
  x = np.full((4, 4, 3), 100, np.uint8)
  one = [x + np.uint8([10 * (channel == c) for c in range(3)]) for channel in range(3)]
  red, green, blue = (metrics.psnr_y_db(x, x_hat) for x_hat in one)
  assert green < red < blue
  assert green == pytest.approx(20 * math.log10(255 / 5.87))


def test_split_of_a_constant_shift_is_all_bias():
  x = np.full((5, 6, 3), 50, np.uint8)
  split = metrics.mse_split(x, x + np.uint8([1, 2, 3]))
  assert split.variance == 0
  assert split.bias_by_channel == (1, 2, 3)
  assert split.bias_squared == split.mse == pytest.approx(14 / 3)


def test_split_of_balanced_noise_is_all_variance():
  x = np.full((2, 2, 1), 50, np.uint8)
  x_hat = np.uint8([[[40], [60]], [[60], [40]]])
  split = metrics.mse_split(x, x_hat)
  assert (split.mse, split.variance, split.bias_squared) == (100, 100, 0)


def test_split_needs_an_image():
  with pytest.raises(ValueError, match=r"expected images \[H, W, C\], got shape \(4,\)"):
    metrics.mse_split(np.zeros(4), np.zeros(4))


@pytest.mark.parametrize(
  "function", [metrics.mse, metrics.psnr_db, metrics.psnr_y_db, metrics.mse_split, metrics.ms_ssim]
)
def test_shapes_must_agree(function):
  with pytest.raises(ValueError, match=r"shape \(200, 200, 3\), got \(200, 201, 3\)"):
    function(np.zeros((200, 200, 3)), np.zeros((200, 201, 3)))


def _reference_ms_ssim(x, x_hat):
  """A second way to the same number: dense windows by SciPy, in float64, channel by channel."""
  taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
  window = np.outer(taps, taps) / taps.sum() ** 2
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

  def blur(a):
    return scipy.ndimage.correlate(a, window)[5:-5, 5:-5]

  def one(a, b):
    value = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
      if scale:
        a, b = (
          np.pad(v, [(s % 2,) * 2 for s in v.shape])[: -(v.shape[0] % 2) or None] for v in (a, b)
        )
        a, b = (v[:, : v.shape[1] // 2 * 2] for v in (a, b))
        a, b = (v.reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2).mean((1, 3)) for v in (a, b))
      m, n = blur(a), blur(b)
      contrast = (2 * (blur(a * b) - m * n) + c2) / (blur(a * a) + blur(b * b) - m * m - n * n + c2)
      map_ = contrast if scale < 4 else contrast * (2 * m * n + c1) / (m * m + n * n + c1)
      value *= max(map_.mean(), 0) ** weight
    return value

  x, x_hat = x.astype(float), x_hat.astype(float)
  return np.mean([one(x[..., c], x_hat[..., c]) for c in range(3)])


@pytest.mark.parametrize("shape", [(176, 192, 3), (161, 183, 3)])
def test_ms_ssim_equals_a_dense_reference(shape):
  x, x_hat = _pair(shape)
  expected = _reference_ms_ssim(x, x_hat)
  assert 0.2 < expected < 0.99
  assert float(metrics.ms_ssim(x, x_hat)) == pytest.approx(expected, abs=2e-6)
  in_float64 = metrics.ms_ssim(x.astype(float), x_hat.astype(float))
  assert float(in_float64) == pytest.approx(expected, abs=1e-12)


def test_ms_ssim_of_equal_pictures_is_one():
  x, _ = _pair()
  assert float(metrics.ms_ssim(x, x)) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_of_a_negative_is_zero():
  x, _ = _pair()
  assert float(metrics.ms_ssim(x, 255 - x)) == 0


def test_ms_ssim_takes_any_scale_and_a_batch():
  x, x_hat = _pair()
  batch = np.stack([x, x_hat]) / np.float32(255)
  values = metrics.ms_ssim(batch, np.stack([x_hat, x]) / np.float32(255), max_value=1.0)
  assert values.shape == (2,)
  np.testing.assert_allclose(values, float(metrics.ms_ssim(x, x_hat)), atol=1e-5)


def test_ms_ssim_jit_equals_eager_and_its_gradient_is_right():
  x, x_hat = (jnp.asarray(v, jnp.float32) for v in _pair((168, 170, 3)))
  value, gradient = jax.jit(jax.value_and_grad(metrics.ms_ssim, argnums=1))(x, x_hat)
  assert float(value) == pytest.approx(float(metrics.ms_ssim(*_pair((168, 170, 3)))), abs=2e-6)
  assert bool(jnp.isfinite(gradient).all())
  # Along the line to the original the value rises as the gradient says (float64 difference).
  x64, x_hat64 = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
  step = 1e-4 * (x64 - x_hat64)
  slope = metrics.ms_ssim(x64, x_hat64 + step) - metrics.ms_ssim(x64, x_hat64 - step)
  assert slope > 0
  assert float((gradient * (x - x_hat)).sum()) * 2e-4 == pytest.approx(float(slope), rel=1e-2)


def test_ms_ssim_gradient_is_finite_where_the_contrast_is_negative():
  x = jnp.asarray(_pair((161, 161, 1))[0], jnp.float32)
  gradient = jax.jit(jax.grad(metrics.ms_ssim, argnums=1))(x, 255 - x)
  assert bool(jnp.isfinite(gradient).all())


def test_ms_ssim_names_the_smallest_side():
  assert metrics.MS_SSIM_MIN_SIDE == 161
  small = np.zeros((160, 400, 3))
  with pytest.raises(ValueError, match=r"sides >= 161, got shape \(160, 400, 3\)"):
    metrics.ms_ssim(small, small)


@pytest.mark.parametrize(("quality", "number"), [(30, 20), (90, 13)])
def test_metrics_equal_the_measured_ones_on_kodak(quality, number):
  measured = _SHARED / "reference" / "measured" / "kodak_lossy.json"
  if not measured.exists():
    pytest.skip("the measured reference figures are not beside this checkout")
  points = json.loads(measured.read_text())["jpeg_420"]["points"]
  point = next(point for point in points if point["quality"] == quality)
  with Image.open(_SHARED / "data" / "kodak" / f"kodim{number}.png") as image:
    x = np.array(image)
  buffer = io.BytesIO()
  Image.fromarray(x).save(buffer, "JPEG", quality=quality, progressive=True, optimize=True)
  with Image.open(buffer) as image:
    x_hat = np.array(image)
  rate_bpp, psnr_db = point["per_image"][number - 1]
  if len(buffer.getvalue()) * 8 / x[..., 0].size != rate_bpp:
    pytest.skip("this libjpeg writes other files than the one that was measured")
  assert metrics.psnr_db(x, x_hat) == pytest.approx(psnr_db, abs=1e-9)
  expected = point["per_image_ms_ssim"][number - 1]
  assert float(metrics.ms_ssim(x, x_hat)) == pytest.approx(expected, abs=2e-5)
