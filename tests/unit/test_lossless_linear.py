import numpy as np
import pytest

from cae_jax.models.lossless import linear
from cae_jax.models.lossless.phases import level_shapes, split


def _smooth(shape, seed=0):
  """Integers of 8 bits, alike in neighbours and channels."""
  rng = np.random.default_rng(seed)
  y, x = np.indices(shape)
  green = 120 + 60 * np.sin(x / 7) * np.cos(y / 5) + rng.normal(0, 2, shape)
  others = green + 10 + rng.normal(0, 1, (2, *shape))
  return np.clip(np.rint(np.stack([green, *others])), 0, 255).astype(np.uint8)


def test_a_channel_that_follows_from_another_is_predicted_exactly():
  x = _smooth((48, 64))
  x[1] = x[0] // 2 + 3  # but for a rounding
  errors = linear.code_linearly(x, linear.fit_image(x)).errors
  assert np.abs(errors[1, 1::2, 1::2]).mean() < 8 * 0.6
  assert np.abs(errors[0, 1::2, 1::2]).mean() > 8 * 1.0


def test_errors_and_predictions_add_up_to_samples():
  x = _smooth((20, 30))
  known, errors, sizes = linear.code_linearly(x, linear.fit_image(x))
  np.testing.assert_array_equal(known, x)
  predictions = 8 * x.astype(int) - errors
  assert predictions.min() >= 0
  assert predictions.max() <= 8 * 255
  assert sizes.shape == (len(level_shapes((20, 30))), 3, 3)


def test_coefficients_are_better_than_the_mean_of_neighbours():
  x = _smooth((64, 64), seed=3)
  none = [[[0 * k for k in p] for p in level] for level in linear.fit_image(x)]
  fitted = np.abs(linear.code_linearly(x, linear.fit_image(x)).errors[:, 1::2]).mean()
  assert fitted < 0.9 * np.abs(linear.code_linearly(x, none).errors[:, 1::2]).mean()


def test_predictions_are_exact_in_any_order():
  rng = np.random.default_rng(0)
  features = rng.integers(-255, 256, (50, 300)).astype(np.float32)
  coefficients = rng.integers(-1023, 1024, 50).astype(np.int32)
  order = rng.permutation(50)
  expected = (coefficients.astype(np.int64) @ features.astype(np.int64) + 8) >> 4
  for o in (slice(None), order):
    np.testing.assert_array_equal(linear.predict(coefficients[o], features[o]), expected)


def test_a_constant_is_for_samples_to_one_side():
  x = _smooth((64, 64))
  x[1] = np.maximum(x[0], 1) - ((np.indices((64, 64)) % 2).sum(0) > 0)  # darker but at (even, even)
  none, some = (linear.fit_image(x, constant=constant) for constant in (False, True))
  assert not any(k[0] for level in none for phase in level for k in phase)
  assert some[0][0][1][0] != 0
  mean = lambda k: linear.code_linearly(x, k).sizes[0, 0, 1]
  assert mean(some) < 0.7 * mean(none)


def test_rounding_makes_up_for_what_it_changed():
  rng = np.random.default_rng(0)
  # Alike, as neighbours are: what one coefficient lacks others can give.
  features = (30 * rng.normal(size=4000) + rng.normal(size=(12, 4000))).astype(np.float32)
  target = (rng.normal(size=12) @ features).astype(np.float32)
  error = lambda k: np.abs(target - k.astype(np.float32) @ features / 128).mean()
  found = linear.fit(features, target)
  plain = np.rint(np.linalg.lstsq(features.T, target, rcond=None)[0] * 128)
  assert error(found) < error(plain)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 6)])
def test_small_and_thin_images(shape):
  x = _smooth(shape)
  known, errors, sizes = linear.code_linearly(x, linear.fit_image(x))
  np.testing.assert_array_equal(known, x)
  assert errors.shape == x.shape
  assert np.isfinite(sizes).all()


@pytest.mark.parametrize("largest_error", [1, 2, 7])
def test_steps_keep_errors_within_half_of_them(largest_error):
  x = _smooth((37, 50))
  x[:, :8] = [[[0]], [[255]], [[254]]]
  known = linear.code_linearly(x, linear.fit_image(x), 2 * largest_error + 1).known
  assert np.abs(known - x).max() == largest_error
  assert known.min() >= 0
  assert known.max() <= 255


def test_samples_of_16_bits_are_predicted_exactly():
  x = 257 * _smooth((32, 40)).astype(np.int32)
  coded = linear.code_linearly(x, linear.fit_image(x), largest=65535)
  np.testing.assert_array_equal(coded.known, x)
  assert np.abs(coded.errors).max() > 2**12  # more than 8 bits of them


def test_log_sizes_are_eighths_of_an_octave():
  assert linear.log_sizes(np.array([1.0, 2.0, 0.0, 1e9])).tolist() == [0, 8, -64, 127]


def test_a_phase_without_pixels_has_no_errors():
  planes = split(np.zeros((3, 1, 8)))
  assert planes.read(1).size == 0


def test_a_fit_of_16_bits_does_not_depend_on_the_order_of_sums():
  """Which is another one in every library."""
  rng = np.random.default_rng(0)
  alike = rng.integers(-30000, 30000, 2000) + rng.integers(-50, 50, (12, 2000))
  features = alike.astype(np.float32)
  target = (features.mean(0) + rng.integers(-500, 500, 2000)).astype(np.float32)
  found = {
    linear.fit(features[:, order], target[order]).tobytes()
    for order in (rng.permutation(2000) for _ in range(5))
  }
  assert len(found) == 1
