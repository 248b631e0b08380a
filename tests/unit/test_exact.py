import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cae_jax.models.exact import integers
from cae_jax.models.exact.cells import EVERYWHERE, PATTERNS, Cells, at_cells, cells_mask
from cae_jax.models.exact.stack import EntropyStack, Layer, convolved, look_around

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
  return integers.calibrate_stack(
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
  y = integers.evaluate(layers, SPECS, tradeoff, x) / 64
  expected = jax.jit(stack.apply)(
    {"params": params}, x[None] / np.float32(16), jnp.full(1, tradeoff, jnp.float32)
  )[0]
  assert np.std(expected) > 1
  np.testing.assert_allclose(y, expected, atol=0.05 + 0.002 * np.abs(expected).max())


def test_result_is_that_of_plain_integer_arithmetic():
  _, params = make_stack()
  layers = make_integer_stack(params)
  x = inputs(size=40_000)  # beyond 16 bits: is clipped
  y = integers.evaluate(layers, SPECS, 0.5, x)
  np.testing.assert_array_equal(y, _evaluate_in_int64(layers, 0.5, x))


def _evaluate_in_int64(layers, tradeoff, x):
  """The definition, in NumPy's 64-bit integers, one output position at a time."""
  for i, (layer, spec) in enumerate(zip(layers, SPECS, strict=True)):
    b = sum(np.rint(layer.bias[n] * tradeoff**n).astype(np.int64) for n in range(3))
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


@pytest.mark.parametrize("cells", [Cells(2, ((0, 1), (1, 0))), Cells(4, ((2, 2),))])
def test_some_positions_and_channels_of_a_map(monkeypatch, cells):
  specs = Layer(5, 16), Layer(1, 6)
  stack = EntropyStack(specs, zero_last=False)
  params = stack.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), jnp.zeros(1))["params"]
  layers = integers.calibrate_stack(
    params, specs, np.full(3, 1 / 16), np.full(6, 1 / 64), [200.0, 0]
  )
  x = inputs(shape=(24, 8, 9))
  rows, columns = positions = np.stack(np.nonzero(cells_mask(24, 8, cells)))
  padded, seen = integers.PaddedMap(x.shape, 2 * cells.spacing), slice(4, 7)
  padded.write(None, slice(None), x)
  first, *others = layers
  # All at once, or the neighbours in two parts.
  some = np.random.default_rng(0).random(first.weights.shape[:2]) < 0.5
  view = functools.partial(integers.View, first, cells.spacing, channels=seen)
  evaluate = lambda *views: integers.evaluate_at(
    integers.Seeing(views, others), 0.5, padded, positions
  )
  y = evaluate(view())
  assert y.shape == (len(rows), 6)
  monkeypatch.setattr(integers, "_MOST_NUMBERS", 200)  # some at a time
  np.testing.assert_array_equal(evaluate(view()), y)
  np.testing.assert_array_equal(evaluate(view(some), view(~some)), y)
  as_float = x[None, ..., seen] / np.float32(16)
  expected = stack.apply({"params": params}, as_float, jnp.full(1, 0.5), cells)
  found = np.zeros((1, 24, 8, 6))
  found[0, rows, columns] = y / 64
  np.testing.assert_allclose(at_cells(found, cells), expected, atol=0.1)


@pytest.mark.parametrize(
  ("largest", "types"),
  [
    (100, {np.float32}),
    (900, {np.float32}),  # row by row
    (2000, {np.float32, np.float64}),
    (32767, {np.float64}),
  ],
)
def test_the_faster_type_is_taken_where_it_is_exact(largest, types):
  rng = np.random.default_rng(largest)
  kernel = rng.normal(size=(3, 3, 40, 8))
  kernel[0] /= 8
  units = np.full(8, 16.0)
  layer = integers.quantize_layer(kernel, rng.normal(size=(3, 8)), np.ones(40), units)
  padded = integers.PaddedMap((6, 7, 40), 1)
  padded.write(None, slice(None), rng.integers(-largest, largest + 1, (6, 7, 40)))
  view = integers.View(layer)
  chosen = list(integers._exactly([view], padded))
  assert {dtype for _, dtype in chosen} == types
  assert sum(each.where.sum() if each.where is not None else 9 for each, _ in chosen) == 9
  assert (len(chosen) == 1) == (largest == 100)
  positions = np.indices((6, 7)).reshape(2, -1)
  found = integers.evaluate_at(integers.Seeing([view]), 0.5, padded, positions)
  x = np.asarray(padded.values, np.int64)
  around = [x[i : i + 6, j : j + 7].reshape(42, -1) for i in range(3) for j in range(3)]
  totals = np.concatenate(around, axis=1) @ layer.weights.reshape(-1, 8).astype(np.int64)
  bias = np.round(layer.rounded_bias(0.5) * 2.0**layer.shift).astype(np.int64)
  expected = np.clip((totals + bias) >> layer.shift, -32767, 32767)
  np.testing.assert_array_equal(found, expected)


def test_sums_stay_exact_for_the_largest_inputs():
  """Weights at their bound and extreme inputs."""
  kernel = np.full((3, 3, 64, 1), 1.0)
  layer = integers.quantize_layer(kernel, np.zeros((3, 1)), np.ones(64), np.full(1, 512.0))
  assert np.abs(layer.weights).sum() <= 2**15
  x = np.full((5, 5, 64), -integers.ACTIVATION_MAX, np.int32)
  y = integers.evaluate([layer], [Layer(3, 1)], 0.0, x)
  accumulator = -integers.ACTIVATION_MAX * int(layer.weights.sum())
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
    integers.quantize_layer(np.full((1, 1, 2, 1), 1e6), np.zeros((3, 1)), np.ones(2), np.ones(1))


def test_biases_are_the_polynomial():
  layer = integers.quantize_layer(
    np.ones((1, 1, 1, 1)), np.array([[8.0], [4.0], [2.0]]), np.ones(1), np.ones(1)
  )
  for tradeoff, value in ((0.0, 8), (1.0, 14), (-1.0, 6), (0.5, 10.5)):
    assert layer.rounded_bias(tradeoff).tolist() == [value + 0.5]


@pytest.mark.parametrize(
  ("size", "cells"),
  [
    (1, PATTERNS[2][1]),
    (3, EVERYWHERE),
    (3, PATTERNS[2][0]),
    (3, PATTERNS[4][3]),
    (5, PATTERNS[1][0]),
    (5, PATTERNS[7][1]),
    (5, PATTERNS[7][6]),
  ],
)
def test_convolutions_are_products_of_patches(size, cells):
  """What GPUs compute, and its gradients."""
  x, kernel = (
    jax.random.normal(jax.random.key(n), shape)
    for n, shape in enumerate([(2, 8, 12, 3), (size, size, 3, 4)])
  )
  assert_close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=1e-4)
  np.testing.assert_allclose(convolved(x, kernel, cells), look_around(x, kernel, cells), atol=1e-5)
  slopes = lambda fn: jax.grad(lambda *a: jnp.sum(jnp.sin(fn(*a, cells))), (0, 1))(x, kernel)
  jax.tree.map(assert_close, slopes(convolved), slopes(look_around))
