import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models.quantization import (
  clip_inward,
  dequantize_uniform,
  quantize_uniform,
  straight_through,
)

LOW, HIGH = jnp.array([-1.0, 0.0]), jnp.array([1.0, 10.0])


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_levels_are_fixed_points_and_errors_below_half_a_step(bits):
  y = jax.random.uniform(jax.random.key(0), (500, 2)) * (HIGH - LOW)[None] + LOW[None]
  indexes = quantize_uniform(y, LOW, HIGH, bits)
  y_hat = dequantize_uniform(indexes, LOW, HIGH, bits)
  half_step = (HIGH - LOW) / (2**bits - 1) / 2
  assert np.all(np.abs(y - y_hat) <= half_step * 1.001 + 1e-6)
  np.testing.assert_array_equal(quantize_uniform(y_hat, LOW, HIGH, bits), indexes)


def test_values_outside_the_range_take_the_nearest_end():
  indexes = quantize_uniform(jnp.array([[-5.0, 50.0]]), LOW, HIGH, 4)
  np.testing.assert_array_equal(indexes, [[0, 15]])


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
  x = jnp.array([0.2, 0.7])
  np.testing.assert_allclose(straight_through(x, jnp.round(x)), [0, 1], atol=1e-6)
  gradient = jax.grad(lambda x: jnp.sum(straight_through(x, jnp.round(x)) * 3))(x)
  np.testing.assert_array_equal(gradient, [3, 3])


def test_clip_inward_is_a_clip():
  x = jnp.array([-3.0, -1.0, 0.3, 1.0, 2.0])
  np.testing.assert_array_equal(clip_inward(x, -1.0, 1.0), jnp.clip(x, -1, 1))


def test_clip_inward_lets_pass_what_leads_into_the_range():
  x = jnp.array([-3.0, -3.0, 0.3, 0.3, 2.0, 2.0])
  slopes = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
  gradient = jax.jit(jax.grad(lambda x: clip_inward(x, -1.0, 1.0) @ slopes))(x)
  # a step against the slope leads out of the range for the first and the last
  np.testing.assert_array_equal(gradient, [0, -1, 1, -1, 1, 0])


def test_descent_brings_latents_back_into_the_range():
  x = jnp.array([-3.0, 2.0])
  gradient = jax.grad(lambda x: jnp.sum(jnp.square(clip_inward(x, -1.0, 1.0) - 0.5)))
  for _ in range(50):
    x = x - 0.1 * gradient(x)
  np.testing.assert_allclose(x, 0.5, atol=1e-3)
