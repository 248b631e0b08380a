import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_jax.coding import rans
from cae_jax.coding.tables import tables_from_frequencies, tables_from_pmfs
from cae_jax.errors import UsageError
from cae_jax.models.lossless import distribution, likelihood, linear, network, passes
from cae_jax.models.lossless.model import JAX, LosslessModel
from cae_jax.models.lossless.phases import PARITIES, PHASES, split
from tests.lossless import HEAD, TRUNK, tiny_weights

FLAT = tables_from_frequencies(
  [np.full(2**n, 2 ** (16 - n)) for n in range(13)], [0] * 13, 16, False
)
MODEL = LosslessModel(trunk_widths=TRUNK, head_width=HEAD)


@pytest.fixture(scope="module")
def params():
  return tiny_weights().params


@pytest.fixture(scope="module")
def networks(params):
  return network.networks_of(params)


@pytest.fixture(scope="module")
def tables():
  return tables_from_pmfs(*zip(*distribution.pmfs()), 16)


def _image(shape, seed=0):
  rng = np.random.default_rng(seed)
  y, x = np.indices(shape)
  image = 128 + 90 * np.sin(x / 5 + y / 9) + rng.normal(0, 4, (3, *shape))
  return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _samples_of(x, place):
  row, column = PARITIES[place.plane]
  level = x[place.channel, :: 2**place.level, :: 2**place.level]
  return level[row::2, column::2].reshape(-1).astype(np.int32)


def _encode(x, side, networks, tables, precision):
  """The section, and what its decoder will have."""
  parts = []

  def code(place, expected):
    steps = np.rint((_samples_of(x, place) - expected.middles) / precision.step).astype(np.int32)
    high, low = _split(steps, expected.low_bits)
    parts.append((high - expected.starts, expected.tables, tables))
    parts.append((low, expected.low_bits, FLAT))
    return np.clip(expected.middles + precision.step * steps, 0, precision.largest)

  coarsest = passes.coarsest_of(x)
  known = passes.run(coarsest, x.shape[1:], side, networks, code, precision)
  return rans.encode_parts([p for p in parts if p[1] is not None]), known


def _split(steps, low_bits):
  if low_bits is None:
    return steps, None
  return steps >> low_bits, steps & ((1 << low_bits) - 1)


def _decode(data, coarsest, shape, side, networks, tables, precision):
  decoder = rans.Decoder(data)

  def code(place, expected):
    del place
    steps = decoder.decode(expected.tables, tables) + expected.starts
    if expected.low_bits is not None:
      steps = (steps << expected.low_bits) + decoder.decode(expected.low_bits, FLAT)
    return np.clip(expected.middles + precision.step * steps, 0, precision.largest)

  x = passes.run(coarsest, shape, side, networks, code, precision)
  decoder.finish()
  return x


def _round_trip(x, networks, tables, precision=passes.LOSSLESS):
  side = passes.side_of(x, precision)
  data, known = _encode(x, side, networks, tables, precision)
  coarsest = passes.coarsest_of(x)
  decoded = _decode(data, coarsest, x.shape[1:], side, networks, tables, precision)
  np.testing.assert_array_equal(decoded, known)
  assert np.abs(decoded - x).max() <= precision.step // 2
  return data


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (4, 4), (5, 7), (33, 18), (64, 48)])
def test_decoding_gives_the_image_back(shape, networks, tables):
  _round_trip(_image(shape), networks, tables)


@settings(max_examples=10, deadline=None)
@given(
  st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 255])
)
def test_any_image_comes_back(networks, tables, height, width, seed, spread):
  rng = np.random.default_rng(seed)
  middle = rng.integers(0, 256)
  noise = rng.integers(-spread, spread + 1, (3, height, width))
  _round_trip(np.clip(middle + noise, 0, 255).astype(np.uint8), networks, tables)


@pytest.mark.parametrize("largest_error", [1, 3, 20])
def test_near_lossless_keeps_its_promise(largest_error, networks, tables):
  x = _image((40, 30))
  near = _round_trip(x, networks, tables, passes.Precision(step=2 * largest_error + 1))
  assert len(near) < len(_round_trip(x, networks, tables))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("largest_error", [0, 5])
def test_16_bits_come_back(channels, largest_error, networks, tables):
  rng = np.random.default_rng(0)
  x = 256 * _image((33, 20))[:channels].astype(np.int32) + rng.integers(0, 256, (channels, 33, 20))
  x[:, :4], x[:, -4:] = 0, 65535
  _round_trip(x, networks, tables, passes.Precision(65535, 2 * largest_error + 1))


def test_grey_comes_back(networks, tables):
  _round_trip(_image((30, 41))[:1], networks, tables)


def test_black_costs_next_to_nothing_but_side_information(networks, tables):
  assert len(_round_trip(np.zeros((3, 64, 64), np.uint8), networks, tables)) < 3 * 64 * 64 / 4


