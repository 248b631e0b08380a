import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cae_jax.models.macs import count_macs, macs_per_pixel
from cae_jax.models.paper import PaperAutoencoder


def _shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_matrix_products():
  assert count_macs(jnp.matmul, _shape(5, 7), _shape(7, 3)) == 5 * 7 * 3
  assert count_macs(jnp.matmul, _shape(4, 5, 7), _shape(4, 7, 3)) == 4 * 5 * 7 * 3
  assert count_macs(lambda a, b: a * b + 1, _shape(9), _shape(9)) == 0


@pytest.mark.parametrize(
  ("layer", "expected"),
  [
    (nn.Conv(6, (3, 3)), 8 * 8 * 9 * 4 * 6),
    (nn.Conv(6, (5, 5), strides=2), 4 * 4 * 25 * 4 * 6),
    (nn.Conv(8, (3, 3), feature_group_count=4), 8 * 8 * 9 * 8),
    (nn.ConvTranspose(6, (4, 4), strides=(2, 2)), 8 * 8 * 16 * 4 * 6),
  ],
)
def test_convolutions(layer, expected):
  x = _shape(1, 8, 8, 4)
  params = jax.eval_shape(layer.init, jax.random.key(0), x)
  assert count_macs(layer.apply, params, x) == expected


def test_what_is_inside_counts():
  square = lambda a: a @ a
  inner = jax.jit(lambda a: square(jax.checkpoint(square)(a)))
  assert count_macs(inner, _shape(4, 4)) == 2 * 64
  scanned = lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, length=5)[0]
  assert count_macs(scanned, _shape(4, 4)) == 5 * 64
  either = lambda a: jax.lax.cond(a[0, 0] > 0, square, lambda a: a, a)
  assert count_macs(either, _shape(4, 4)) == 64


def test_endless_loops_are_refused():
  loop = lambda a: jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ a, a)
  with pytest.raises(ValueError, match="loop of unknown length"):
    count_macs(loop, _shape(4, 4))


def test_of_the_papers_network():
  """3x3 convolutions 3-32 at full, 32-64 at half and 64-128 at a quarter of the resolution."""
  encoder, _ = macs_per_pixel(PaperAutoencoder(), 64)
  assert encoder == 9 * (3 * 32 + 32 * 64 / 4 + 64 * 128 / 16)
