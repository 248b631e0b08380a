import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cae_jax.images.tiling import pad_to_multiple
from cae_jax.models.quantization import dequantize_uniform, quantize_uniform

_SIDES = st.integers(1, 40)


@given(_SIDES, _SIDES, st.integers(1, 16))
def test_padding_adds_less_than_a_block_and_only_repeats(height, width, multiple):
  x = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3))
  padded = pad_to_multiple(x, multiple)
  assert all(side % multiple == 0 for side in padded.shape[:2])
  assert padded.shape[0] - height < multiple
  assert padded.shape[1] - width < multiple
  rows = np.minimum(np.arange(padded.shape[0]), height - 1)
  columns = np.minimum(np.arange(padded.shape[1]), width - 1)
  np.testing.assert_array_equal(padded, x[rows][:, columns])


@given(
  # Of one length: each would be another program.
  st.lists(st.floats(-100, 100, width=32), min_size=12, max_size=12),
  st.floats(-50, 50, width=32),
  st.floats(0.125, 100, width=32),
  st.integers(1, 8),
)
def test_quantisation_is_idempotent_and_monotone(values, low, width, bits):
  low, high = np.float32([low]), np.float32([low + width])
  y = np.sort(np.float32(values))[:, None]
  indexes = np.asarray(quantize_uniform(y, low, high, bits))
  assert indexes.min() >= 0
  assert indexes.max() < 2**bits
  assert (np.diff(indexes[:, 0]) >= 0).all()
  y_hat = dequantize_uniform(indexes, low, high, bits)
  np.testing.assert_array_equal(quantize_uniform(y_hat, low, high, bits), indexes)