def _batch(x):
  """A whole image as one block, with the linear stage's errors; once again as of level 1."""
  side = passes.side_of(x)
  errors = linear.code_linearly(x, side.coefficients).errors
  twice = lambda a: np.stack([a, a])
  return {
    "values": twice(split(x).values),
    "known": twice(split(x).values),
    "errors": twice(split(errors).values),
    "log_sizes": twice(side.log_sizes[0].astype(np.float32)),
    "level": np.array([0, 1], np.int32),
    "step": np.array([1, 1], np.int32),
  }


def test_training_and_coding_see_the_same_bits(params, networks):
  """The bits that training counts as rounded are those of the distributions that coding uses."""
  x = _image((32, 32), seed=4)
  (_, counted), grads = _bits_and_gradients(params, _batch(x))
  found = np.full((3, 3), np.nan)

  def code(place, expected):
    samples = _samples_of(x, place)
    if place.level == 0:
      rest, shapes = np.divmod(expected.tables, distribution.SHAPES)
      fractions, scales = np.divmod(rest, distribution.SCALES)
      starts = expected.middles + expected.starts
      error = samples - starts - fractions / distribution.FRACTIONS
      scale = distribution.LOWEST + scales / distribution.PER_OCTAVE
      bits = likelihood.bits(
        jnp.asarray(error, jnp.float32),
        jnp.asarray(scale, jnp.float32),
        jnp.asarray(shapes / distribution.SHAPES_PER_UNIT, jnp.float32),
      )
      found[place.plane - 1, place.channel] = bits.mean()
    return samples

  passes.run(passes.coarsest_of(x), x.shape[1:], passes.side_of(x), networks, code)
  np.testing.assert_allclose(found, counted[..., 0], rtol=1e-5)
  leaves = jax.tree.leaves({k: v for k, v in grads.items() if k.startswith("sets_0")})
  assert leaves
  assert all(np.isfinite(leaf).all() for leaf in leaves)


@jax.jit
def _bits_and_gradients(params, batch):
  apply = lambda p, rounded: MODEL.apply({"params": p}, batch, rounded)
  loss = lambda p: (apply(p, False).mean(), apply(p, True))
  return jax.value_and_grad(loss, has_aux=True)(params)


def test_networks_are_exact_whatever_the_order_and_the_library(networks):
  """NumPy, XLA and integers agree to the bit."""
  rng = np.random.default_rng(0)
  weights, _ = networks[0][2].trunk[1]
  x = rng.integers(0, 256, (weights.shape[1], 500)).astype(np.float32)
  order = rng.permutation(len(x))
  unit = 2.0**-20
  np.testing.assert_array_equal(weights / unit % 1, 0)
  exact = ((weights / unit).astype(np.int64) @ x.astype(np.int64)) * unit
  np.testing.assert_array_equal(weights @ x, exact)
  np.testing.assert_array_equal(weights[:, order] @ x[order], exact)
  np.testing.assert_array_equal(np.asarray(jnp.asarray(weights) @ jnp.asarray(x)), exact)


def test_sums_that_float32_cannot_hold_are_refused():
  weights = np.full((2, 400), 254 / 256, np.float32)
  with pytest.raises(UsageError, match="sums could pass"):
    network.check_sums(weights, np.zeros(2), network.ACTIVATION_MAX)


@pytest.mark.parametrize(("inputs", "fits"), [(250, True), (300, False)])
def test_sums_are_checked_in_the_units_that_weights_were_rounded_in(inputs, fits):
  """254.6 units become 255, and 256 would have another unit."""
  weights = np.full((2, inputs), 254.6 / 256, np.float32)
  layer = network.quantize(weights, np.zeros(2, np.float32), network.NUMPY)
  np.testing.assert_array_equal(layer[0], 255 / 256)
  with contextlib.nullcontext() if fits else pytest.raises(UsageError, match="sums could pass"):
    network.check_sums(*layer, network.ACTIVATION_MAX)


@pytest.mark.parametrize("largest", [255, 65535])
@pytest.mark.parametrize("phase", PHASES)
def test_context_is_the_same_from_numpy_and_jax(phase, largest):
  """NumPy looks up activities and sizes of errors where they are of 8 bits."""
  rng = np.random.default_rng(phase.plane)
  spread = rng.choice([0, 1, 10, largest], 400)
  values = rng.integers(-spread, spread + 1, (len(phase.neighbours), 3, 400)) % (largest + 1)
  around = network.Around(
    values.astype(np.float32),
    rng.integers(-8 * largest, 8 * largest + 1, (network.ERRORS, 3, 400)).astype(np.float32),
    network.base(values.astype(np.float32), network.NUMPY),
    rng.integers(-64, 64, (3, 400)).astype(np.float32),
    largest,
  )
  ours = network.context(around, network.NUMPY)
  theirs = jax.jit(lambda a: network.context(network.Around(*a, largest), JAX))(around[:4])
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  _, inputs = ours
  assert np.abs(inputs).max() <= network.FEATURE_MAX
  np.testing.assert_array_equal(inputs % 1, 0)
