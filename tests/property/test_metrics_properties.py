"""Laws that hold for every pair of pictures."""

import math

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cae_jax.images import metrics

_SETTINGS = hypothesis.settings(max_examples=60, deadline=None)
_SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))
_PAIRS = _SHAPES.flatmap(
  lambda shape: st.tuples(hnp.arrays(np.uint8, shape), hnp.arrays(np.uint8, shape))
)


@_SETTINGS
@hypothesis.given(_PAIRS)
def test_variance_and_squared_bias_add_up_to_the_mse(pair):
  split = metrics.mse_split(*pair)
  assert split.mse == metrics.mse(*pair)
  assert math.isclose(split.variance + split.bias_squared, split.mse, rel_tol=1e-12, abs_tol=1e-12)
  by_channel = [
    v + b**2 for v, b in zip(split.variance_by_channel, split.bias_by_channel, strict=True)
  ]
  assert math.isclose(sum(by_channel) / 3, split.mse, rel_tol=1e-12, abs_tol=1e-12)


@_SETTINGS
@hypothesis.given(_PAIRS)
def test_distortion_is_symmetric_and_only_zero_for_equal_pictures(pair):
  x, x_hat = pair
  assert metrics.mse(x, x_hat) == metrics.mse(x_hat, x)
  assert (metrics.psnr_db(x, x_hat) == math.inf) == bool((x == x_hat).all())
  assert metrics.psnr_db(x, x_hat) >= 0


@_SETTINGS
@hypothesis.given(_PAIRS, st.permutations(range(3)))
def test_psnr_of_rgb_does_not_depend_on_the_order_of_channels(pair, order):
  x, x_hat = pair
  swapped = metrics.psnr_db(x[..., order], x_hat[..., order])
  assert swapped == metrics.psnr_db(x, x_hat) or math.isclose(
    swapped, metrics.psnr_db(x, x_hat), rel_tol=1e-12
  )


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1), st.floats(1, 60))
def test_ms_ssim_is_symmetric_and_at_most_one(seed, noise):
  rng = np.random.default_rng(seed)
  x = rng.uniform(0, 255, (161, 165, 1))
  x_hat = np.clip(x + rng.normal(0, noise, x.shape), 0, 255)
  value = metrics.ms_ssim(x, x_hat)
  assert 0 <= value <= 1
  assert math.isclose(value, metrics.ms_ssim(x_hat, x), rel_tol=1e-9)
