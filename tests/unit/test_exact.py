import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models import exact
from cae_jax.models.entropy_stack import Cells, EntropyStack, Layer

evaluate = jax.jit(exact.evaluate, static_argnums=1)
SPECS = (Layer(3, 16, 2), Layer(1, 12), Layer(3, 6))


def make_stack(seed=0, channels=5):
  """A stack with biases that depend on the trade-off, and its parameters."""
  stack = EntropyStack(SPECS, zero_last=False)
  x = jnp.zeros((1, 4, 4, channels))
  params = jax.jit(stack.init)(jax.random.key(seed), x, jnp.zeros(1))["params"]
  rng = np.random.default_rng(seed)
  noisy = lambda a: np.asarray(a) + rng.normal(0, 0.1, a.shape).astype(np.float32)
  return stack, jax.tree.map(noisy, params)


def make_integer_stack(params, channels=5, unit=1 / 16, out_unit=1 / 64):
  return exact.calibrate_stack(
    params,
    SPECS,
    np.full(channels, unit),
    np.full(SPECS[-1].features, out_unit),
    [200.0, 400.0, 0.0],
  )


def inputs(seed=1, shape=(4, 6, 5), size=300):
  return np.random.default_rng(seed).integers(-size, size, shape).astype(np.int32)


@pytest.mark.parametrize("tradeoff", [-1.0, -0.25, 1.0])
def test_integers_follow_the_float_network(tradeoff):
  stack, params = make_stack()
  layers = make_integer_stack(params)
  x = inputs()
  y = evaluate(layers, SPECS, exact.biases(layers, tradeoff), x) / 64
  expected = jax.jit(stack.apply)(
    {"params": params}, x[None] / np.float32(16), jnp.full(1, tradeoff, jnp.float32)
  )[0]
  assert np.std(expected) > 1
  np.testing.assert_allclose(y, expected, atol=0.05 + 0.002 * np.abs(expected).max())


def test_result_is_that_of_plain_integer_arithmetic():
  _, params = make_stack()
  layers = make_integer_stack(params)
  bias = exact.biases(layers, 0.5)
  x = inputs(size=40_000)  # beyond 16 bits: is clipped
  y = evaluate(layers, SPECS, bias, x)
  np.testing.assert_array_equal(y, _evaluate_in_int64(layers, bias, x))


def _evaluate_in_int64(layers, bias, x):
  """The definition, in NumPy's 64-bit integers, one output position at a time."""
  for i, (layer, spec, b) in enumerate(zip(layers, SPECS, bias, strict=True)):
    x = np.clip(x.astype(np.int64), -32767, 32767)
    weights = layer.weights.astype(np.int64)
    r = spec.kernel_size // 2
    padded = np.pad(x, ((r, r), (r, r), (0, 0)))
    y = np.zeros((*x.shape[:2], spec.features), np.int64)
    for row, column in np.ndindex(*x.shape[:2]):
      window = padded[row : row + 2 * r + 1, column : column + 2 * r + 1]
      y[row, column] = np.tensordot(window, weights, 3) + b
    y = np.clip((y + ((1 << layer.shift) >> 1)) >> layer.shift, -32767, 32767)
    if spec.upsample > 1:
      f = spec.features // 4
      y = y.reshape(*x.shape[:2], 2, 2, f).transpose(0, 2, 1, 3, 4)
      y = y.reshape(2 * x.shape[0], 2 * x.shape[1], f)
    x = y if i == len(layers) - 1 else np.maximum(y, y >> 3)
  return x


def test_jit_and_eager_agree_to_the_bit():
  _, params = make_stack()
  layers = make_integer_stack(params)
  bias = exact.biases(layers, -0.5)
  for seed in range(3):
    x = inputs(seed, size=30_000)
    eager = exact.evaluate(layers, SPECS, bias, jnp.asarray(x))
    np.testing.assert_array_equal(eager, evaluate(layers, SPECS, bias, x))


@pytest.mark.parametrize("cells", [Cells(2, ((0, 1), (1, 0))), Cells(4, ((2, 2),))])
def test_strips_of_rows_make_no_difference(monkeypatch, cells):
  specs = Layer(5, 16), Layer(1, 6)
  stack = EntropyStack(specs, zero_last=False)
  params = stack.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), jnp.zeros(1))["params"]
  layers = exact.calibrate_stack(params, specs, np.full(3, 1 / 16), np.full(6, 1 / 64), [200.0, 0])
  x, bias = inputs(shape=(24, 8, 3)), exact.biases(layers, 0.5)
  whole = exact.evaluate(layers, specs, bias, x, cells)
  assert whole.shape == (len(cells.offsets), 24 // cells.stride, 8 // cells.stride, 6)
  for most in (whole.shape[1] * 100, 1):  # some rows at a time, one row
    monkeypatch.setattr(exact, "_MOST_NUMBERS", most)
    np.testing.assert_array_equal(exact.evaluate(layers, specs, bias, x, cells), whole)
  expected = stack.apply({"params": params}, x[None] / np.float32(16), jnp.full(1, 0.5), cells)
  np.testing.assert_allclose(whole / 64, expected[0], atol=0.1)


def test_sums_stay_exact_for_the_largest_inputs():
  """Weights at their bound and extreme inputs: no partial sum leaves float32's integers."""
  kernel = np.full((3, 3, 64, 1), 1.0)
  layer = exact.quantize_layer(kernel, np.zeros((3, 1)), np.ones(64), np.full(1, 512.0))
  assert np.abs(layer.weights).sum() <= 2**15
  x = np.full((5, 5, 64), -exact.ACTIVATION_MAX, np.int32)
  spec = (Layer(3, 1),)
  bias = exact.biases([layer], 0.0)
  y = evaluate([layer], spec, bias, x)
  accumulator = -exact.ACTIVATION_MAX * int(layer.weights.sum())
  expected = max((accumulator + (1 << layer.shift[0] >> 1)) >> layer.shift[0], -32767)
  assert y[2, 2, 0] == expected


def test_weights_use_the_precision_there_is():
  _, params = make_stack()
  for layer in make_integer_stack(params):
    sums = np.abs(layer.weights).sum(axis=(0, 1, 2))
    at_most = layer.shift == 24
    assert (sums <= 2**15).all()
    assert ((sums > 2**13) | at_most).all()


def test_too_large_weights_are_refused():
  with pytest.raises(ValueError, match="too large for its units"):
    exact.quantize_layer(np.full((1, 1, 2, 1), 1e6), np.zeros((3, 1)), np.ones(2), np.ones(1))


def test_biases_are_the_polynomial():
  layer = exact.quantize_layer(
    np.ones((1, 1, 1, 1)), np.array([[8.0], [4.0], [2.0]]), np.ones(1), np.ones(1)
  )
  one = 1 << layer.shift[0]
  for tradeoff, value in ((0.0, 8), (1.0, 14), (-1.0, 6), (0.5, 10.5)):
    assert exact.biases([layer], tradeoff)[0].tolist() == [int(value * one)]
