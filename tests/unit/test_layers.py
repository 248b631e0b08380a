import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models import layers


def _normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def test_max_pool_equals_reduce_window():
  x = _normal(1, 2, 6, 10, 5)
  reference = lambda x: nn.max_pool(x, (2, 2), (2, 2))
  np.testing.assert_array_equal(layers.max_pool_2x2(x), reference(x))
  weights = _normal(2, 2, 3, 5, 5)
  gradient = jax.grad(lambda x: jnp.sum(weights * layers.max_pool_2x2(x)))(x)
  expected = jax.grad(lambda x: jnp.sum(weights * reference(x)))(x)
  np.testing.assert_array_equal(gradient, expected)


def test_ties_share_the_gradient_of_max_pool():
  gradient = jax.grad(lambda x: jnp.sum(layers.max_pool_2x2(x)))(jnp.ones((1, 2, 2, 1)))
  np.testing.assert_allclose(gradient, 0.25)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_upsample_conv_is_upsampling_and_convolution(size):
  x = _normal(3, 2, 5, 6, 4)
  module = layers.UpsampleConv(7, size)
  params = module.init(jax.random.key(0), x)
  params = jax.tree.map(lambda p: p + 0.1, params)
  upsampled = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
  expected = nn.Conv(7, (size, size)).apply(params, upsampled)
  np.testing.assert_allclose(module.apply(params, x), expected, atol=1e-4)


def test_odd_sizes_are_refused():
  with pytest.raises(ValueError, match="multiples of 2, got 3x4; pad with"):
    layers.max_pool_2x2(jnp.zeros((1, 3, 4, 1)))


def test_upsample_conv_is_a_subpixel_conv():
  """Nearest-neighbour up-sampling is the case of tied weights."""
  x = _normal(4, 1, 4, 5, 3)
  kernel, bias = _normal(5, 3, 3, 3, 2), _normal(6, 2)
  tied = {"Conv_0": {"kernel": layers.upsample_kernel(kernel), "bias": jnp.tile(bias, 4)}}
  np.testing.assert_allclose(
    layers.SubpixelConv(2).apply({"params": tied}, x),
    layers.UpsampleConv(2).apply({"params": {"kernel": kernel, "bias": bias}}, x),
    atol=1e-5,
  )


def test_an_applied_module_does_not_trace_its_initializer():
  calls = []

  class Scale(nn.Module):
    @nn.compact
    def __call__(self, x):
      def random(key, shape):
        calls.append(shape)
        return jax.random.normal(key, shape)

      return x * self.param("scale", layers.initializer(self, random), (3,))

  x = jnp.ones((2, 3))
  params = Scale().init(jax.random.key(0), x)
  assert calls == [(3,)]
  np.testing.assert_array_equal(Scale().apply(params, x)[0], params["params"]["scale"])
  assert calls == [(3,)]
  with pytest.raises(flax.errors.ScopeParamShapeError):
    Scale().apply({"params": {"scale": jnp.ones(4)}}, x)
