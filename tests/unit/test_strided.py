import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models import strided
from cae_jax.models.arrays import depth_to_space


def _normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _conv(x, kernel, **options):
  return jax.lax.conv_general_dilated(
    x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
  )


def reference_strided(x, kernel):
  return _conv(x, kernel, window_strides=(2, 2), padding=((2, 2), (2, 2)))


def reference_transposed(x, kernel):
  """As PyTorch defines ConvTranspose2d(k=5, stride=2, padding=2, output_padding=1)."""
  height, width = x.shape[1:3]
  y = jnp.zeros((len(x), 2 * height + 3, 2 * width + 3, kernel.shape[-1]))
  for i in range(5):
    for j in range(5):
      y = y.at[:, i : i + 2 * height : 2, j : j + 2 * width : 2].add(x @ kernel[i, j])
  y = jnp.pad(y, ((0, 0), (0, 1), (0, 1), (0, 0)))  # output_padding
  return y[:, 2 : 2 * height + 2, 2 : 2 * width + 2]


def _value_and_gradients(f, x, kernel, weights):
  def run(x, kernel):
    y = f(x, kernel)
    return jnp.sum(y * weights), y

  (_, y), gradients = jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))(x, kernel)
  return y, *gradients


@pytest.mark.parametrize("features", [3, 32])
def test_transposed_convolution_and_its_gradients(features):
  """By folded kernels (few features) and by phases, all is as of the definition."""
  x, kernel = _normal(0, 2, 3, 4, 5), _normal(1, 5, 5, 5, features)
  weights = _normal(2, 2, 6, 8, features)
  ours = _value_and_gradients(strided.transposed_conv, x, kernel, weights)
  expected = _value_and_gradients(reference_transposed, x, kernel, weights)
  for a, b in zip(ours, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_reference_is_what_jax_calls_a_transposed_convolution():
  x, kernel = _normal(3, 1, 4, 3, 2), _normal(4, 5, 5, 2, 4)
  flipped = jax.lax.conv_transpose(
    x, kernel[::-1, ::-1], (2, 2), ((2, 3), (2, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  np.testing.assert_allclose(reference_transposed(x, kernel), flipped, atol=1e-4)


def test_strided_convolution_and_its_gradients():
  x, kernel, weights = _normal(5, 2, 6, 8, 3), _normal(6, 5, 5, 3, 4), _normal(7, 2, 3, 4, 4)
  ours = _value_and_gradients(strided.strided_conv, x, kernel, weights)
  expected = _value_and_gradients(reference_strided, x, kernel, weights)
  for a, b in zip(ours, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_two_are_adjoint():
  x, y, kernel = _normal(8, 1, 6, 8, 3), _normal(9, 1, 3, 4, 5), _normal(10, 5, 5, 3, 5)
  forward = jnp.vdot(strided.strided_conv(x, kernel), y)
  backward = jnp.vdot(x, strided.transposed_conv(y, kernel.swapaxes(2, 3)))
  np.testing.assert_allclose(forward, backward, rtol=1e-5)


def test_folded_kernel_is_a_convolution_at_the_lower_resolution():
  x, kernel = _normal(11, 1, 4, 5, 2), _normal(12, 5, 5, 2, 3)
  low = _conv(x, strided.fold_transposed(kernel), window_strides=(1, 1), padding="SAME")
  np.testing.assert_allclose(depth_to_space(low, 2), reference_transposed(x, kernel), atol=1e-4)


@pytest.mark.parametrize("module", [strided.StridedConv, strided.TransposedConv])
def test_modules_keep_the_variance_at_the_start(module):
  x = _normal(13, 1, 16, 16, 64)
  layer = module(64)
  y = layer.apply(layer.init(jax.random.key(0), x), x)
  assert y.shape == ((1, 8, 8, 64) if module is strided.StridedConv else (1, 32, 32, 64))
  assert 0.8 < float(jnp.std(y)) < 1.2
  half = layer.clone(gain=0.5)
  np.testing.assert_allclose(half.apply(half.init(jax.random.key(0), x), x), y / 2, rtol=1e-4)
