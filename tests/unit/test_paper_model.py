import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models import init_params
from cae_jax.models.paper import PaperAutoencoder


def _shapes(model, height=512, width=768):
  """Output shapes of every module, without computing anything."""
  x = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))

  def run(key, x):
    return model.init_with_output(key, x, capture_intermediates=True, mutable=True)

  output, variables = jax.eval_shape(run, key, x)
  return output, variables


@pytest.mark.parametrize("upsampling", ["nearest", "subpixel"])
def test_shapes_are_the_papers(upsampling):
  output, variables = _shapes(PaperAutoencoder(upsampling=upsampling))
  analysis = variables["intermediates"]["analysis"]
  shapes = [analysis[f"Conv_{i}"]["__call__"][0].shape for i in range(3)]
  assert shapes[0] == (1, 512, 768, 32)
  assert shapes[1][1:3] == (256, 384)  # after the first pooling
  assert variables["params"]["analysis"]["Conv_1"]["kernel"].shape[2] == 32
  assert shapes[2] == output.y.shape == (1, 128, 192, 128)
  assert output.x_hat.shape == (1, 512, 768, 3)


def test_the_papers_latents_are_larger_than_the_image():
  output, _ = _shapes(PaperAutoencoder())
  assert output.y.size / output.x_hat.size == pytest.approx(8 / 3)


def test_bottleneck():
  output, _ = _shapes(PaperAutoencoder(bottleneck=6))
  assert output.y.shape == (1, 128, 192, 6)
  assert output.x_hat.shape == (1, 512, 768, 3)


@pytest.mark.parametrize("bits", [1, 4])
def test_training_rounds_latents_straight_through(bits):
  model = PaperAutoencoder(channels=(4, 6, 8), bottleneck=3, latent_bits=bits)
  x = jax.random.uniform(jax.random.key(1), (2, 16, 16, 3))
  variables = {"params": init_params(model, 0)}
  output = jax.jit(model.apply)(variables, x)
  levels = (np.asarray(output.y_hat) + 1) / 2 * (2**bits - 1)
  np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
  loss_fn = lambda v: jnp.mean(jnp.square(model.apply(v, x).x_hat - x))
  gradient = jax.jit(jax.grad(loss_fn))(variables)
  kernel = gradient["params"]["analysis"]["Conv_0"]["kernel"]
  assert np.isfinite(kernel).all()
  assert np.abs(kernel).max() > 0


def test_bfloat16_computes_near_float32():
  x = jax.random.uniform(jax.random.key(1), (1, 32, 32, 3))
  exact = PaperAutoencoder(channels=(8, 8, 32))
  variables = {"params": init_params(exact, 0)}
  rough = exact.clone(dtype=jnp.bfloat16)
  expected, output = (jax.jit(model.apply)(variables, x) for model in (exact, rough))
  assert output.x_hat.dtype == output.y.dtype == jnp.float32
  assert np.abs(output.x_hat - expected.x_hat).max() < 0.1
